"""One zygote, seen from the host: start it, give it programs one at a time, kill it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from . import answer
from .answer import Execution, Status, printable
from .errors import SandboxUnavailable, unavailable
from .limits import Limits
from .packing import Layout, Packed
from .protocol import (
    EXIT_DONE,
    EXIT_MEMORY,
    EXIT_OUTPUT,
    REPLY,
    REQUEST,
    SETUP_STEPS,
    Ended,
    Operation,
)
from .request import Request
from .waiting import WallLimit

_START_S = 120.0  # to import SciPy on a loaded machine
_GRACE_S = 30.0  # beyond the wall limit, for the zygote to get a turn
_DEATH_S = 10  # for a killed process to be gone, on a loaded machine
_TICK_NS = 1_000_000_000
_MIB = 1 << 20

# The inside imports this folder as a package of its own: `llm` and what it may import one day
# (JAX, torch) never gets into a zygote.
_BOOT = """
import importlib, sys, types
package = types.ModuleType("sandbox_inside")
package.__path__ = [{folder!r}]
sys.modules["sandbox_inside"] = package
importlib.import_module("sandbox_inside.zygote").run_as_script()
"""
_ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # the same set order in every worker
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_SEARCH_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")  # where a cluster's modules put NumPy
# Signals that a program can bring on itself: faults, timers, a closed pipe, its file size. Under
# its filter it can send none, so any other came from outside, also SIGXCPU: where the kernel sends
# it for a CPU limit, the zygote says so.
_OF_ITS_OWN = {
    *(signal.SIGSYS, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP),
    *(signal.SIGABRT, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGPIPE),
    signal.SIGXFSZ,
}


class WorkerLostError(Exception):
    """A program did not come to its own end: something outside ended it or its zygote."""


class Worker:
    """A zygote process and the socket to it. Not thread-safe: the pool hands it to one user.

    The constructor returns at once; `wait_ready` waits for the imports.

    Args:
        cpus: bit mask of the CPUs that the zygote and its programs may use.

    Raises:
        SandboxUnavailable: no process or no descriptor left.
    """

    def __init__(self, cpus: int):
        self._killing = threading.Lock()
        with contextlib.ExitStack() as opened:
            with unavailable("pidfd"):
                host = os.pidfd_open(os.getpid())
            opened.callback(os.close, host)
            with unavailable("worker"):
                self._messages = os.fdopen(os.memfd_create("messages", os.MFD_CLOEXEC), "rb")
                self._socket, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                opened.callback(inner.close)
                self._process = self._start(inner.fileno(), host, cpus)

    def _start(self, control: int, host: int, cpus: int) -> subprocess.Popen:
        boot = _BOOT.format(folder=str(Path(__file__).parent))
        options = ("-P", "-s", "-B")  # no folder of ours on the path, no user site, no .pyc
        return subprocess.Popen(
            [sys.executable, *options, "-c", boot, *map(str, (control, host, cpus))],
            env={**_ENVIRONMENT, **_search_paths()},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            pass_fds=(control, host),
            start_new_session=True,  # Ctrl-C is for the host, which then closes the sandbox
        )

    @property
    def pid(self) -> int:
        """Process id of the launcher, the zygote's parent."""
        return self._process.pid

    def wait_ready(self) -> dict:
        """Return the zygote's report of the walls that it has.

        Raises:
            SandboxUnavailable: it could not start.
        """
        try:
            report = json.loads(self._receive(WallLimit(round(_START_S * 1e9), _TICK_NS)))
        except WorkerLostError as error:
            self.kill()
            self._messages.seek(0)  # the worker shares the place in the file
            said = printable(self._messages.read()[-200:])
            reason = f"{sys.executable} did not start: {error} (exit code {self._process.poll()})"
            raise SandboxUnavailable("worker", f"{reason}: {said}" if said else reason) from None
        finally:
            self._messages.close()
        if "failed" in report:
            self.kill()
            raise SandboxUnavailable(report["failed"], report["reason"])
        return report

    def alive(self) -> bool:
        """Whether the zygote still holds its end of the socket."""
        if self._socket.fileno() < 0 or self._process.poll() is not None:
            return False
        socket_events = select.poll()
        socket_events.register(self._socket, select.POLLIN)
        return not socket_events.poll(0)  # it speaks only when spoken to: this would be its end

    def execute(self, code: str, data: Packed | Layout, limits: Limits) -> Execution:
        """Run one program.

        Raises:
            WorkerLostError: the program or the zygote was ended from outside.
            SandboxUnavailable: a wall could not be put up around the program, or there is no
                descriptor for it; it did not run.
        """
        with Request(code, data, limits) as request:
            try:
                wall = WallLimit(round((limits.wall_s + _GRACE_S) * 1e9), _TICK_NS)
                self._send(request.message, request.descriptors)
                reply = REPLY.unpack(self._receive(wall, request))
                if reply[0] == Ended.NOT_CONFINED:
                    raise _unconfined(*reply[1:3])
            except BaseException:  # what the worker is doing now is not known
                self.kill()
                raise
            return _execution(reply, request, limits)

    def probe_landlock(self) -> int:
        """Return the errno that opening "/" gives under Landlock alone. Raises WorkerLostError."""
        self._send(REQUEST.pack(Operation.PROBE_LANDLOCK, 10**9, 10**10, 0, 0, 0), ())
        return REPLY.unpack(self._receive(WallLimit(10**10, _TICK_NS)))[1]

    def kill(self) -> None:
        """Kill the zygote and what runs in it, and wait until they are gone.

        Idempotent, and the one method that any thread may call at any time.
        """
        with self._killing:
            self._process.terminate()  # the launcher kills and reaps its own, then ends
            try:
                self._process.wait(_DEATH_S)
            except subprocess.TimeoutExpired:  # it is stopped: the others die of its death
                self._process.kill()
                self._process.wait()
            if self._socket.fileno() >= 0:
                _until_hung_up(self._socket)
                self._socket.close()

    def _send(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        try:
            socket.send_fds(self._socket, [message], descriptors)
        except OSError as error:
            raise WorkerLostError(str(error)) from None

    def _receive(self, wall: WallLimit, request: Request | None = None) -> bytes:
        """The zygote's next message; what the program of `request` answers meanwhile is read."""
        events = select.poll()
        try:
            control = self._socket.fileno()
            events.register(control, select.POLLIN)
            if request:
                events.register(request.answer, select.POLLIN)
            while control not in (ready := wall.poll(events)):
                if wall.left_ns <= 0:
                    raise WorkerLostError("it does not answer")
                if request and request.answer in ready and not request.read():
                    events.unregister(request.answer)
            message = self._socket.recv(1 << 16)
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise WorkerLostError(str(error)) from None
        if not message:
            raise WorkerLostError("it closed its socket")
        return message


def _search_paths() -> dict[str, str]:
    """What the interpreter and its libraries are found by, as seen from another folder."""
    return {
        name: os.pathsep.join(os.path.abspath(path) for path in paths.split(os.pathsep) if path)
        for name in _SEARCH_PATHS
        if (paths := os.environ.get(name))
    }


def _until_hung_up(end: socket.socket) -> None:
    events = select.poll()
    events.register(end, 0)  # only the hang-up, not what may still be unread
    events.poll(1000 * _DEATH_S)


def _unconfined(step: int, number: int) -> SandboxUnavailable:
    why = f"errno {number}, {os.strerror(number)}" if number else "errno unknown"
    name = SETUP_STEPS[step]
    return SandboxUnavailable(name, f"the {name} step failed around a program: {why}")


def _execution(reply: tuple, request: Request, limits: Limits) -> Execution:
    """What became of a program that ran.

    Raises:
        WorkerLostError: a signal from outside ended it, or it ended before it was confined.
    """
    ended, code, _, cpu_ns, wall_ns, peak_bytes = reply
    status: Status
    action = None
    match ended:
        case Ended.CPU_LIMIT:
            status, detail = "timeout", f"used up {limits.cpu_s:g} s of CPU time"
        case Ended.WALL_LIMIT:
            status, detail = "timeout", f"not finished after {limits.wall_s:g} s"
        case Ended.CUT_SHORT:
            raise WorkerLostError(f"it ended after {wall_ns / 1e9:.3g} s, before it was confined")
        case Ended.SIGNALED if code not in _OF_ITS_OWN:
            raise WorkerLostError(f"signal {_signal_name(code)} from outside")
        case Ended.SIGNALED if code == signal.SIGSYS:
            status, detail = "killed", "forbidden system call"
        case Ended.SIGNALED:
            status, detail = "killed", f"signal {_signal_name(code)}"
        case _ if code == EXIT_MEMORY:
            status, detail = "memory", f"needs more than {limits.memory_mb:g} MiB"
        case _ if code == EXIT_OUTPUT:
            status, detail = "output", f"an answer of more than {request.answer_bytes} bytes"
        case _ if code == EXIT_DONE:
            status, action, detail = answer.decode(request.frame(), request.answer_bytes)
        case _:
            status, detail = "error", f"left with exit code {code} before its answer"
    times = cpu_ns / 1e9, wall_ns / 1e9
    return Execution(status, action, *times, detail, peak_mb=peak_bytes / _MIB)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)

"""One zygote, seen from the host: start it, give it programs one at a time, kill it."""

import contextlib
import fcntl
import hashlib
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
from .answer import Execution
from .errors import SandboxUnavailable
from .limits import Limits
from .packing import Packed, seal
from .protocol import (
    EXIT_DONE,
    EXIT_MEMORY,
    EXIT_OUTPUT,
    HEADER,
    REPLY,
    REQUEST,
    SETUP_STEPS,
    Ended,
    Operation,
)

_START_S = 120.0  # to import SciPy on a loaded machine
_GRACE_S = 30.0  # beyond the wall limit, for the zygote to get a turn
_DEATH_S = 10  # for a killed process to be gone, on a loaded machine
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


class WorkerLostError(Exception):
    """The zygote died, or does not answer."""


class Worker:
    """A zygote process and the socket to it. Not thread-safe: the pool hands it to one user.

    The constructor returns at once; ``wait_ready`` waits for the imports.

    Args:
        cpu: the CPU that the zygote and its programs stay on.

    Raises:
        OSError: no process or no descriptor left.
    """

    def __init__(self, cpu: int):
        self.cpu = cpu
        self._killing = threading.Lock()
        self._socket, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            host = os.pidfd_open(os.getpid())
        except OSError as error:
            raise SandboxUnavailable("pidfd", str(error)) from None
        boot = _BOOT.format(folder=str(Path(__file__).parent))
        options = ("-P", "-s", "-B")  # no folder of ours on the path, no user site, no .pyc
        try:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-c", boot, *map(str, (inner.fileno(), host, cpu))],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(inner.fileno(), host),
                start_new_session=True,  # Ctrl-C is for the host, which then closes the sandbox
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(host)
            inner.close()

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
            report = json.loads(self._receive(_START_S))
        except WorkerLostError as error:
            self.kill()
            reason = f"{sys.executable} did not start: {error} (exit code {self._process.poll()})"
            raise SandboxUnavailable("worker", reason) from None
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

    def execute(self, code: str, data: Packed, limits: Limits) -> Execution:
        """Run one program.

        Raises:
            WorkerLostError: the zygote died meanwhile.
            SandboxUnavailable: a wall could not be put up around the program; it did not run.
        """
        source = code.encode("utf-8", "surrogatepass")
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=8).digest(), "little")
        request = REQUEST.pack(
            Operation.PROGRAM,
            round(limits.cpu_s * 1e9),
            round(limits.wall_s * 1e9),
            round(limits.memory_mb * _MIB),
            limits.output_bytes,
            seed,
        )
        with contextlib.ExitStack() as descriptors:
            # a mapping cannot be empty, and a line end more changes no program
            source_fd = seal([(0, source + b"\n")], len(source) + 1)
            descriptors.callback(os.close, source_fd)
            data_fd = data.duplicate()
            descriptors.callback(os.close, data_fd)
            read_end, write_end = _answer_pipe(limits.output_bytes)
            descriptors.callback(os.close, read_end)
            descriptors.callback(os.close, write_end)
            reply = self._ask(request, (source_fd, data_fd, write_end), limits.wall_s)
            frame = _drain(read_end) if reply[:2] == (Ended.EXITED, EXIT_DONE) else b""
        return _execution(reply, frame, limits)

    def probe_landlock(self) -> int:
        """Return the errno that opening "/" gives under Landlock alone. Raises WorkerLostError."""
        request = REQUEST.pack(Operation.PROBE_LANDLOCK, 10**9, 10**10, 0, 0, 0)
        return self._ask(request, (), 10.0)[1]

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

    def _ask(self, request: bytes, descriptors: tuple, wall_s: float) -> tuple:
        try:
            socket.send_fds(self._socket, [request], descriptors)
        except OSError as error:
            raise WorkerLostError(str(error)) from None
        return REPLY.unpack(self._receive(wall_s + _GRACE_S))

    def _receive(self, timeout_s: float) -> bytes:
        self._socket.settimeout(timeout_s)
        try:
            message = self._socket.recv(1 << 16)
        except OSError as error:
            raise WorkerLostError(str(error)) from None
        if not message:
            raise WorkerLostError("it closed its socket")
        return message


def _until_hung_up(end: socket.socket) -> None:
    events = select.poll()
    events.register(end, 0)  # only the hang-up, not what may still be unread
    events.poll(1000 * _DEATH_S)


def _answer_pipe(output_bytes: int) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        capacity = min(HEADER.size + output_bytes, _MIB)
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, capacity)
    except OSError as error:
        for end in ends:
            os.close(end)
        reason = f"no pipe of {capacity} bytes: {error}; lower output_bytes"
        raise SandboxUnavailable("limits", reason) from None
    return ends


def _drain(descriptor: int) -> bytes:
    """All that is in the pipe of a dead program. Its capacity bounds the size."""
    chunks = []
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, _MIB):
            chunks.append(chunk)
    return b"".join(chunks)


def _execution(reply: tuple, frame: bytes, limits: Limits) -> Execution:
    ended, code, cpu_ns, wall_ns = reply
    action = None
    match ended:
        case Ended.NOT_CONFINED:
            step = SETUP_STEPS[code]
            raise SandboxUnavailable(step, f"the {step} step failed around a program")
        case Ended.CPU_LIMIT:
            status, detail = "timeout", f"used up {limits.cpu_s:g} s of CPU time"
        case Ended.WALL_LIMIT:
            status, detail = "timeout", f"not finished after {limits.wall_s:g} s"
        case Ended.SIGNALED if code == signal.SIGSYS:
            status, detail = "killed", "forbidden system call"
        case Ended.SIGNALED:
            status, detail = "killed", f"signal {_signal_name(code)}"
        case _ if code == EXIT_MEMORY:
            status, detail = "memory", f"needs more than {limits.memory_mb:g} MiB"
        case _ if code == EXIT_OUTPUT:
            status, detail = "output", f"an answer of more than {limits.output_bytes} bytes"
        case _ if code == EXIT_DONE:
            status, action, detail = answer.decode(frame, limits.output_bytes)
        case _:
            status, detail = "error", f"left with exit code {code} before its answer"
    return Execution(status, action, cpu_ns / 1e9, wall_ns / 1e9, detail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)

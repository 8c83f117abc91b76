"""The worker process: imports once, is walled in once, then forks a child for each program.

It is started by exec, never by fork, so it holds nothing of the host's memory; it reads no byte of
code, data or answers. It is single-threaded, which is what makes forking it safe.

    launcher (unshares, waits, reaps)  ->  zygote (process 1 of its world)  ->  child, one by one
"""

import contextlib
import errno
import functools
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from . import addresses, child, landlock, namespaces, preload, privileges, seccomp
from .errors import SandboxUnavailable
from .kernel import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl
from .protocol import EXIT_NOT_CONFINED, READY, REPLY, REQUEST, SETUP_STEPS, Ended, Operation
from .waiting import WallLimit

_SPARE_DESCRIPTORS = 32
_READY = select.POLLIN | select.POLLHUP | select.POLLERR
_TICK_NS = 100_000_000
# Batch systems and terminals send these to every process of a job; none is meant for a worker.
_IGNORED = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)


def main(control_fd: int, host_pidfd: int, cpus: int) -> None:
    """Entry point; the arguments are inherited descriptors and a bit mask of the CPUs to use."""
    control = socket.socket(fileno=control_fd)
    try:
        report, walls = _prepare(cpus, control)
    except SandboxUnavailable as error:
        _tell(control, {"failed": error.feature, "reason": error.reason})
        raise
    except BaseException as error:
        _tell(control, {"failed": "worker", "reason": f"{type(error).__name__}: {error}"})
        raise
    idle_bytes = _peak_of_nothing()
    os.dup2(1, 2)  # a program's messages go nowhere; until now stderr was for the host to read
    _tell(control, report)
    _serve(control, host_pidfd, walls, idle_bytes)


def _tell(control: socket.socket, message: dict) -> None:
    control.send(json.dumps(message).encode())


def _prepare(cpus: int, control: socket.socket) -> tuple[dict, child.Walls]:
    """Import, drop privileges, fork into the namespaces; return what is there and what is not."""
    for number in (signal.SIGCHLD, signal.SIGTERM):  # the host may ignore them; exec hands that on
        signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # HiGHS and BLAS start as many threads as there are CPUs when they are first used, which is here
    allowed = {cpu for cpu in range(cpus.bit_length()) if cpus >> cpu & 1}
    os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})
    preload.load()
    os.sched_setaffinity(0, allowed)  # the kernel spreads the programs over them
    os.environ.clear()
    _offer_to_the_oom_killer()
    descriptors = _bound_descriptors()
    program = functools.lru_cache(functools.partial(_program, addresses.layout()))
    address_space = _address_space()
    report: dict = {"namespaces": [], "landlock": 0, "missing": {}}
    try:
        report["namespaces"] = namespaces.enter()
    except OSError as error:
        report["missing"]["namespaces"] = str(error)
    _privileges(privileges.become_nobody)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that holds an object
    _fork_into_the_pid_namespace(control)
    _privileges(privileges.renounce)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the last change of credentials, which clears it
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    ruleset = -1
    try:
        report["landlock"], ruleset = landlock.abi(), landlock.create_ruleset()
    except OSError as error:
        report["missing"]["landlock"] = str(error)
    report["uid"] = os.getuid()
    report["capabilities"] = privileges.capabilities()
    report["seen"] = {
        "pid": os.getpid(),
        "root_entries": len(os.listdir("/")),
        "loopback": _connect_to_loopback(),
    }
    return report, child.Walls(os.getpid(), address_space, ruleset, program, descriptors)


def _bound_descriptors() -> int:
    """Let no descriptor from now on have this number: a child closes all of them one by one."""
    bound = max(map(int, os.listdir("/proc/self/fd"))) + _SPARE_DESCRIPTORS
    child.lower(resource.RLIMIT_NOFILE, bound)
    return bound


def _program(layout: addresses.Layout, memory_bytes: int, mapped_bytes: int) -> bytes:
    rules = seccomp.program_rules(layout, memory_bytes, mapped_bytes)
    return seccomp.assemble(rules, seccomp.refuse(errno.EPERM))


def _mapped_bytes(*descriptors: int) -> int:
    """The size of code and data, to the next power of two: few filters serve all programs."""
    return 1 << sum(os.fstat(descriptor).st_size for descriptor in descriptors).bit_length()


def _connect_to_loopback() -> int:
    """The errno of "connecting" a datagram socket, which sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("127.0.0.1", 9))


def _offer_to_the_oom_killer() -> None:
    """Where memory runs out, a program is to go, and not the training that it is run for."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as adjustment:
        adjustment.write("1000")


def _privileges(give_up: Callable[[], None]) -> None:
    try:
        give_up()
    except OSError as error:
        raise SandboxUnavailable("privileges", str(error)) from error


def _address_space() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _fork_into_the_pid_namespace(control: socket.socket) -> None:
    """Go on in a child; the launcher stays behind and ends when the child has ended.

    On SIGTERM it kills the child first. Nobody but the launcher may be there to reap the dead: in
    a container, process 1 is often the host itself or a shell.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # for a program whose zygote dies, without namespaces
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    control.close()  # so that the host reads the end of the stream when the zygote dies
    _, status = os.waitpid(pid, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the number may soon be another process's
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    os._exit(0 if status == 0 else 1)


def _peak_of_nothing() -> int:
    """Peak resident memory of a child that does nothing [bytes]."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return _peak_bytes(os.wait4(pid, 0)[2])


def _peak_bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss << 10


def _serve(control: socket.socket, host_pidfd: int, walls: child.Walls, idle_bytes: int) -> None:
    """Run one program after the other until the host closes the socket or dies."""
    life = select.poll()
    life.register(control, _READY)
    # the host may die without closing the socket: a process that it forked may hold a copy
    life.register(host_pidfd, _READY)
    while True:
        if any(descriptor == host_pidfd for descriptor, _ in life.poll()):
            return
        request, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 3)
        if not request:
            return
        try:
            *reply, usage = _run(request, descriptors, walls, (control.fileno(), host_pidfd))
            peak_bytes = max(0, _peak_bytes(usage) - idle_bytes)
        except OSError as error:  # no process or no memory for one: not a program's fault
            step = SETUP_STEPS.index("process")
            reply, peak_bytes = [Ended.NOT_CONFINED, step, error.errno or 0, 0, 0], 0
        control.send(REPLY.pack(*reply, peak_bytes))
        for descriptor in descriptors:
            os.close(descriptor)


def _run(request: bytes, descriptors: list[int], walls: child.Walls, life: tuple) -> tuple:
    operation, cpu_ns, wall_ns, memory_bytes, output_bytes, seed = REQUEST.unpack(request)
    probe = operation == Operation.PROBE_LANDLOCK
    if not probe:
        code, data, answer = descriptors
        room = memory_bytes, _mapped_bytes(code, data)
        walls.program(*room)  # on the zygote's time, and once for all that have the same room
        job = child.Job(code, data, answer, cpu_ns, *room, output_bytes, seed)
    ready, ready_end = os.pipe2(os.O_CLOEXEC)
    start = time.monotonic_ns()
    try:
        pid = os.fork()
    except OSError:
        os.close(ready)
        os.close(ready_end)
        raise
    if pid == 0:
        if probe:
            child.probe_landlock(walls.ruleset)
        child.main(job, walls, ready_end)
    os.close(ready_end)
    stopped = _wait(pid, cpu_ns, wall_ns, life)
    # the leader, dead or alive, is not reaped yet, so neither number can belong to another process
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    wall_ns = time.monotonic_ns() - start
    _reap_orphans()
    said = os.read(ready, READY.size)
    os.close(ready)
    number = max(0, READY.unpack(said)[0]) if said else 0
    used_ns = round((usage.ru_utime + usage.ru_stime) * 1e9)
    confined = probe or said == READY.pack(0)
    how = _ended(stopped, status, confined, used_ns > cpu_ns)
    return (*how, number, used_ns, wall_ns, usage)


def _wait(pid: int, cpu_ns: int, wall_ns: int, life: tuple) -> Ended | None:
    """Wait until the child is dead (None) or has used up a limit. Exits if the host is gone."""
    clock = (~pid << 3) | 2  # the kernel's name for the CPU clock of process `pid`
    pidfd = os.pidfd_open(pid)
    try:
        events = select.poll()
        for descriptor in (pidfd, *life):
            events.register(descriptor, _READY)
        wall = WallLimit(wall_ns, _TICK_NS)
        while True:
            cpu_left = cpu_ns - time.clock_gettime_ns(clock)
            if cpu_left <= 0 or wall.left_ns <= 0:
                return Ended.CPU_LIMIT if cpu_left <= 0 else Ended.WALL_LIMIT
            # one thread cannot use CPU time faster than time passes, so this never oversleeps
            fired = wall.poll(events, cpu_left)
            if pidfd in fired:
                return None
            if fired:
                os._exit(0)  # the child dies with us
    finally:
        os.close(pidfd)


def _reap_orphans() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _ended(stopped: Ended | None, status: int, confined: bool, overspent: bool) -> tuple:
    """How it ended, and the exit code, signal or step that goes with it."""
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    by_kernel_clock = overspent and signalled in (signal.SIGXCPU, signal.SIGKILL)
    if stopped == Ended.CPU_LIMIT or (stopped is None and by_kernel_clock):
        return Ended.CPU_LIMIT, signalled
    if not confined:
        step = -1 if signalled else os.WEXITSTATUS(status) - EXIT_NOT_CONFINED
        failed = 0 <= step < len(SETUP_STEPS)
        return (Ended.NOT_CONFINED, step) if failed else (Ended.CUT_SHORT, signalled)
    if stopped is not None:
        return stopped, 0
    return (Ended.SIGNALED, signalled) if signalled else (Ended.EXITED, os.WEXITSTATUS(status))


def run_as_script() -> None:
    """Called by the one line that the host hands to the interpreter."""
    main(*map(int, sys.argv[1:]))

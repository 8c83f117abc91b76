"""Does each wall hold, on this machine, now? Asked before the first program runs.

A kernel, a container runtime or an emulator may accept a request to confine a process and then not
confine it. So the walls are not believed but tried: each forbidden thing must fail in the way in
which that wall makes it fail.
"""

import errno
import os
from collections.abc import Set
from pathlib import Path

import numpy as np

from . import syscalls
from .answer import Execution
from .errors import SandboxUnavailable
from .limits import Limits
from .packing import pack
from .privileges import NOBODY
from .worker import Worker, WorkerLostError

WAIVABLE = ("landlock", "namespaces")

_HERE = -100  # AT_FDCWD
_EXECUTABLE = 4  # PROT_EXEC
_PRIVATE_ANONYMOUS = 0x22
# Calls that must be refused with an errno. With these arguments an unfiltered kernel does nothing,
# or answers with another errno (EFAULT, EBADF, ENOTTY, EINVAL, success).
_REFUSED: dict[str, tuple[int, ...]] = {
    "openat": (_HERE, 0, 0),
    "openat2": (_HERE, 0, 0, 0),
    "unlinkat": (_HERE, 0, 0),
    "execve": (0, 0, 0),
    "memfd_create": (0, 0),
    "socket": (2, 1, 0),
    "socketpair": (1, 1, 0, 0),
    "mmap": (0, 4096, 1 | _EXECUTABLE, _PRIVATE_ANONYMOUS, -1, 0),
    "mprotect": (0, 0, _EXECUTABLE),
    "prctl": (3, 0, 0, 0, 0),
    "prlimit64": (0, 0, 0, 0),
    "ioctl": (1, 0, 0),
    "fcntl": (0, 1, 0),
    "dup": (0,),
    "pidfd_send_signal": (-1, 0, 0, 0),
    "shmget": (0, 0, 0),
}
# Calls that must kill. With these arguments an unfiltered kernel only reports an error.
_FATAL: dict[str, tuple[int, ...]] = {
    "bpf": (-1, 0, 0),
    "io_uring_setup": (0, 0),
    "mount": (0, 0, 0, 0, 0),
    "ptrace": (-1, 0, 0, 0),
}
_CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
action = {}
for index, (number, arguments) in enumerate(calls):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, [number, *arguments]))
    action[index] = ctypes.get_errno()
"""
_HONEST = "action = {int(i): i for i in np.flatnonzero(numbers > 1)}"
_LIMITS = Limits(wall_s=30, cpu_s=10, memory_mb=64)


def check(worker: Worker, report: dict, waive: Set[str]) -> dict:
    """Return the walls in force, for `Sandbox.metadata`.

    Raises:
        SandboxUnavailable: one is missing and not waived, or there and not enforced.
    """
    _check_privileges(worker, report)
    try:
        gaps = {
            "namespaces": _gap_in_namespaces(report),
            "landlock": _gap_in_landlock(report, worker),
        }
        for feature, gap in gaps.items():
            if gap and feature not in waive:
                raise SandboxUnavailable(feature, f"{gap}; waive=({feature!r},) runs without it")
        _check_seccomp(worker)
        _check_descriptors(worker)
        _check_limits(worker)
    except WorkerLostError as error:
        raise SandboxUnavailable("worker", f"died in the self-test: {error}") from None
    return {
        "seccomp": True,
        "landlock": 0 if gaps["landlock"] else report["landlock"],  # the kernel's ABI; 0 is none
        "namespaces": [] if gaps["namespaces"] else report["namespaces"],
        "uid": report["uid"],
    }


def _check_privileges(worker: Worker, report: dict) -> None:
    if report["uid"] == 0:
        raise SandboxUnavailable("privileges", "the worker is still root")
    if report["capabilities"]:
        left = f"the worker still has capabilities: {report['capabilities']:#x}"
        raise SandboxUnavailable("privileges", left)
    # whatever it is inside its own user namespace; where there is no other id, root is no root
    if os.geteuid() == 0 and _exists(NOBODY) and (ids := _outer_ids(worker.pid)) != {NOBODY}:
        raise SandboxUnavailable("privileges", f"seen from outside, the worker has ids {ids}")


def _exists(uid: int) -> bool:
    """Whether the user namespace of this process has that user."""
    ranges = [
        map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines()
    ]
    return any(first <= uid < first + count for first, _, count in ranges)


def _outer_ids(pid: int) -> set[int]:
    """The users and groups, as this process sees them, that process `pid` may act as."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {int(number) for name in ("Uid", "Gid", "Groups") for number in fields[name].split()}


def _gap_in_namespaces(report: dict) -> str:
    if "namespaces" in report["missing"]:
        return report["missing"]["namespaces"]
    expected = {"pid": 1, "root_entries": 0, "loopback": errno.ENETUNREACH}
    return "" if report["seen"] == expected else f"entered, but it sees {report['seen']}"


def _gap_in_landlock(report: dict, worker: Worker) -> str:
    if "landlock" in report["missing"]:
        return report["missing"]["landlock"]
    got = worker.probe_landlock()
    return "" if got == errno.EACCES else f'accepted, but opening "/" gives errno {got}'


def _check_seccomp(worker: Worker) -> None:
    numbers = syscalls.numbers()
    refused = _run(worker, _CALL, calls=[[numbers[n], list(a)] for n, a in _REFUSED.items()])
    for index, name in enumerate(_REFUSED):
        if refused.action is None or refused.action[index] != errno.EPERM:
            got = "no answer" if refused.action is None else f"errno {refused.action[index]}"
            raise SandboxUnavailable("seccomp", f"{name} is not refused: {got} {refused.detail}")
    for name, arguments in _FATAL.items():
        fatal = _run(worker, _CALL, calls=[[numbers[name], list(arguments)]])
        if fatal.status != "killed":
            raise SandboxUnavailable("seccomp", f"{name} does not kill: {fatal}")


def _check_descriptors(worker: Worker) -> None:
    """A program holds /dev/null three times and its answer's pipe; a bad pointer tells."""
    number = syscalls.numbers()["fstat"]
    asked = _run(worker, _CALL, calls=[[number, [descriptor, 0]] for descriptor in range(256)])
    held = [d for d, error in (asked.action or {}).items() if error != errno.EBADF]
    if len(held) != 4:
        raise SandboxUnavailable("descriptors", f"a program holds {held} {asked.detail}")


def _check_limits(worker: Worker) -> None:
    honest = _run(worker, _HONEST, numbers=np.arange(4))
    if honest.action != {2: 2, 3: 3}:
        raise SandboxUnavailable("worker", f"a good program gives {honest}")
    greedy = _run(worker, "action = len(bytearray(512 << 20))")
    if greedy.status != "memory":
        raise SandboxUnavailable("limits", f"memory beyond the limit gives {greedy}")
    endless = _run(worker, "while True: pass", Limits(wall_s=30, cpu_s=0.02, memory_mb=64))
    if endless.status != "timeout":
        raise SandboxUnavailable("limits", f"an endless loop gives {endless}")


def _run(worker: Worker, code: str, limits: Limits = _LIMITS, **data) -> Execution:
    with pack(data) as packed:
        return worker.execute(code, packed, limits)

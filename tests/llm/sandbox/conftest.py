"""Sandboxes for the tests, under limits that hold even if the sandbox does not."""

import contextlib
import os
import resource
import sys
from pathlib import Path

import pytest

from llm.sandbox import Sandbox, SandboxUnavailable, selftest, worker

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

# Run in the zygote before its own start.
_INSIDE = """
seccomp = importlib.import_module("sandbox_inside.seccomp")
namespaces = importlib.import_module("sandbox_inside.namespaces")
landlock = importlib.import_module("sandbox_inside.landlock")
"""
# The kernel seems to have neither namespaces nor Landlock.
POOR_KERNEL = """
def refused(*_):
    raise OSError(1, "refused by the test")
namespaces.enter = landlock.abi = refused
"""
# The filter is never installed.
_NO_SECCOMP = """
seccomp.install = lambda program: None
"""


def children(pid: int) -> list[int]:
    """Processes of the session that worker ``pid`` leads: launcher, zygote and programs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[3]) == pid:
                found.append(int(entry.name))
    return sorted(found)


def _own_tasks() -> int:
    tasks = 0
    for entry in Path("/proc").glob("[0-9]*/task"):
        try:
            tasks += len(list(entry.iterdir())) if entry.stat().st_uid == os.getuid() else 0
        except OSError:
            continue
    return tasks


@pytest.fixture(scope="module", autouse=True)
def outer_limits():
    """Bound the processes, memory and files of this process and of all that it starts.

    Soft limits, so that they can be lifted again afterwards; what is started meanwhile inherits
    them, and a program that got out of the sandbox would still be under them.
    """
    with open("/proc/self/statm") as statm:
        own = int(statm.read().split()[0]) * resource.getpagesize()
    wanted = {
        resource.RLIMIT_AS: own + (6 << 30),
        resource.RLIMIT_NPROC: _own_tasks() + 200,
        resource.RLIMIT_FSIZE: 1 << 30,
    }
    before = {kind: resource.getrlimit(kind) for kind in wanted}
    for kind, value in wanted.items():
        hard = before[kind][1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, hard))
    yield
    for kind, limits in before.items():
        resource.setrlimit(kind, limits)


@pytest.fixture(scope="module")
def box(outer_limits):
    """One worker with every wall."""
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@contextlib.contextmanager
def sabotaged(change: str, first: str = ""):
    """Every worker that is started meanwhile runs `change` before it puts up its walls.

    `first` is run before it imports anything of its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        last_line = worker._BOOT.rstrip().rpartition("\n")[2]
        boot = worker._BOOT.replace(last_line, (first or _INSIDE + change) + last_line)
        patch.setattr(worker, "_BOOT", boot)
        yield patch


@pytest.fixture(scope="module")
def seccomp_only_box(outer_limits):
    """One worker as on a kernel where neither namespaces nor Landlock can be had."""
    with sabotaged(POOR_KERNEL):
        sandbox = Sandbox(workers=1, waive=("namespaces", "landlock"))
    with sandbox:
        assert sandbox.metadata["namespaces"] == []
        assert sandbox.metadata["landlock"] == 0
        yield sandbox


@pytest.fixture(scope="module")
def box_without_seccomp(outer_limits):
    """One worker that never installs its filter, past a self-test that does not look for it."""
    with sabotaged(_NO_SECCOMP) as patch:
        with pytest.raises(SandboxUnavailable, match="seccomp"):
            Sandbox(workers=1)
        patch.setattr(selftest, "_check_seccomp", lambda worker: None)
        sandbox = Sandbox(workers=1)
    with sandbox:
        yield sandbox

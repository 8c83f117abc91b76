"""Fail closed: on a machine where a wall is missing or a sham, no program is run.

Each test is a process of its own that first puts itself under a filter which makes the kernel look
like that machine's: calls fail with an errno, or (errno 0) only pretend to work.
"""

import errno
import json
import os
import subprocess
import sys

import pytest

HOST = """
import ctypes, json, os, sys
setup, waive = json.loads(sys.argv[1]), json.loads(sys.argv[2])
from llm.sandbox import Limits, Sandbox, SandboxUnavailable, kernel, seccomp
kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # what is orphaned becomes a child of this process
if setup["first"]:
    exec(setup["first"])
if setup["errnos"]:
    rules = {name: seccomp.refuse(number) for name, number in setup["errnos"].items()}
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(seccomp.assemble(rules, seccomp.ALLOW))
result = {"host_uid": os.getuid()}
try:
    with Sandbox(workers=1, waive=waive) as box:
        result["metadata"] = box.metadata
        runs = [box.run("action = {0: x}", {"x": 5}) for _ in range(3)]
        result["answer"] = runs[0].action[0]
        result["cpu_s"] = min(run.cpu_s for run in runs)
        result["file"] = box.run("open('/proc/self/status')", {}).status
        result["fork"] = box.run("import os; os.fork()", {}).status
        short = Limits(wall_s=10, cpu_s=0.1)
        result["loop"] = box.run("while True: pass", {}, limits=short).status
except SandboxUnavailable as error:
    result["unavailable"] = error.feature
    result["reason"] = str(error)
try:
    result["left"] = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    result["left"] = None
print(json.dumps(result))
"""
ROOT = os.getuid() == 0


def host(errnos=None, waive=(), first=""):
    """What a host sees under such a kernel: the walls, or the feature that is not available."""
    setup = {"errnos": errnos or {}, "first": first}
    result = subprocess.run(
        [sys.executable, "-c", HOST, json.dumps(setup), json.dumps(waive)],
        capture_output=True,
        text=True,
        timeout=120,
        # one thread, because a process with several cannot enter a user namespace
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["left"] is None, "a process is left, or a dead one that nobody reaped"
    return seen


def assert_holds(result):
    assert result["answer"] == 5, result
    assert (result["file"], result["fork"], result["loop"]) == ("error", "error", "timeout")


# what the kernel does: (the calls that it refuses or shams, the feature that is missed)
MISSING = {
    "seccomp refused": ({"seccomp": errno.EINVAL}, "seccomp"),
    "seccomp shammed": ({"seccomp": 0}, "seccomp"),
    "landlock not built in": ({"landlock_create_ruleset": errno.ENOSYS}, "landlock"),
    "landlock switched off": ({"landlock_create_ruleset": errno.EOPNOTSUPP}, "landlock"),
    "landlock shammed": ({"landlock_restrict_self": 0}, "landlock"),
    "landlock refused to the program": ({"landlock_restrict_self": errno.EPERM}, "landlock"),
    "namespaces forbidden": ({"unshare": errno.EPERM}, "namespaces"),
    "namespaces used up": ({"unshare": errno.ENOSPC}, "namespaces"),
    # the sham must not get as far as the mounts, which would be made in the host's own namespace
    "namespaces shammed": (
        {"unshare": 0, "mount": 5, "pivot_root": 5, "umount2": 5},
        "namespaces",
    ),
    "no mounts": ({"mount": errno.EPERM}, "namespaces"),
    "no new root": ({"pivot_root": errno.EINVAL}, "namespaces"),
    "limits shammed": ({"prlimit64": 0, "setrlimit": 0}, "limits"),
    "limits refused": ({"prlimit64": errno.EPERM, "setrlimit": errno.EPERM}, "limits"),
    "no process descriptors": ({"pidfd_open": errno.ENOSYS}, "pidfd"),
    "capabilities kept": ({"capset": errno.EPERM}, "privileges"),
    "capabilities kept, but said to be gone": ({"capset": 0}, "privileges"),
    "descriptors kept, but said to be closed": ({"close_range": 0}, "descriptors"),
}


# as the others in all but the errno
ALIKE = {
    "landlock switched off",
    "landlock refused to the program",
    "namespaces used up",
    "no new root",
    "limits refused",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ALIKE else ()) for n in MISSING]
)
def test_a_missing_wall_is_named(name):
    errnos, feature = MISSING[name]
    result = host(errnos)
    assert result.get("unavailable") == feature, result
    assert result["reason"].startswith(f"{feature}: ")


WAIVED = {
    "no mounts": ({"mount": errno.EPERM}, ["namespaces"]),
    "landlock shammed": ({"landlock_restrict_self": 0}, ["landlock"]),
    "neither": (
        {"unshare": errno.EPERM, "landlock_create_ruleset": errno.ENOSYS},
        ["landlock", "namespaces"],
    ),
}


@pytest.mark.parametrize("name", WAIVED)
def test_a_waived_wall_may_be_missing_and_is_on_record(name):
    errnos, waive = WAIVED[name]
    result = host(errnos, waive)
    assert_holds(result)
    assert result["metadata"]["waived"] == waive
    assert (result["metadata"]["namespaces"] == []) == ("namespaces" in waive)
    assert (result["metadata"]["landlock"] == 0) == ("landlock" in waive)
    assert result["metadata"]["seccomp"] is True


def test_a_waived_wall_is_used_where_it_is():
    result = host(waive=["landlock", "namespaces"])
    assert_holds(result)
    assert result["metadata"]["waived"] == ["landlock", "namespaces"]
    assert result["metadata"]["namespaces"] and result["metadata"]["landlock"]


def test_a_wall_waived_is_not_another_one_waived():
    result = host({"unshare": errno.EPERM}, ["landlock"])
    assert result["unavailable"] == "namespaces"


@pytest.mark.parametrize("errnos", [{"seccomp": errno.EINVAL}, {"seccomp": 0}])
def test_seccomp_is_never_waived(errnos):
    assert host(errnos, ["landlock", "namespaces"])["unavailable"] == "seccomp"


NOBODY = """
# a real unprivileged user; the one capability that is left only reads, because the interpreter
# may stand in a folder of root's, and does not help to make a namespace
kernel.syscall("prctl", 8, 1, 0, 0, 0)
os.setgroups([])
os.setresgid(12345, 12345, 12345)
os.setresuid(12345, 12345, 12345)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
read_all = 1 << 2
kernel.syscall("capset", header, (ctypes.c_uint32 * 6)(read_all, read_all, read_all, 0, 0, 0))
kernel.syscall("prctl", 47, 2, 2, 0, 0)
"""
USER_NAMESPACE = """
uid = os.getuid()
gid = os.getgid()
kernel.syscall("unshare", 0x10000000)
for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"),
                   ("gid_map", f"{inside} {gid} 1")):
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
"""
WITHOUT_CAPABILITIES = """
kernel.syscall("capset", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""


@pytest.mark.skipif(not ROOT, reason="the whole test run is this test then")
def test_as_an_unprivileged_user():
    result = host(first=NOBODY)
    assert result["host_uid"] == 12345
    assert_holds(result)
    assert result["metadata"]["waived"] == []
    assert set(result["metadata"]["namespaces"]) == {"user", "mount", "uts", "ipc", "pid", "net"}


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_as_an_unprivileged_user_without_namespaces():
    forbidden = {"unshare": errno.EPERM}
    assert host(forbidden, first=NOBODY)["unavailable"] == "namespaces"
    result = host(forbidden, ["namespaces"], first=NOBODY)
    assert_holds(result)
    assert result["metadata"]["namespaces"] == []


def test_as_root_of_a_user_namespace_that_has_nobody_else():
    result = host(first="inside = 0" + USER_NAMESPACE)
    assert result["host_uid"] == 0
    assert_holds(result)
    assert result["metadata"]["uid"] == 65534


def test_as_a_user_without_capabilities_in_a_user_namespace():
    result = host(first="inside = 1000" + USER_NAMESPACE + WITHOUT_CAPABILITIES)
    assert result["host_uid"] == 1000
    assert_holds(result)


def test_where_the_administrator_allows_no_namespaces():
    ban = """
for name in ("user", "mnt", "pid", "net"):
    with open(f"/proc/sys/user/max_{name}_namespaces", "w") as file:
        file.write("0")
"""
    first = "inside = 1000" + USER_NAMESPACE + ban + WITHOUT_CAPABILITIES
    assert host(first=first)["unavailable"] == "namespaces"
    assert_holds(host(first=first, waive=["namespaces"]))


@pytest.mark.skipif(not ROOT, reason="about root")
def test_as_root_that_cannot_become_nobody():
    refused = {"setresuid": errno.EPERM, "setresgid": errno.EPERM, "unshare": errno.EPERM}
    assert host(refused, ["namespaces"])["unavailable"] == "privileges"


SHAMS = {
    "ids kept, but said to be given up": {"setresuid": 0, "setresgid": 0},
    "group kept, but said to be given up": {"setresgid": 0},
    "groups kept, but said to be given up": {"setgroups": 0},
    "ids kept": {"setresuid": errno.EPERM, "setresgid": errno.EPERM},
}


@pytest.mark.skipif(not ROOT, reason="about root")
@pytest.mark.parametrize("name", SHAMS)
def test_the_worker_is_nobody_also_seen_from_outside(name):
    """Inside its own user namespace it says that it is, whoever it is."""
    result = host(SHAMS[name], first="os.setgroups([0, 12345])")
    assert result.get("unavailable") == "privileges", result


def test_descriptors_are_closed_at_no_cost_where_close_range_is_missing():
    first = """
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
"""
    result = host({"close_range": errno.ENOSYS}, first=first)
    assert_holds(result)
    assert result["cpu_s"] < 0.1  # a million calls take 0.2 s


@pytest.mark.slow
def test_beside_jax_and_torch_with_their_threads():
    pytest.importorskip("torch")
    first = """
import jax, torch
jax.jit(lambda x: x @ x)(jax.numpy.ones((200, 200))).block_until_ready()
torch.ones(200, 200) @ torch.ones(200, 200)
"""
    assert_holds(host(first=first))


def test_an_ignored_child_signal_and_a_blocked_mask_are_not_inherited():
    first = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGXCPU, signal.SIGTERM})
"""
    assert_holds(host(first=first))


def test_a_lower_limit_of_the_host_is_respected():
    first = "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    first += "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))"
    assert_holds(host(first=first))

"""An empty world: no files, no network, no other process in sight.

Root with CAP_SYS_ADMIN makes the namespaces directly and then becomes nobody; everybody else makes
them inside a user namespace. Both end as uid 65534 in an empty, read-only root.
"""

import contextlib
import os

from .kernel import syscall
from .privileges import NOBODY, become_nobody

_NEW_USER = 0x10000000
_REST = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,  # takes effect for the children of the process: fork after enter()
    "net": 0x40000000,
}
_ALL_BUT_USER = sum(_REST.values())

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_MNT_DETACH = 2


def enter() -> tuple[str, ...]:
    """Move this process into new namespaces; the next child is process 1 of its own world.

    Returns:
        The names of the namespaces entered.

    Raises:
        OSError: some namespace or mount is refused; the process may have kept its uid or be
            nobody, and must not rely on any of the namespaces.
    """
    own_proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0 and _unshared(_ALL_BUT_USER):
            _empty_root()
            become_nobody()
            with contextlib.suppress(OSError):  # nobody may not; it has no privilege to lose
                _new_user_namespace(own_proc, 0)
                return ("user", *_REST)
            return tuple(_REST)
        become_nobody()
        _new_user_namespace(own_proc, _ALL_BUT_USER)
        _empty_root()
        return ("user", *_REST)
    finally:
        os.close(own_proc)


def _unshared(flags: int) -> bool:
    try:
        syscall("unshare", flags)
    except PermissionError:
        return False
    return True


def _new_user_namespace(own_proc: int, more: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    syscall("unshare", _NEW_USER | more)
    for name, text in (
        ("setgroups", "deny"),  # the kernel's condition for an unprivileged gid_map
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=own_proc)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _empty_root() -> None:
    """Replace the whole file system by an empty read-only directory."""
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    syscall("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    # any directory will do as the place to mount on: only this namespace sees it
    syscall("mount", b"none", b"/proc", b"tmpfs", flags, b"size=4k,nr_inodes=1,mode=555")
    os.chdir("/proc")
    syscall("pivot_root", b".", b".")  # the old root ends up on top of the new one ...
    syscall("umount2", b".", _MNT_DETACH)  # ... and is taken off
    os.chdir("/")

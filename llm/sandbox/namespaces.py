"""An empty world: no files, no network, no other process in sight.

Root with CAP_SYS_ADMIN makes the namespaces directly and then becomes uid 65534; other users make
them inside a user namespace. Both end as uid 65534 in an empty, read-only root.
"""

import contextlib
import errno
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
        OSError: some namespace or mount is refused; the process may have kept its uid or have
            become uid 65534, and must not rely on any of the namespaces.
    """
    own_proc = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0 and _may_unshare():
            _unshare(_ALL_BUT_USER, own_proc)
            _empty_root()
            with contextlib.suppress(OSError):  # a user namespace may lack uid 65534 ...
                become_nobody()
            try:
                _new_user_namespace(own_proc, 0)  # ... before this one, which has no other uid
            except OSError:
                if os.getuid() == 0:
                    raise
                return tuple(_REST)  # uid 65534 has no privilege that this could take
            return ("user", *_REST)
        with contextlib.suppress(OSError):
            become_nobody()
        _new_user_namespace(own_proc, _ALL_BUT_USER)
        _empty_root()
        return ("user", *_REST)
    finally:
        os.close(own_proc)


def _may_unshare() -> bool:
    try:
        syscall("unshare", _REST["uts"])
    except PermissionError:
        return False
    return True


def _unshare(flags: int, own_proc: int) -> None:
    """Enter new namespaces; do not take the kernel's word for it. Raises OSError.

    A runtime that only pretends would have the mounts below made in the host's own namespace.
    """
    before = os.readlink("ns/mnt", dir_fd=own_proc)
    syscall("unshare", flags)
    if flags & _REST["mount"] and os.readlink("ns/mnt", dir_fd=own_proc) == before:
        raise OSError(errno.ENOSYS, "unshare: accepted, but the mount namespace is the same")


def _new_user_namespace(own_proc: int, more: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    _unshare(_NEW_USER | more, own_proc)
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

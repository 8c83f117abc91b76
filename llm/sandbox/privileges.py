"""Giving up what root, capabilities and set-user-id programs could do."""

import ctypes
import os

from .kernel import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, prctl, syscall

NOBODY = 65534
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def become_nobody() -> None:
    """If root, become uid and gid 65534 for good; otherwise do nothing. Raises OSError."""
    if os.getuid() != 0 and os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # changing the uid hid /proc/self from us, and a user namespace's maps are written there
    prctl(PR_SET_DUMPABLE, 1)


def capabilities() -> int:
    """The bits of all capabilities that this process has or may take. Raises OSError."""
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    syscall("capget", _Header(_CAPABILITY_VERSION_3, 0), sets)
    low, high = (sets[i] | sets[i + 1] | sets[i + 2] for i in (0, 3))
    return high << 32 | low


def renounce() -> None:
    """Drop every capability and the way back to any. Raises OSError."""
    no_capabilities = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    syscall("capset", _Header(_CAPABILITY_VERSION_3, 0), no_capabilities)
    prctl(PR_SET_NO_NEW_PRIVS, 1)

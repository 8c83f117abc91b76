"""A Landlock ruleset that grants nothing.

Everything that this kernel's Landlock can handle is handled, and no rule is added: no file may be
opened or run, no directory listed, and on newer kernels no TCP port bound or connected to, no
abstract socket reached, no signal sent to a process outside.
"""

import ctypes

from .kernel import syscall

_VERSION_FLAG = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # ABI: number of rights; 16 from ABI 5 on
_ALL_TCP = 0b11  # bind, connect: from ABI 4 on
_ALL_SCOPES = 0b11  # abstract Unix sockets, signals: from ABI 6 on


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


def abi() -> int:
    """Return the kernel's Landlock ABI, at least 1. Raises OSError where there is none."""
    return syscall("landlock_create_ruleset", None, 0, _VERSION_FLAG)


def create_ruleset() -> int:
    """Return the descriptor of a ruleset that denies all that is deniable. Raises OSError."""
    version = abi()
    attributes = _RulesetAttributes((1 << _FILE_RIGHTS.get(version, 16)) - 1)
    size = 8  # a kernel refuses a structure with fields it does not know
    if version >= 4:
        attributes.handled_access_net, size = _ALL_TCP, 16
    if version >= 6:
        attributes.scoped, size = _ALL_SCOPES, 24
    return syscall("landlock_create_ruleset", attributes, size, 0)


def restrict_self(ruleset: int) -> None:
    """Put this process under `ruleset` for good (needs no_new_privs). Raises OSError."""
    syscall("landlock_restrict_self", ruleset, 0)

"""The few system calls for which Python 3.11 has no function."""

import ctypes
import os

from . import syscalls

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_NUMBERS = syscalls.numbers()


def syscall(name: str, *arguments: int | bytes | ctypes.Structure | ctypes.Array | None) -> int:
    """Make the system call `name`; ints are passed as longs, the rest by address.

    Raises:
        OSError: with the call's errno.
    """
    result = _libc.syscall(ctypes.c_long(_NUMBERS[name]), *map(_argument, arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    """`prctl(option, value, 0, 0, 0)`; raises OSError."""
    syscall("prctl", option, value, 0, 0, 0)


def _argument(value):
    if value is None or isinstance(value, int):
        return ctypes.c_long(value or 0)
    if isinstance(value, bytes):
        return ctypes.c_char_p(value)
    return ctypes.byref(value)

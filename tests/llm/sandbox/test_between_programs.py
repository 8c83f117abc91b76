"""Two programs in two workers share libraries and the machine, and no more."""

import errno

import numpy as np
import pytest

from llm.sandbox import Limits, Sandbox, syscalls

ROOMY = Limits(wall_s=30, cpu_s=10, memory_mb=64)

# a page of a library and one of the sealed data: in memory once for both programs
SLEEP_AND_WAKE = """
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
library = ctypes.c_void_p.in_dll(libc, "Py_hexdigits").value & ~4095
word = library if shared == "library" else table.ctypes.data & ~4095
def futex(command, value, timeout=None):
    return libc.syscall(*map(ctypes.c_long, (number, word, command, value)), timeout, None, 1)
action = {}
if sleeps:
    now = ctypes.c_uint32.from_address(word).value
    action[0] = futex(command, now, ctypes.byref((ctypes.c_long * 2)(2, 0)))
    action[1] = ctypes.get_errno()
else:
    end = time.monotonic() + 1.5
    while time.monotonic() < end and futex(command + 1, 1) != 1: pass
    action[0] = int(time.monotonic() < end)
"""


@pytest.fixture(scope="module")
def two_workers(outer_limits):
    with Sandbox(workers=2) as box:
        yield box


@pytest.mark.parametrize("shared", ["library", "data"])
@pytest.mark.parametrize("private", [0, 128])
def test_a_program_cannot_wake_another(two_workers, shared, private):
    data = {
        "shared": shared,
        "table": np.arange(1 << 14),
        "number": syscalls.numbers()["futex"],
        "command": private,
    }
    with two_workers.pack(data) as packed:
        programs = [f"sleeps = {sleeps}\n{SLEEP_AND_WAKE}" for sleeps in (True, False)]
        asleep, awake = two_workers.map([(code, packed) for code in programs], limits=ROOMY)
    assert asleep.status == awake.status == "ok", (asleep, awake)
    assert asleep.action == {0: -1, 1: errno.ETIMEDOUT if private else errno.EPERM}
    assert awake.action == {0: 0}

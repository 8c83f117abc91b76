"""System calls made by hand, with every wall up and with seccomp alone."""

import os

import pytest

from llm.sandbox import addresses, seccomp, syscalls

from .arena import Arena, all_processes, open_arena


@pytest.fixture(scope="module", params=["box", "seccomp_only_box"])
def arena(request, tmp_path_factory):
    box = request.getfixturevalue(request.param)
    with open_arena(box, tmp_path_factory.mktemp("arena")) as opened:
        yield opened


CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*map(ctypes.c_long, (number, *arguments)))
    return ctypes.get_errno() if result == -1 else 0
"""


@pytest.mark.parametrize("name", sorted(set(seccomp.KILLED.split()) & set(syscalls.numbers())))
def test_raw_system_call_kills(arena: Arena, name: str):
    workers = all_processes(arena.box)
    # bad in every argument: an unfiltered kernel would refuse with an errno, and not kill
    code = CALL + f"call({syscalls.numbers()[name]}, -1, -1, -1, -1, -1, -1)\naction = {{0: 0}}"
    execution = arena.box.run(code, arena.data)
    assert (execution.status, execution.detail) == ("killed", "forbidden system call")
    assert arena.traces(workers) == []


@pytest.mark.parametrize("argument", [0, -1])
def test_every_other_raw_system_call_is_refused(arena: Arena, argument: int):
    named = set(seccomp.program_rules(addresses.layout(), 0, 0))
    named -= {"clone", "clone3", "fork", "vfork"}
    known = {number for name, number in syscalls.numbers().items() if name in named}
    # 335 and 336 are the kernel's own trampolines for uprobes, which seccomp lets pass on purpose;
    # from anywhere else they raise SIGILL
    others = [n for n in range(600) if n not in known and not 335 <= n <= 336]
    code = CALL + f"action = {{n: call(n, *[{argument}] * 6) for n in {others}}}"
    execution = arena.box.run(code, arena.data)
    assert execution.status == "ok", execution
    wrong = {n: got for n, got in execution.action.items() if got not in (1, 11, 38)}
    assert not wrong  # EPERM; EAGAIN for fork, vfork and clone; ENOSYS for clone3


MAPPINGS = {
    "anonymous_code": "call(mmap, 0, 4096, 1 | 4, 0x22, -1, 0)",
    "writable_code": "call(mmap, 0, 4096, 1 | 2 | 4, 0x22, -1, 0)",
    "shared_code": "call(mmap, 0, 4096, 4, 0x21, -1, 0)",
    "code_at_a_fixed_place": "call(mmap, 0x10000, 4096, 4, 0x32, -1, 0)",
    "heap_made_executable": "call(mprotect, cost.ctypes.data & ~4095, 4096, 1 | 2 | 4)",
    "high_bits_beside_the_flag": "call(mprotect, 0, 0, (1 << 40) | 4)",
    "grown_down_code": "call(mprotect, 0, 0, 0x01000000 | 4)",
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_no_new_code_can_be_mapped(arena: Arena, name: str):
    numbers = {call: syscalls.numbers()[call] for call in ("mmap", "mprotect")}
    code = "".join(f"{call} = {number}\n" for call, number in numbers.items())
    execution = arena.box.run(CALL + code + f"action = {{0: {MAPPINGS[name]}}}", arena.data)
    assert execution.action == {0: 1}, execution  # EPERM


# of calls that are allowed on the whole: the second argument, or the third, says what to do
COMMANDS = {
    "futex": ("[word, command | 128, 0, 0, word, 0]", range(2, 9)),
    "futex of all processes": ("[word, command, 0, 0, word, 0]", range(14)),
    "futex with priorities": ("[word, command | 128, 0, 0, word, 0]", range(11, 14)),
    # the CPU clocks of process 0 (oneself), of 1 (the zygote), of thread 1; of a descriptor
    "clock_gettime": ("[command, page]", [-6, -2, -14, -10, -13, -29, 10, 12]),
    "clock_getres": ("[command, page]", [-6, -2, -14, -10, -13, -29, 10, 12]),
    "clock_nanosleep": ("[command, 0, page, 0]", [-6, -2, -14, -10, -13, -29, 10, 12]),
    "sched_getaffinity": ("[command, 8, page]", [1, 2, -1]),
    "madvise": ("[page, 4096, command]", [9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 25, 100, 101]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_dangerous_commands_of_allowed_calls_are_refused(arena: Arena, name: str):
    arguments, commands = COMMANDS[name]
    number = syscalls.numbers()[name.partition(" ")[0]]
    code = f"""
import mmap
block = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
page = word = ctypes.addressof(ctypes.c_char.from_buffer(block))
action = {{command: call({number}, *{arguments}) for command in {list(commands)}}}
"""
    execution = arena.box.run(CALL + code, arena.data)
    assert execution.action == dict.fromkeys(commands, 1), execution  # EPERM


# of a library: its code, its constants; and ways to move memory to a place of one's choice
REMAPPINGS = {
    "code_stretched_over_the_rest_of_its_file": "[code, 4096, 1 << 16, 1]",
    "code_stretched_in_place": "[code, 4096, 1 << 16, 0]",
    "code_mapped_a_second_time": "[code, 0, 4096, 1]",
    "code_left_and_moved": "[code, 4096, 4096, 5]",
    "constants_stretched": "[constants, 4096, 1 << 16, 1]",
    "moved_to_a_fixed_place": "[own, 4096, 4096, 3, own + 4096]",
    "several_mappings_moved_at_once": "[own, 1 << 40, 1 << 40, 3, 1 << 44]",
}


@pytest.mark.parametrize("name", REMAPPINGS)
def test_no_library_is_stretched_and_nothing_is_put_at_a_place(arena: Arena, name: str):
    code = f"""
import mmap
code = ctypes.cast(libc.getpid, ctypes.c_void_p).value & ~4095
constants = ctypes.c_void_p.in_dll(libc, "Py_hexdigits").value & ~4095
block = mmap.mmap(-1, 8192, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
own = ctypes.addressof(ctypes.c_char.from_buffer(block))
action = {{0: call({syscalls.numbers()["mremap"]}, *{REMAPPINGS[name]})}}
"""
    execution = arena.box.run(CALL + code, arena.data)
    assert execution.action == {0: 1}, execution  # EPERM


def test_own_memory_is_resized_where_it_is(arena: Arena):
    code = f"""
import mmap
block = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block[5] = 7
own = ctypes.addressof(ctypes.c_char.from_buffer(block))
arguments = {syscalls.numbers()["mremap"]}, own, 1 << 20, 8 << 20, 1
moved = libc.syscall(*map(ctypes.c_long, arguments))
action = {{0: ctypes.cast(moved, ctypes.POINTER(ctypes.c_ubyte))[5]}}
"""
    execution = arena.box.run(CALL + code, arena.data)
    assert execution.action == {0: 7}, execution


@pytest.mark.skipif("x86_64" not in os.uname().machine, reason="x32 is an ABI of x86-64")
def test_system_call_of_the_x32_abi_kills(arena: Arena):
    execution = arena.box.run(CALL + f"call({0x40000000 + 39})\naction = {{}}", arena.data)
    assert execution.status == "killed"

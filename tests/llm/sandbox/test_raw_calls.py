"""System calls made by hand, with every wall up and with seccomp alone."""

import os

import pytest

from llm.sandbox import seccomp, syscalls

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
    named = set(seccomp.program_rules()) - {"clone", "clone3", "fork", "vfork"}
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
    "futex with priorities": ("[word, command | 128, 0, 0, word, 0]", range(11, 14)),
    "madvise": ("[page, 4096, command]", [9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 25, 100, 101]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_dangerous_commands_of_allowed_calls_are_refused(arena: Arena, name: str):
    arguments, commands = COMMANDS[name]
    number = syscalls.numbers()[name.partition(" ")[0]]
    code = f"""
import mmap
block = mmap.mmap(-1, 4096)
page = word = ctypes.addressof(ctypes.c_char.from_buffer(block))
action = {{command: call({number}, *{arguments}) for command in {list(commands)}}}
"""
    execution = arena.box.run(CALL + code, arena.data)
    assert execution.action == dict.fromkeys(commands, 1), execution  # EPERM


@pytest.mark.skipif("x86_64" not in os.uname().machine, reason="x32 is an ABI of x86-64")
def test_system_call_of_the_x32_abi_kills(arena: Arena):
    execution = arena.box.run(CALL + f"call({0x40000000 + 39})\naction = {{}}", arena.data)
    assert execution.status == "killed"

"""The BPF program, instruction by instruction, on both architectures, without a kernel."""

import re
import shutil
import struct
import subprocess

import pytest

from llm.sandbox import syscalls
from llm.sandbox.seccomp import (
    ALLOW,
    ALLOWED,
    KILL,
    KILLED,
    OnlyIf,
    assemble,
    program_rules,
    refuse,
)

DEFAULT = refuse(1)


def interpret(program: bytes, machine: int, number: int, *arguments: int) -> int:
    """The verdict of a classic BPF program on one system call."""
    padded = (*arguments, *[0] * 6)[:6]
    call = struct.pack("<iIQ6Q", number, machine, 0, *(a % 2**64 for a in padded))
    instructions = list(struct.iter_unpack("<HBBI", program))
    position, accumulator = 0, 0
    while True:
        code, if_true, if_false, k = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", call, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x06:
            return k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k}
            position += if_true if holds[code] else if_false


@pytest.fixture(params=syscalls.ARCHITECTURES)
def machine(request):
    return request.param


@pytest.fixture
def verdict(machine):
    program = assemble(program_rules(), DEFAULT, machine)
    numbers = syscalls.numbers(machine)

    def ask(call, *arguments, audit=syscalls.AUDIT_ARCH[machine]):
        number = call if isinstance(call, int) else numbers[call]
        return interpret(program, audit, number, *arguments)

    return ask


def test_each_named_call_gets_its_verdict(verdict, machine):
    for name in syscalls.numbers(machine):
        if name in ALLOWED.split():
            assert verdict(name) == ALLOW, name
        elif name in KILLED.split():
            assert verdict(name) == KILL, name
        elif name not in program_rules():
            assert verdict(name) == DEFAULT, name


def test_only_what_is_listed_is_allowed(verdict, machine):
    allowed = {number for number in range(2000) if verdict(number) == ALLOW}
    names = {name for name, number in syscalls.numbers(machine).items() if number in allowed}
    assert len(names) == len(allowed)
    assert names <= {*ALLOWED.split(), "mmap", "mprotect", "madvise", "futex"}


def test_every_rule_names_a_known_call():
    assert set(program_rules()) <= set(syscalls.TABLE)
    assert not set(ALLOWED.split()) & set(KILLED.split())


@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_executable_memory_is_refused(verdict, call):
    for protection in range(8):
        expected = refuse(1) if protection & 4 else ALLOW
        assert verdict(call, 0, 4096, protection) == expected
        assert verdict(call, 4, 4, protection | 1 << 40) == expected


def test_a_futex_can_wait_and_wake_but_not_requeue_or_lend_priority(verdict):
    for command in range(512):
        waits_or_wakes = command & ~(128 | 256) in (0, 1, 9, 10)  # private, real time
        assert verdict("futex", 0, command) == (ALLOW if waits_or_wakes else refuse(1)), command
    assert verdict("futex", 0, 1 << 31) == refuse(1)


def test_memory_can_be_advised_on_but_not_merged_with_strangers_or_poisoned(verdict):
    for advice in range(128):
        expected = ALLOW if advice in (0, 1, 2, 3, 4, 8, 14, 15) else refuse(1)
        assert verdict("madvise", 0, 4096, advice) == expected


def test_processes_are_refused_as_at_a_limit(verdict, machine):
    assert verdict("clone", 17) == refuse(11)
    assert verdict("clone3") == refuse(38)
    if machine == "x86_64":
        assert verdict("fork") == verdict("vfork") == refuse(11)


def test_foreign_architectures_are_killed(verdict, machine):
    foreign = {0x40000003, 0x40000028, *syscalls.AUDIT_ARCH.values()}  # also i386 and arm
    for audit in foreign - {syscalls.AUDIT_ARCH[machine]}:
        assert verdict("write", audit=audit) == KILL


def test_the_x32_abi_is_killed():
    program = assemble(program_rules(), DEFAULT, "x86_64")
    audit = syscalls.AUDIT_ARCH["x86_64"]
    assert interpret(program, audit, 0x40000000 | 1) == KILL
    assert interpret(program, audit, -1) == KILL


def test_a_conditional_rule_ends_in_one_of_its_two_verdicts(machine):
    rules = {"prctl": OnlyIf(5, 0xF, (1, 8), KILL), "write": ALLOW}
    program = assemble(rules, DEFAULT, machine)
    audit, number = syscalls.AUDIT_ARCH[machine], syscalls.numbers(machine)["prctl"]
    for value in range(64):
        expected = ALLOW if value % 16 in (1, 8) else KILL
        assert interpret(program, audit, number, 8, 8, 8, 8, 8, value) == expected


def test_an_unknown_call_is_an_error():
    with pytest.raises(ValueError, match="opne"):
        assemble({"opne": KILL}, DEFAULT)


def test_an_unknown_machine_is_an_error():
    with pytest.raises(ValueError, match="riscv64"):
        assemble({}, DEFAULT, "riscv64")


HEADERS = {
    # the architecture's name, the header, what its own header defines before including that one
    "x86_64": ("asm/unistd_64.h", ""),
    "aarch64": (
        "asm-generic/unistd.h",
        "__LP64__ __BITS_PER_LONG=64 __ARCH_WANT_NEW_STAT __ARCH_WANT_RENAMEAT "
        "__ARCH_WANT_SET_GET_RLIMIT __ARCH_WANT_SYS_CLONE3 __ARCH_WANT_MEMFD_SECRET",
    ),
}


@pytest.mark.skipif(
    shutil.which("cc") is None, reason="needs a C compiler for the kernel's headers"
)
def test_numbers_are_those_of_the_kernel_headers(machine):
    header, defines = HEADERS[machine]
    command = ["cc", "-E", "-dM", *(f"-D{d}" for d in defines.split()), "-include", header, "-"]
    result = subprocess.run(command, input="", capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip(f"no {header} here")
    defined = dict(re.findall(r"#define (__NR\w*) (\w+)", result.stdout))
    checked = 0
    for name, number in syscalls.numbers(machine).items():
        value = defined.get(f"__NR_{name}", "")
        value = defined.get(value, value)  # one level of __NR3264_ names
        if value.isdecimal():
            assert int(value) == number, name
            checked += 1
    assert checked > 100 or checked > 0.9 * len(syscalls.numbers(machine))

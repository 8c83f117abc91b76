"""The BPF program, instruction by instruction, on both architectures, without a kernel."""

import os
import re
import shutil
import struct
import subprocess

import pytest

from llm.sandbox import addresses, syscalls, zygote
from llm.sandbox.seccomp import (
    ALLOW,
    ALLOWED,
    KILL,
    KILLED,
    OnlyIf,
    Outside,
    assemble,
    program_rules,
    refuse,
)

DEFAULT = refuse(1)
BINARY = (0x5555_0000_1000, 0x5555_0010_0000)
LIBRARIES = (0x7FFF_1234_5000, 0x7FFF_4000_0000)
LAYOUT = addresses.Layout((BINARY, LIBRARIES), LIBRARIES[0])
MEMORY = 512 << 20
MAPPED = 2 << 30
RULES = program_rules(LAYOUT, MEMORY, MAPPED)
PRIVATE = 0x22


def interpret(program: bytes, machine: int, number: int, *arguments: int) -> int:
    """The verdict of a classic BPF program on one system call."""
    padded = (*arguments, *[0] * 6)[:6]
    call = struct.pack("<iIQ6Q", number, machine, 0, *(a % 2**64 for a in padded))
    instructions = list(struct.iter_unpack("<HBBI", program))
    position, accumulator, index = 0, 0, 0
    while True:
        code, if_true, if_false, k = instructions[position]
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", call, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x4C:
            accumulator |= index
        elif code == 0x64:
            accumulator = accumulator << k & 0xFFFFFFFF
        elif code == 0x74:
            accumulator >>= k
        elif code == 0x07:
            index = accumulator
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
    program = assemble(RULES, DEFAULT, machine)
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
        elif name not in RULES:
            assert verdict(name) == DEFAULT, name


def test_only_what_is_listed_is_allowed(verdict, machine):
    allowed = {number for number in range(2000) if verdict(number) == ALLOW}
    names = {name for name, number in syscalls.numbers(machine).items() if number in allowed}
    assert len(names) == len(allowed)
    assert names <= {*ALLOWED.split(), *(n for n, rule in RULES.items() if isinstance(rule, tuple))}


def test_every_rule_names_a_known_call():
    assert set(RULES) <= set(syscalls.TABLE)
    assert not set(ALLOWED.split()) & set(KILLED.split())


@pytest.mark.parametrize("call", ["mmap", "mprotect"])
def test_executable_memory_is_refused(verdict, call):
    for protection in range(8):
        expected = refuse(1) if protection & 4 else ALLOW
        assert verdict(call, 0, 4096, protection, PRIVATE) == expected
        assert verdict(call, 0, 4, protection | 1 << 40, PRIVATE) == expected


@pytest.mark.parametrize("address", [1, 4096, 1 << 16, 1 << 32, 1 << 47, 1 << 63, LIBRARIES[0]])
def test_the_kernel_chooses_the_place_of_a_mapping(verdict, address):
    assert verdict("mmap", address, 4096, 3, PRIVATE) == refuse(1)


def test_a_mapping_is_private_and_of_common_pages(verdict):
    for kind in range(16):
        expected = ALLOW if kind == 2 else refuse(1)
        assert verdict("mmap", 0, 4096, 3, 0x20 | kind) == expected, kind
    for flag in (0x10, 0x100, 0x40000):  # a fixed place, growing downwards, huge pages
        assert verdict("mmap", 0, 4096, 3, PRIVATE | flag) == refuse(1), flag
    assert verdict("mmap", 0, 4096, 3, PRIVATE | 0x4000 | 0x20000) == ALLOW  # as for a stack


def test_a_futex_can_wait_and_wake_in_its_own_process_only(verdict):
    for command in range(512):
        waits_or_wakes = command & ~256 in (128, 129, 137, 138)  # by either clock
        assert verdict("futex", 0, command) == (ALLOW if waits_or_wakes else refuse(1)), command
    assert verdict("futex", 0, 1 << 31 | 128) == refuse(1)


@pytest.mark.parametrize("call", ["clock_gettime", "clock_getres", "clock_nanosleep"])
def test_a_clock_of_another_process_is_refused(verdict, call):
    for clock in range(-4096, 64):
        expected = ALLOW if clock in (*range(8), 9, 11) else refuse(1)
        assert verdict(call, clock) == expected, clock


def test_a_program_learns_its_own_cpus_only(verdict):
    assert [verdict("sched_getaffinity", pid) for pid in (0, 1, -1)] == [
        ALLOW,
        refuse(1),
        refuse(1),
    ]


FLOOR = LAYOUT.floor(MEMORY, MAPPED)


@pytest.mark.parametrize(
    ("address", "may_end", "may_be_moved"),
    [
        (FLOOR - (1 << 30), False, False),
        (FLOOR - 4096, False, False),
        (FLOOR + (1 << 16), True, True),
        (LIBRARIES[0] - (1 << 16), True, True),
        (LIBRARIES[0], True, False),
        (LIBRARIES[1] - 4096, True, False),
        (LIBRARIES[1], True, True),
        (BINARY[0], False, False),
        (BINARY[1], False, False),
        (1 << 48 | LIBRARIES[1], False, False),
        (1 << 63, False, False),
    ],
)
def test_libraries_stay_where_they_are_and_holes_are_made_above_the_floor(
    verdict, address, may_end, may_be_moved
):
    assert verdict("munmap", address, 4096) == (ALLOW if may_end else refuse(1))
    for flags in range(8):
        expected = ALLOW if may_be_moved and flags < 2 else refuse(1)
        assert verdict("mremap", address, 4096, 8192, flags) == expected


def test_the_floor_leaves_room_for_the_data_and_in_proportion_to_the_memory_limit():
    assert LIBRARIES[0] - FLOOR == MAPPED + 8 * MEMORY + (1 << 30)
    assert LAYOUT.floor(1 << 60, 0) == LAYOUT.floor(0, 1 << 60) == 0


@pytest.mark.parametrize("nbytes", [1, 4096, (1 << 20) - 1, 1 << 20, 3 << 29])
def test_the_room_for_code_and_data_is_a_power_of_two(nbytes):
    descriptor = os.memfd_create("sparse")
    try:
        os.truncate(descriptor, nbytes // 2)
        room = zygote._mapped_bytes(descriptor, descriptor)
        assert 2 * (nbytes // 2) <= room <= max(1, 2 * nbytes) and room.bit_count() == 1
    finally:
        os.close(descriptor)


def test_layout_of_this_process():
    layout = addresses.layout()
    with open("/proc/self/maps") as mappings:
        for line in mappings:
            start, end = (int(address, 16) for address in line.split()[0].split("-"))
            if end < addresses.END and (".so" in line or "x" in line.split()[1]):
                assert any(first <= start and end <= behind for first, behind in layout.files), line
            if "numpy" in line:
                assert start >= layout.libraries
    assert list(layout.files) == sorted(layout.files)


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
    program = assemble(RULES, DEFAULT, "x86_64")
    audit = syscalls.AUDIT_ARCH["x86_64"]
    assert interpret(program, audit, 0x40000000 | 1) == KILL
    assert interpret(program, audit, -1) == KILL


def test_a_call_passes_only_if_all_conditions_hold(machine):
    spans = ((4 << 16, 6 << 16), (8 << 16, (9 << 16) + 1), (1 << 40, (1 << 40) + 1))
    conditions = (OnlyIf(5, values=(1, 8), mask=0xF, otherwise=KILL), Outside(2, spans))
    program = assemble({"prctl": conditions, "write": ALLOW}, DEFAULT, machine)
    audit, number = syscalls.AUDIT_ARCH[machine], syscalls.numbers(machine)["prctl"]
    inside = {4, 5, 8, 9, 1 << 24}
    for value in range(64):
        for unit in (*range(12), (1 << 24) - 1, 1 << 24, (1 << 24) + 1):
            expected = ALLOW if unit not in inside else refuse(1)
            expected = expected if value % 16 in (1, 8) else KILL
            got = interpret(program, audit, number, 8, 8, (unit << 16) + 7, 8, 8, value)
            assert got == expected, (value, unit)


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

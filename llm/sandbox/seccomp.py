"""The system call filter, assembled here as classic BPF.

Why by hand and not with libseccomp: the program is one linear list, forty lines to write and to
read; it is compiled once in the zygote and installed in each child by a single system call, where
libseccomp builds and loads in one step in the process that is to be confined; and nothing has to
be installed on the machine, which is one way less for the sandbox to be missing. The tests run
this list through a BPF interpreter for both architectures and check it against the kernel.

Three verdicts: a call is allowed (memory, time, exit, the answer's descriptor), refused with an
errno so that Python raises (everything not named here), or it kills the process (calls that no
program of ours makes by mistake and that have been the way out of other sandboxes).
"""

import ctypes
import errno
import itertools
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from . import syscalls
from .addresses import END, Layout, Span
from .kernel import syscall

ALLOW = 0x7FFF0000
KILL = 0x80000000
PROT_EXEC = 4
X32_BIT = 0x40000000  # bit that marks the x32 ABI's numbers on x86-64
_UNIT = 1 << 16  # in it, an address of 48 bits fits a word


def refuse(number: int) -> int:
    """The verdict that makes a call fail with errno `number`."""
    return 0x00050000 | number


@dataclass(frozen=True, slots=True)
class OnlyIf:
    """A call passes if a word of an argument has one of some values.

    Attributes:
        argument: index of the argument, 0 to 5.
        values: that the word may have under the mask.
        mask: bits of the word that are looked at.
        word: 0 is the low one.
        otherwise: the verdict if it does not pass.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    word: int = 0
    otherwise: int = refuse(errno.EPERM)


@dataclass(frozen=True, slots=True)
class Outside:
    """A call passes if an argument, an address, lies in none of some spans.

    Attributes:
        argument: index of the argument, 0 to 5.
        spans: in rising order and apart; they are widened to multiples of 64 KiB.
        otherwise: the verdict if it does not pass.
    """

    argument: int
    spans: tuple[Span, ...]
    otherwise: int = refuse(errno.EPERM)


Rule = int | tuple[OnlyIf | Outside, ...]  # a verdict, or conditions that must all hold

_NO_CODE = OnlyIf(2, mask=PROT_EXEC, values=(0,))
# the kernel chooses the place (no address, in both words), from the top down: scattered pages take
# more memory for their page tables than for themselves
_ANYWHERE = (OnlyIf(0, values=(0,)), OnlyIf(0, values=(0,), word=1))
# Shared memory without a file outlives the part of its mapping that is given back, and no limit
# counts it. Private and nothing else is the low nibble's 2; also refused: a fixed place (0x10),
# growing downwards (0x100), huge pages (0x40000), which are the machine's and not the process's.
_ONLY_PRIVATE = OnlyIf(3, mask=0x4011F, values=(2,))
# as realloc does: to a place of the kernel's choice, the old place given up
_ONLY_RESIZE = OnlyIf(3, values=(0, 1))
# a single thread waits (0, 9) and wakes (1, 10), within its process (128), by either clock (256);
# to requeue and to lend priority is a corner of the kernel with a history, and a futex that is not
# private reaches every process that maps the same file
_ONLY_WAIT_AND_WAKE = OnlyIf(1, mask=0xFFFFFFFF & ~256, values=(128, 129, 137, 138))
# how an allocator uses it; without, among others, merging equal pages with those of strangers
_ONLY_OWN_PAGES = OnlyIf(2, values=(0, 1, 2, 3, 4, 8, 14, 15))
# the other numbers, negative ones above all, name the CPU time of any process
_ONLY_COMMON_CLOCKS = OnlyIf(0, values=(0, 1, 2, 3, 4, 5, 6, 7, 9, 11))
_ONLY_ITSELF = OnlyIf(0, values=(0,))

ALLOWED = (
    # memory (what has conditions is in `program_rules`)
    "brk rseq "
    # the answer's pipe and /dev/null are the only descriptors there are
    "write read close lseek fstat "
    # time and sleep
    "nanosleep gettimeofday time times "
    "alarm setitimer getitimer pause restart_syscall "
    # signals to oneself
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack "
    # harmless facts
    "getpid gettid getppid getuid geteuid getgid getegid getcpu getrusage getrandom "
    "sched_yield "
    "exit exit_group"
)

KILLED = (
    # other processes' memory and descriptors
    "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp "
    # namespaces, mounts, roots
    "mount umount2 pivot_root chroot unshare setns open_tree move_mount mount_setattr "
    "fsopen fsconfig fsmount fspick open_by_handle_at "
    # code for the kernel, and its favourite holes
    "bpf init_module finit_module delete_module kexec_load kexec_file_load "
    "io_uring_setup io_uring_enter io_uring_register userfaultfd perf_event_open "
    "add_key request_key keyctl modify_ldt iopl ioperm "
    # the machine as a whole
    "reboot swapon swapoff acct quotactl syslog clock_settime clock_adjtime adjtimex vhangup"
)


def program_rules(layout: Layout, memory_bytes: int, mapped_bytes: int) -> dict[str, Rule]:
    """The filter of a stranger's program: name -> rule.

    Args:
        layout: of the zygote, whose libraries stay as and where they are.
        memory_bytes: what the program may use beyond the zygote's address space.
        mapped_bytes: of code and data, mapped between the libraries and the program's memory.
    """
    below = (0, layout.floor(memory_bytes, mapped_bytes))
    rules: dict[str, Rule] = {
        "mmap": (_NO_CODE, _ONLY_PRIVATE, *_ANYWHERE),
        "munmap": (Outside(0, (below,)),),
        # stretched, the mapping of a library's code would make the rest of the file code too
        "mremap": (_ONLY_RESIZE, Outside(0, _ordered(below, *layout.files))),
        "mprotect": (_NO_CODE,),
        "madvise": (_ONLY_OWN_PAGES,),
        "futex": (_ONLY_WAIT_AND_WAKE,),
        "sched_getaffinity": (_ONLY_ITSELF,),
    }
    clocks = ("clock_gettime", "clock_getres", "clock_nanosleep")
    rules |= dict.fromkeys(clocks, (_ONLY_COMMON_CLOCKS,))
    rules |= dict.fromkeys(ALLOWED.split(), ALLOW)
    rules |= dict.fromkeys(KILLED.split(), KILL)
    # glibc tries clone3 first and falls back on ENOSYS; then fork says "try again", as at a limit
    rules |= {"clone3": refuse(errno.ENOSYS)}
    rules |= dict.fromkeys(("clone", "fork", "vfork"), refuse(errno.EAGAIN))
    return rules


def assemble(rules: Mapping[str, Rule], default: int, machine: str | None = None) -> bytes:
    """Return the BPF program (8 bytes an instruction) for `machine` (default: this one).

    Calls that the architecture does not have are skipped. A process of a foreign architecture or
    of the x32 ABI is killed at its first call.

    Raises:
        ValueError: there is no system call table for the machine, or no such call in it.
    """
    machine = machine or platform.machine()
    numbers = syscalls.numbers(machine)
    if unknown := set(rules) - set(syscalls.TABLE):
        raise ValueError(f"no number for {sorted(unknown)}")
    code = [_load(4), _jump_if_equal(syscalls.AUDIT_ARCH[machine], 1, 0), _return(KILL), _load(0)]
    if machine == "x86_64":
        code += [_jump_if_at_least(X32_BIT, 0, 1), _return(KILL)]
    for name, rule in rules.items():
        if name not in numbers:
            continue
        body = _body(rule)
        code += [_jump_if_equal(numbers[name], 0, len(body)), *body]
    code.append(_return(default))
    return b"".join(code)


def install(program: bytes) -> None:
    """Put this process under `program` for good (needs no_new_privs). Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // 8, ctypes.addressof(buffer))
    syscall("seccomp", 1, 0, header)  # SECCOMP_SET_MODE_FILTER


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _instruction(code: int, if_true: int, if_false: int, k: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, k)


def _load(offset: int) -> bytes:
    return _instruction(0x20, 0, 0, offset)  # BPF_LD | BPF_W | BPF_ABS


def _jump_if_equal(k: int, if_true: int, if_false: int) -> bytes:
    return _instruction(0x15, if_true, if_false, k)  # BPF_JMP | BPF_JEQ | BPF_K


def _jump_if_at_least(k: int, if_true: int, if_false: int) -> bytes:
    return _instruction(0x35, if_true, if_false, k)  # BPF_JMP | BPF_JGE | BPF_K


def _return(verdict: int) -> bytes:
    return _instruction(0x06, 0, 0, verdict)  # BPF_RET | BPF_K


def _body(rule: Rule) -> list[bytes]:
    if isinstance(rule, int):
        return [_return(rule)]
    tests = (_test_values(c) if isinstance(c, OnlyIf) else _test_spans(c) for c in rule)
    return [*itertools.chain.from_iterable(tests), _return(ALLOW)]


# struct seccomp_data: nr, arch, instruction pointer (16 bytes), then six 64-bit arguments; both
# architectures are little-endian, so the low word comes first
def _low(argument: int) -> int:
    return 16 + 8 * argument


def _test_values(condition: OnlyIf) -> list[bytes]:
    """Run to the end if the condition holds, and return its verdict if not."""
    load = _load(_low(condition.argument) + 4 * condition.word)
    mask = _instruction(0x54, 0, 0, condition.mask)  # BPF_ALU | BPF_AND
    left = len(condition.values)
    tests = [_jump_if_equal(value, left - i, 0) for i, value in enumerate(condition.values)]
    return [load, mask, *tests, _return(condition.otherwise)]


def _test_spans(condition: Outside) -> list[bytes]:
    low = _low(condition.argument)
    code = [
        _load(low + 4),
        _jump_if_at_least(END >> 32, 0, 1),
        _return(condition.otherwise),
        _instruction(0x64, 0, 0, 16),  # BPF_ALU | BPF_LSH
        _instruction(0x07, 0, 0, 0),  # BPF_MISC | BPF_TAX
        _load(low),
        _instruction(0x74, 0, 0, 16),  # BPF_ALU | BPF_RSH
        _instruction(0x4C, 0, 0, 0),  # BPF_ALU | BPF_OR | BPF_X: the address in units
    ]
    spans = [(start // _UNIT, -(-end // _UNIT)) for start, end in condition.spans if end]
    left = 3 * len(spans)
    for start, end in spans:  # below it, below all that come behind: done; within it: the verdict
        left -= 3
        code += [_jump_if_at_least(start, 0, left + 2), _jump_if_at_least(end, 1, 0)]
        code.append(_return(condition.otherwise))
    return code


def _ordered(*spans: Span) -> tuple[Span, ...]:
    """The spans in rising order, those that meet or overlap as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return tuple(merged)

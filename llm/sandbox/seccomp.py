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
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from . import syscalls
from .kernel import syscall

ALLOW = 0x7FFF0000
KILL = 0x80000000
PROT_EXEC = 4
X32_BIT = 0x40000000  # bit that marks the x32 ABI's numbers on x86-64


def refuse(number: int) -> int:
    """The verdict that makes a call fail with errno ``number``."""
    return 0x00050000 | number


@dataclass(frozen=True, slots=True)
class OnlyIf:
    """Allow if the low word of ``argument``, under ``mask``, is in ``values``; else ``verdict``."""

    argument: int
    mask: int
    values: tuple[int, ...]
    verdict: int


_NO_CODE = OnlyIf(argument=2, mask=PROT_EXEC, values=(0,), verdict=refuse(errno.EPERM))
# a single thread waits (0, 9) and wakes (1, 10), with two flags; to requeue and to lend priority
# is a corner of the kernel with a history
_ONLY_WAIT_AND_WAKE = OnlyIf(
    argument=1, mask=0xFFFFFFFF & ~(128 | 256), values=(0, 1, 9, 10), verdict=refuse(errno.EPERM)
)
# how an allocator uses it; without, among others, merging equal pages with those of strangers
_ONLY_OWN_PAGES = OnlyIf(
    argument=2, mask=0xFFFFFFFF, values=(0, 1, 2, 3, 4, 8, 14, 15), verdict=refuse(errno.EPERM)
)

ALLOWED = (
    # memory (mmap, mprotect, madvise and futex have conditions, below)
    "brk munmap mremap rseq "
    # the answer's pipe and /dev/null are the only descriptors there are
    "write read close lseek fstat "
    # time and sleep
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times "
    "alarm setitimer getitimer pause restart_syscall "
    # signals to oneself
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack "
    # harmless facts
    "getpid gettid getppid getuid geteuid getgid getegid getcpu getrusage getrandom "
    "sched_getaffinity sched_yield "
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


def program_rules() -> dict[str, int | OnlyIf]:
    """The filter of a stranger's program: name -> verdict."""
    rules: dict[str, int | OnlyIf] = {
        "mmap": _NO_CODE,
        "mprotect": _NO_CODE,
        "madvise": _ONLY_OWN_PAGES,
        "futex": _ONLY_WAIT_AND_WAKE,
    }
    rules |= dict.fromkeys(ALLOWED.split(), ALLOW)
    rules |= dict.fromkeys(KILLED.split(), KILL)
    # glibc tries clone3 first and falls back on ENOSYS; then fork says "try again", as at a limit
    rules |= {"clone3": refuse(errno.ENOSYS)}
    rules |= dict.fromkeys(("clone", "fork", "vfork"), refuse(errno.EAGAIN))
    return rules


def assemble(rules: Mapping[str, int | OnlyIf], default: int, machine: str | None = None) -> bytes:
    """Return the BPF program (8 bytes an instruction) for ``machine`` (default: this one).

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
    for name, verdict in rules.items():
        if name not in numbers:
            continue
        body = _conditional(verdict) if isinstance(verdict, OnlyIf) else [_return(verdict)]
        code += [_jump_if_equal(numbers[name], 0, len(body)), *body]
    code.append(_return(default))
    return b"".join(code)


def install(program: bytes) -> None:
    """Put this process under ``program`` for good (needs no_new_privs). Raises OSError."""
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


def _conditional(rule: OnlyIf) -> list[bytes]:
    # struct seccomp_data: nr, arch, instruction pointer (16 bytes), then six 64-bit arguments;
    # both architectures are little-endian, so the low word comes first
    masked = [_load(16 + 8 * rule.argument), _instruction(0x54, 0, 0, rule.mask)]  # BPF_ALU | AND
    left = len(rule.values)
    tests = [_jump_if_equal(value, left - i, 0) for i, value in enumerate(rule.values)]
    return [*masked, *tests, _return(rule.verdict), _return(ALLOW)]

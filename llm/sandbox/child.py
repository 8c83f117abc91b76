"""The forked child: put up the walls, run one program, write one frame, die.

Everything after `confine` runs under the same rights as the program itself, which can reach and
change all of it. So nothing here is a promise to the host, except that `ready` was closed only
once the walls stood.
"""

import builtins
import contextlib
import errno
import mmap
import os
import random
import resource
import signal
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from . import landlock, seccomp
from .answer import InvalidAnswerError, encode_action, encode_text
from .kernel import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, prctl
from .packing import unpack
from .protocol import (
    ENTRY_BYTES,
    EXIT_DONE,
    EXIT_MEMORY,
    EXIT_NOT_CONFINED,
    EXIT_OUTPUT,
    READY,
    SETUP_STEPS,
    TEXT_BYTES,
    Kind,
)

_FILE_NAME = "<program>"
_NOTHING_OF = (  # what no program may have any of
    resource.RLIMIT_NPROC,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_CORE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_NOFILE,
)


@dataclass(frozen=True, slots=True)
class Job:
    """One program, as the zygote got it from the host."""

    code: int  # descriptors
    data: int
    answer: int
    cpu_ns: int
    memory_bytes: int  # beyond the zygote's own address space
    mapped_bytes: int  # what the filter takes code and data for
    output_bytes: int
    seed: int


@dataclass(frozen=True, slots=True)
class Walls:
    """What the zygote prepared once for all of its children.

    Attributes:
        pid: of the zygote.
        address_space: of the zygote [bytes].
        ruleset: Landlock's descriptor; -1 where it is waived and missing.
        program: the seccomp filter of a memory limit and the size of code and data [bytes].
        descriptors: no descriptor has this number or a higher one.
    """

    pid: int
    address_space: int
    ruleset: int
    program: Callable[[int, int], bytes]
    descriptors: int


def main(job: Job, walls: Walls, ready: int) -> NoReturn:
    """Run `job` in this process and exit. `ready` gets 0 once it is confined, or an errno."""
    step = "process"
    try:
        _tie_to_zygote(walls)
        step = "data"
        code, data = _map(job.code), _map(job.data)
        step = "limits"
        _limit(job, walls, len(code) + len(data))
        step = "landlock"
        if walls.ruleset >= 0:
            landlock.restrict_self(walls.ruleset)
        step = "seccomp"
        _close_all_but(job.answer, ready, bound=walls.descriptors)
        seccomp.install(walls.program(job.memory_bytes, job.mapped_bytes))
        os.write(ready, READY.pack(0))
        os.close(ready)
    except BaseException as error:
        number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", 0)
        with contextlib.suppress(BaseException):
            os.write(ready, READY.pack(number or -1))
        os._exit(EXIT_NOT_CONFINED + SETUP_STEPS.index(step))
    _exit, exit_code = os._exit, EXIT_DONE  # a program may replace what os holds
    try:
        frame = _run(code, data, job)
        if frame is None:
            exit_code = EXIT_OUTPUT
        while frame:
            frame = frame[os.write(job.answer, frame) :]
    except MemoryError:
        exit_code = EXIT_MEMORY
    except BrokenPipeError:  # the host has read as much as it may
        exit_code = EXIT_OUTPUT
    finally:
        _exit(exit_code)


def probe_landlock(ruleset: int) -> NoReturn:
    """Exit with the errno of opening the root directory under Landlock alone; 0 is a success."""
    code = 0
    try:
        landlock.restrict_self(ruleset)
        os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        code = error.errno or errno.EIO
    finally:
        os._exit(code)


def _tie_to_zygote(walls: Walls) -> None:
    os.setpgid(0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_DUMPABLE, 0)  # a core limit of 0 does not keep the machine's crash handler away
    if os.getppid() != walls.pid:  # it died before the line above
        os._exit(EXIT_DONE)


def _map(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)


def _limit(job: Job, walls: Walls, mapped_bytes: int) -> None:
    lower(resource.RLIMIT_AS, walls.address_space + mapped_bytes + job.memory_bytes)
    # only the net below the zygote's finer clock, in case the zygote is stopped
    lower(resource.RLIMIT_CPU, job.cpu_ns // 10**9 + 2)
    for kind in _NOTHING_OF:
        lower(kind, 0)


def lower(kind: int, value: int) -> None:
    """Set a limit of this process, soft and hard, to `value` or to what it is below that."""
    _, ceiling = resource.getrlimit(kind)  # of the host's own making; it may be lower still
    if ceiling != resource.RLIM_INFINITY:
        value = min(value, ceiling)
    resource.setrlimit(kind, (value, value))


def _close_all_but(*keep: int, bound: int) -> None:
    low = 3
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, bound)


def _run(code: mmap.mmap, data: mmap.mmap, job: Job) -> bytes | None:
    """Return the program's frame, or None where the answer is larger than allowed."""
    try:
        namespace = _namespace(unpack(data), job.seed)
        source = str(code[:], "utf-8", "surrogatepass")
        exec(compile(source, _FILE_NAME, "exec", dont_inherit=True), namespace)
        if "action" not in namespace:
            return encode_text(Kind.INVALID, "the program leaves no action")
        action = namespace["action"]
        if isinstance(action, dict) and dict.__len__(action) * ENTRY_BYTES > job.output_bytes:
            return None
        return encode_action(action)
    except MemoryError:
        raise
    except InvalidAnswerError as reason:
        return encode_text(Kind.INVALID, str(reason))
    except BaseException as error:
        return encode_text(Kind.ERROR, _describe(error))


def _fix_entropy(seed: int) -> None:
    """Let what asks the machine for random bytes get a fixed stream: same text, same numbers.

    NumPy's generators without a seed and `secrets` go through `random._urandom`; the C code under
    `random.Random` asks the kernel itself unless it is given a seed.
    """
    entropy = random.Random(f"entropy of {seed}").randbytes
    original = random.Random.seed

    def seed_from_entropy(self, a=None, version=2):
        original(self, entropy(32) if a is None else a, version)

    os.urandom = entropy
    random._urandom = entropy  # type: ignore[attr-defined]
    os.getrandom = lambda size, flags=0: entropy(size)
    random.Random.seed = seed_from_entropy  # type: ignore[method-assign]
    random.seed = random._inst.seed
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 -- what programs use


def _namespace(data: dict, seed: int) -> dict:
    """The program's globals: those of a fresh `__main__`, NumPy, and the data."""
    _fix_entropy(seed)
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"] = main_module  # where dataclasses and pickle look classes up
    namespace = main_module.__dict__
    namespace.update(__builtins__=builtins, np=np, numpy=np, **data)
    return namespace


def _describe(error: BaseException) -> str:
    try:
        text = f"{type(error).__name__}: {error}"[:TEXT_BYTES]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILE_NAME:
                line = trace.tb_lineno
            trace = trace.tb_next
        return f"line {line}: {text}" if line else text
    except BaseException:  # an exception whose text raises
        return "an exception that cannot be described"

"""The sandbox as the host uses it: a pool of workers behind one thread-safe object."""

import asyncio
import contextlib
import os
import platform
import queue
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from . import packing, selftest, syscalls
from .answer import Execution
from .errors import SandboxUnavailable
from .limits import MIN_WALL_S, Limits, checked_deadline
from .packing import Layout, Packed
from .selftest import WAIVABLE
from .worker import Worker, WorkerLostError

_MAX_CODE_CHARACTERS = 1 << 20
_ATTEMPTS = 3  # of a program that something outside ended, and of starting a worker
# With any of these, OpenMP binds the thread that loads it to one CPU.
_OPENMP_BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")

Data = Mapping[str, Any] | Packed | None
Job = tuple[str, Data]


class Sandbox:
    """Runs strangers' programs, each in a process of its own that can do nothing but compute.

    May be used from any thread and any event loop of the process that made it. Close it, or use
    it in a `with` block; the workers also end when the process does, however it ends.

    Args:
        workers: programs that run at the same time; processes of about 120 MB each, which the
            kernel spreads over the CPUs of this process.
        limits: for programs that bring none of their own.
        waive: of `"landlock"` and `"namespaces"`, what this machine may lack. They are used all
            the same where they are there. Recorded in `metadata`.

    Attributes:
        metadata: for the record of a run: the walls in force, what was waived, kernel, limits.
        restarts: workers that died and were replaced so far.

    Raises:
        SandboxUnavailable: a wall is missing or does not hold; nothing was run.
        ValueError, TypeError: a bad argument.
    """

    def __init__(
        self, workers: int = 2, limits: Limits | None = None, waive: Iterable[str] = ()
    ) -> None:
        self.limits = _checked_limits(limits or Limits())
        self._waive = _checked_waive(waive)
        if not isinstance(workers, int) or not 1 <= workers <= 1024:
            raise ValueError(f"workers must be an int from 1 to 1024, not {workers!r}")
        if sys.platform != "linux":
            raise SandboxUnavailable("linux", f"there is no sandbox on {sys.platform}")
        try:
            syscalls.numbers()
        except ValueError as error:
            raise SandboxUnavailable("seccomp", str(error)) from None
        self.restarts = 0
        self._counting = threading.Lock()
        self._owner = os.getpid()
        self._closed = False
        self._cpus = _cpu_mask()
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers: set[Worker] = set()
        self._finalizer = weakref.finalize(self, _kill_all, self._workers, self._owner)
        # Only these threads touch workers: no handler of a signal can interrupt them.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        try:
            starting = [self._threads.submit(self._started) for _ in range(workers)]
            started = [future.result() for future in starting]
        except BaseException:
            self.close()
            raise
        for worker, _ in started:
            self._idle.put(worker)
        self.metadata: dict[str, Any] = {
            **started[0][1],
            "waived": sorted(self._waive),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "workers": workers,
            "limits": asdict(self.limits),
        }

    def pack(self, data: Mapping[str, Any]) -> Packed:
        """Copy an instance once, for many programs; see `packing.lay_out` for what is accepted.

        `run` and `map` take the result in place of the dict. It holds a file descriptor; the
        caller closes it.

        Raises:
            TypeError, ValueError: naming the place in `data`.
            SandboxUnavailable: no descriptor or no memory left.
        """
        return packing.pack(data)

    def run(self, code: str, data: Data = None, limits: Limits | None = None) -> Execution:
        """Run one program and wait for it. A failure of the program is a status.

        Args:
            code: the program's text. It finds the names of `data`, `np` and `numpy` as globals
                and leaves a global `action`.
            data: a dict, or what `pack` made of one, or None.
            limits: in place of the sandbox's own.

        Raises:
            TypeError, ValueError: bad `code`, `data` or `limits`; nothing was run.
            SandboxUnavailable: a dead worker could not be replaced, there was no descriptor or
                memory for a program, or something outside ended it three times.
            RuntimeError: the sandbox is closed, or belongs to the process this one was forked off.
        """
        return self.map([(code, data)], limits)[0]

    async def arun(self, code: str, data: Data = None, limits: Limits | None = None) -> Execution:
        """`run` for an event loop, which goes on meanwhile."""
        return (await self.amap([(code, data)], limits))[0]

    def map(
        self, jobs: Iterable[Job], limits: Limits | None = None, deadline_s: float | None = None
    ) -> list[Execution]:
        """Run many programs on all workers; results in the order of `jobs`.

        A dict in `jobs` is copied for each program that it goes to, when its turn comes; where many
        share a large one, `pack` it.

        Args:
            jobs: pairs of code and data, as `run` takes them.
            limits: of each program, in place of the sandbox's own.
            deadline_s: seconds for the whole call; what is not finished then comes back with the
                status `unfinished`.

        Raises:
            TypeError, ValueError: a bad argument; nothing was run.
            SandboxUnavailable, RuntimeError: as `run`.
        """
        futures: list[Future] = []
        try:
            call = self._start(futures, jobs, limits, deadline_s)
            wait(futures, deadline_s, FIRST_EXCEPTION)
            return _results(futures, call)
        finally:
            _drop(futures)

    async def amap(
        self, jobs: Iterable[Job], limits: Limits | None = None, deadline_s: float | None = None
    ) -> list[Execution]:
        """`map` for an event loop, which goes on meanwhile. Cancelling it drops what waits."""
        futures: list[Future] = []
        try:
            call = self._start(futures, jobs, limits, deadline_s)
            ended = asyncio.gather(*map(asyncio.wrap_future, futures))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended, deadline_s)
            return _results(futures, call)
        finally:
            _drop(futures)

    def close(self) -> None:
        """Kill the workers and whatever runs in them. May be called twice, and from any thread."""
        self._closed = True
        if os.getpid() == self._owner:
            # what waits is not cancelled: each says itself that the sandbox is closed
            self._threads.shutdown(wait=False)
        self._finalizer()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def _start(
        self,
        futures: list[Future],
        jobs: Iterable[Job],
        limits: Limits | None,
        deadline_s: float | None,
    ) -> "_Call":
        """Check every job before the first one starts; `futures` gets one after the other."""
        self._check_usable()
        limits = _checked_limits(limits or self.limits)
        call = _Call(limits, time.monotonic(), checked_deadline(deadline_s))
        jobs = list(jobs)
        layouts: dict[int, Packed | Layout] = {}
        for code, data in jobs:
            if not isinstance(code, str):
                raise TypeError(f"code must be a str, not {type(code).__name__}")
            if id(data) not in layouts:
                layouts[id(data)] = _laid_out(data)
        for code, data in jobs:
            futures.append(self._threads.submit(self._execute, code, layouts[id(data)], call))
        return call

    def _check_usable(self) -> None:
        if os.getpid() != self._owner:
            raise RuntimeError("this sandbox belongs to the process that this one was forked off")
        if self._closed:
            raise RuntimeError("this sandbox is closed")

    def _execute(self, code: str, data: Packed | Layout, call: "_Call") -> Execution:
        """In a thread of the pool: run one program, again if something outside ended it."""
        if len(code) > _MAX_CODE_CHARACTERS:
            detail = f"a program of more than {_MAX_CODE_CHARACTERS} characters"
            return Execution("error", None, 0.0, 0.0, detail)
        worker = self._idle.get()  # there are as many as threads
        queue_s = time.monotonic() - call.start_s
        try:
            for _ in range(_ATTEMPTS):
                self._check_usable()
                if not worker.alive():
                    worker = self._replaced(worker)
                if (bounded := call.bounded()) is None:
                    return call.unfinished(queue_s)
                try:
                    execution = worker.execute(code, data, bounded)
                    return replace(call.result(execution, bounded), queue_s=queue_s)
                except WorkerLostError as lost:
                    reason = str(lost)
            self._check_usable()
            reason = f"a program was ended from outside {_ATTEMPTS} times: {reason}"
            raise SandboxUnavailable("worker", f"{reason}; is there memory for all workers?")
        finally:
            self._idle.put(worker)

    def _replaced(self, worker: Worker) -> Worker:
        worker.kill()
        replacement, _ = self._started()
        self._workers.discard(worker)
        with self._counting:
            self.restarts += 1
        return replacement

    def _started(self) -> tuple[Worker, dict]:
        """A new worker and its walls. One that dies while it starts is tried again."""
        for attempt in range(1, _ATTEMPTS + 1):
            worker = Worker(self._cpus)
            self._workers.add(worker)
            try:
                self._check_usable()  # whoever closes from here on knows this worker
                walls = selftest.check(worker, worker.wait_ready(), self._waive)
                self._check_usable()
                return worker, walls
            except BaseException as error:
                worker.kill()
                self._workers.discard(worker)
                self._check_usable()  # closed meanwhile: that is why, and not this machine
                lost = isinstance(error, SandboxUnavailable) and error.feature == "worker"
                if not lost or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("not reached")


class _Call(NamedTuple):
    """What the programs of one call have in common."""

    limits: Limits
    start_s: float
    deadline_s: float | None

    def bounded(self) -> Limits | None:
        """The limits of a program that starts now; None where it is too late for one."""
        if self.deadline_s is None:
            return self.limits
        left_s = self.start_s + self.deadline_s - time.monotonic()
        if left_s < MIN_WALL_S:
            return None
        return replace(self.limits, wall_s=min(left_s, self.limits.wall_s))

    def result(self, execution: Execution, bounded: Limits) -> Execution:
        """`execution`, or `unfinished` where the deadline and not a limit of its own ended it."""
        cut = execution.status == "timeout" and bounded.wall_s < self.limits.wall_s
        if not cut or execution.cpu_s >= self.limits.cpu_s:
            return execution
        return replace(execution, status="unfinished", detail=self._over())

    def unfinished(self, queue_s: float = 0.0) -> Execution:
        return Execution("unfinished", None, 0.0, 0.0, self._over(), queue_s)

    def _over(self) -> str:
        return f"not finished when the {self.deadline_s:g} s of its call were over"


def _results(futures: list[Future], call: _Call) -> list[Execution]:
    """In order; what has not ended is unfinished. Raises what one of them raised."""
    ended = {f: f.result() for f in futures if f.done() and not f.cancelled()}
    return [ended.get(future) or call.unfinished() for future in futures]


def _drop(futures: list[Future]) -> None:
    """Where one raised, time is over or the caller was cancelled: leave nothing that waits."""
    while futures:
        futures.pop().cancel()


def _laid_out(data: Data) -> Packed | Layout:
    if isinstance(data, Packed):
        data.fileno()  # a closed one is found here
        return data
    return packing.lay_out({} if data is None else data, copy=True)


def _cpu_mask() -> int:
    """The CPUs that workers may use, as a bit mask.

    Where OpenMP binds threads, the mask of this thread is OpenMP's choice and not the user's. Then
    all are asked for, of which the kernel grants those of the cpuset.
    """
    if any(os.environ.get(name, "false").lower() != "false" for name in _OPENMP_BINDING):
        return (1 << os.sysconf("SC_NPROCESSORS_CONF")) - 1
    return sum(1 << cpu for cpu in os.sched_getaffinity(0))


def _kill_all(workers: set[Worker], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the host must not end the host's workers
        return
    for worker in tuple(workers):
        worker.kill()
    workers.clear()


def _checked_limits(limits: object) -> Limits:
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a Limits, not {type(limits).__name__}")
    return limits


def _checked_waive(waive: Iterable[str]) -> frozenset[str]:
    names = frozenset([waive] if isinstance(waive, str) else waive)
    if not names <= set(WAIVABLE):
        raise ValueError(f"only {' and '.join(WAIVABLE)} can be waived, not {sorted(names)}")
    return names

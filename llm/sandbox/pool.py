"""The sandbox as the host uses it: a pool of workers behind one thread-safe object."""

import asyncio
import os
import platform
import queue
import sys
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from . import packing, selftest, syscalls
from .answer import Execution
from .errors import SandboxUnavailable
from .limits import Limits
from .packing import Packed
from .selftest import WAIVABLE
from .worker import Worker, WorkerLostError

_MAX_CODE_CHARACTERS = 1 << 20

Data = Mapping[str, Any] | Packed
Job = tuple[str, Data]


class Sandbox:
    """Runs strangers' programs, each in a process of its own that can do nothing but compute.

    May be used from any thread and any event loop of the process that made it. Close it, or use
    it in a ``with`` block; the workers also end when the process does, however it ends.

    Args:
        workers: programs that run at the same time; processes of about 120 MB and one CPU each.
        limits: for programs that bring none of their own.
        waive: of ``"landlock"`` and ``"namespaces"``, what this machine may lack. They are used
            all the same where they are there. Recorded in ``metadata``.

    Attributes:
        metadata: for the record of a run: the walls in force, what was waived, kernel, limits.

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
        self._owner = os.getpid()
        self._closed = False
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers: set[Worker] = set()
        self._finalizer = weakref.finalize(self, _kill_all, self._workers, self._owner)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        cpus = sorted(os.sched_getaffinity(0))
        try:
            for i in range(workers):  # they import at the same time
                self._workers.add(Worker(cpus[i % len(cpus)]))
            walls = list(self._threads.map(self._check, tuple(self._workers)))
        except BaseException:
            self.close()
            raise
        for worker in self._workers:
            self._idle.put(worker)
        self.metadata: dict[str, Any] = {
            **walls[0],
            "waived": sorted(self._waive),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "workers": workers,
            "limits": asdict(self.limits),
        }

    def pack(self, data: Mapping[str, Any]) -> Packed:
        """Copy an instance once, for many programs; see `packing.pack` for what is accepted.

        ``run``, ``map`` and ``amap`` take the result in place of the dict. The caller closes it.

        Raises:
            TypeError, ValueError: naming the place in ``data``.
        """
        return packing.pack(data)

    def run(self, code: str, data: Data, limits: Limits | None = None) -> Execution:
        """Run one program and wait for it. A failure of the program is a status.

        Args:
            code: the program's text. It finds ``data``'s names, ``np`` and ``numpy`` as globals
                and leaves a global ``action``.
            data: a dict, or what ``pack`` made of one.
            limits: in place of the sandbox's own.

        Raises:
            TypeError, ValueError: bad ``code``, ``data`` or ``limits``; nothing was run.
            SandboxUnavailable: a dead worker could not be replaced.
            RuntimeError: the sandbox is closed, or belongs to the process this one was forked off.
        """
        ((code, packed),) = self._prepared([(code, data)])
        return self._execute(code, packed, _checked_limits(limits or self.limits))

    def map(self, jobs: Iterable[Job], limits: Limits | None = None) -> list[Execution]:
        """Run many programs on all workers; results in the order of ``jobs``.

        The same dict object in several jobs is packed once; each different one holds a file
        descriptor until the call is over. Raises what ``run`` raises.
        """
        futures = self._start(jobs, limits)
        try:
            return [future.result() for future in futures]
        finally:
            _drop(futures)

    async def amap(self, jobs: Iterable[Job], limits: Limits | None = None) -> list[Execution]:
        """``map`` for an event loop, which goes on meanwhile. Cancelling it drops what waits."""
        futures = self._start(jobs, limits)
        try:
            return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))
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

    def _start(self, jobs: Iterable[Job], limits: Limits | None) -> list[Future]:
        limits = _checked_limits(limits or self.limits)
        return [self._threads.submit(self._execute, *job, limits) for job in self._prepared(jobs)]

    def _prepared(self, jobs: Iterable[Job]) -> list[tuple[str, Packed]]:
        """Check every job before the first one starts, and pack each dict object once."""
        self._check_usable()
        jobs = list(jobs)
        packed: dict[int, Packed] = {}
        for code, data in jobs:
            if not isinstance(code, str):
                raise TypeError(f"code must be a str, not {type(code).__name__}")
            if id(data) not in packed:
                packed[id(data)] = data if isinstance(data, Packed) else packing.pack(data)
                packed[id(data)].fileno()  # a closed one is found here
        return [(code, packed[id(data)]) for code, data in jobs]

    def _check_usable(self) -> None:
        if os.getpid() != self._owner:
            raise RuntimeError("this sandbox belongs to the process that this one was forked off")
        if self._closed:
            raise RuntimeError("this sandbox is closed")

    def _execute(self, code: str, packed: Packed, limits: Limits) -> Execution:
        if len(code) > _MAX_CODE_CHARACTERS:
            detail = f"a program of more than {_MAX_CODE_CHARACTERS} characters"
            return Execution("error", None, 0.0, 0.0, detail)
        for _ in range(2):  # a worker that was killed from outside takes no program down with it
            worker = self._take()
            try:
                return worker.execute(code, packed, limits)
            except WorkerLostError as lost:
                worker.kill()
                reason = str(lost)
            except BaseException:  # also Ctrl-C: what the worker is doing now is not known
                worker.kill()
                raise
            finally:
                self._idle.put(worker)
        self._check_usable()
        return Execution("killed", None, 0.0, 0.0, f"its worker died twice under it: {reason}")

    def _take(self) -> Worker:
        """An idle worker that lives. Raises SandboxUnavailable, RuntimeError."""
        worker = self._idle.get()
        try:
            self._check_usable()
            if worker.alive():
                return worker
            worker.kill()
            replacement = Worker(worker.cpu)
            self._workers.add(replacement)
            self._workers.discard(worker)
            self._check(replacement)
        except BaseException:
            self._idle.put(worker)  # the next call tries again
            raise
        return replacement

    def _check(self, worker: Worker) -> dict:
        try:
            walls = selftest.check(worker, worker.wait_ready(), self._waive)
            self._check_usable()  # it may have been closed meanwhile, without knowing this worker
            return walls
        except BaseException:
            worker.kill()
            self._workers.discard(worker)
            self._check_usable()  # closed meanwhile: that is why, and not this machine
            raise


def _drop(futures: list[Future]) -> None:
    """Where one raised, or the caller was cancelled: leave nothing behind that waits or runs on."""
    while futures:
        futures.pop().cancel()


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

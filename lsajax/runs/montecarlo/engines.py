"""Where parts are computed: in this process, in processes of this machine, or on a Ray cluster.

An engine maps a function over items, in any order, and may call it more than once for one of
them; that parts are files makes this the same as once.
"""

import collections
import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

import jax

from lsajax.runs import provenance
from lsajax.runs.cli import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

DEATHS = 5
"""Deaths of processes in a row, without an answer between them, after which it is no accident."""

_BYTES_PER_WORKER = (
    1 << 30
)  # what a process with JAX and a chunk of the default size takes, and some


class Engine(Protocol):
    """Maps a function over items; a context manager that frees what it holds.

    Attributes:
        width: calls at a time.
    """

    width: int

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *error: object) -> None: ...

    def map(
        self, function: Callable[[Item], Answer], items: Iterable[Item]
    ) -> Iterator[Answer]: ...


def engine(
    *, workers: int | None = None, ray: str | None = None, gpus_per_task: float = 0.0
) -> Engine:
    """The engine that options ask for.

    Args:
        workers: processes on this machine; None or 1 is this process with all its devices.
        ray: address of a Ray cluster, or "local" for one on this machine.
        gpus_per_task: of a Ray task; 0 computes on its CPU.

    Raises:
        ValueError: both, or a number out of range.
        Unavailable: Ray is not installed, or there is no such cluster.
    """
    if ray is not None:
        if workers is not None:
            raise ValueError(f"workers has no effect beside ray, got {workers}")
        return OnRay(ray, gpus_per_task)
    if gpus_per_task:
        raise ValueError("gpus_per_task has no effect without ray")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    return Here() if workers in (None, 1) else Spawned(int(workers))


def default_workers() -> int:
    """Processes that this machine has CPUs and memory for; 1 where JAX has an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # no Linux
        return provenance.cpus()
    return max(1, min(provenance.cpus(), free // _BYTES_PER_WORKER))


class Here:
    """This process, with all its devices."""

    width = 1

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """One by one."""
        return map(function, items)


class Spawned:
    """Processes of this machine, each with its share of the CPUs.

    Spawned, not forked: a fork after JAX has started hangs. A process that dies takes the pool
    with it, which is made anew, and what was not answered is asked again.
    """

    def __init__(self, workers: int) -> None:
        self.width = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Spawned":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            number = context.Value("i", 0)
            arguments = (number, self.width)
            self._pool = ProcessPoolExecutor(self.width, context, _begin, arguments)
        return self._pool

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """In the order in which they end.

        Raises:
            Unavailable: processes die again and again.
        """
        coming, again = iter(items), collections.deque[Item]()
        asked: dict[Future[Answer], Item] = {}
        deaths = 0
        while True:
            try:
                # Twice as many as there are processes: none waits, and few are lost with the pool.
                while len(asked) < 2 * self.width:
                    again.extend(itertools.islice(coming, 0 if again else 1))
                    if not again:
                        break
                    future = self._started().submit(function, again[0])
                    asked[future] = again.popleft()
                if not asked:
                    return
                for future in wait(asked, return_when=FIRST_COMPLETED).done:
                    answer = future.result()
                    del asked[future]
                    deaths = 0
                    yield answer
            except BrokenProcessPool:
                again.extendleft(asked.values())
                asked.clear()
                self._stop()
                deaths += 1
                if deaths == DEATHS:
                    raise Unavailable(
                        f"worker processes died {DEATHS} times in a row without one part between "
                        "them; fewer --workers or a smaller --chunk need less memory"
                    ) from None


def _begin(number: Any, workers: int) -> None:
    """What a worker does first, before JAX starts."""
    # Ctrl-C is the driver's, and it tells by its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with number.get_lock():
        index, number.value = number.value, number.value + 1
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        own = cpus[index % workers :: workers] or [cpus[index % len(cpus)]]
        with contextlib.suppress(OSError):  # a container may forbid it; slower, not wrong
            os.sched_setaffinity(0, own)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    # A driver that was killed closes nothing: without this its workers would wait for ever.
    threading.Thread(target=leave, daemon=True).start()


def _call(function: Callable[[Item], Answer], item: Item) -> Answer:
    return function(item)


class OnRay:
    """Tasks of a Ray cluster, which retries those whose process or machine went away.

    Every machine must see the study's folder under the same path, and find the packages.
    """

    def __init__(self, address: str, gpus_per_task: float = 0.0) -> None:
        # Before the import: it decides there.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise Unavailable(
                "a Ray cluster needs the package ray: pip install 'lsajax[ray]'"
            ) from None
        self._ray = ray
        variables = {} if gpus_per_task else {"JAX_PLATFORMS": "cpu"}
        if "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]
        host, _, port = address.rpartition(":")
        try:
            if host and port.isdigit() and "/" not in host:
                # Ray itself would try for minutes, and then end the process.
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(
                address,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise Unavailable(f"no Ray cluster at {address}: {reason}") from None
        self._options = {"num_cpus": 1, "num_gpus": gpus_per_task, "max_retries": DEATHS}
        have = ray.cluster_resources()
        slots = have.get("GPU", 0) / gpus_per_task if gpus_per_task else have.get("CPU", 1)
        self.width = max(1, int(slots))

    def __enter__(self) -> "OnRay":
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def map(self, function: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """In the order in which they end.

        Raises:
            Unavailable: a task's process or machine went away again and again.
        """
        ray = self._ray
        task = ray.remote(_call).options(**self._options)
        coming = iter(items)
        asked: list[Any] = []
        while True:
            # More than it has now wait in its queue: the cluster may grow meanwhile.
            more = itertools.islice(coming, 4 * self.width - len(asked))
            asked += [task.remote(function, item) for item in more]
            if not asked:
                return
            done, asked = ray.wait(asked)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise Unavailable(f"Ray gave a part up: {str(error).splitlines()[0]}") from None

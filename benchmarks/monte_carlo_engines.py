"""Realisations per second by where they are computed: devices, processes, Ray, NumPy's loops."""

import contextlib
import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

import lsajax as lsa
from benchmarks import monte_carlo_numpy
from benchmarks.monte_carlo_cases import CHANNELS, chunk_of, measure, scenario
from benchmarks.timing import interleave, ratio
from lsajax import montecarlo
from lsajax.runs import montecarlo as on_disk
from lsajax.runs.cli import Unavailable

START = 8
"""Chunks of the study that is subtracted: its parts deal out evenly over two CPUs, as those of
multiples of it do. With fewer a device or a process would wait or compute in vain."""


@contextlib.contextmanager
def engines(with_ray: bool) -> Iterator[dict[str, Any]]:
    """By name; all of two CPUs."""
    with contextlib.ExitStack() as stack:
        found = {"one process": on_disk.engine(), "two processes": on_disk.engine(workers=2)}
        if with_ray:
            # Before JAX computes anything: Ray on this machine is started by a fork.
            with contextlib.suppress(Unavailable):  # not installed, or no room for it here
                os.environ.setdefault("PYTHONPATH", os.getcwd())
                found["Ray, two tasks"] = on_disk.engine(ray="local")
        for engine in found.values():
            stack.enter_context(engine)
        yield found


class Case:
    """One setting and size, as each engine computes it."""

    def __init__(self, what: str, setting: str, users: int, seconds: float) -> None:
        self.what, self.setting, self.users = what, setting, users
        self.chunk, self.scenario = chunk_of(what, setting, users), scenario(setting, users)
        self.measure = functools.partial(measure, what=what)
        self._on = {
            devices: montecarlo.Evaluator(self.measure, self.chunk, jax.devices()[:devices])
            for devices in (1, 2)
        }
        each = self._seconds_of(lambda: self.on_devices(1, 1))
        self.chunks = START * max(2, round(seconds / each / START))
        self.loops = max(1, round(1.0 / self._seconds_of(lambda: self.numpy_loop(1))))

    @staticmethod
    def _seconds_of(call: Callable[[], Any]) -> float:
        call()
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def on_devices(self, devices: int, chunks: int) -> None:
        """A study in memory."""
        count = chunks * self.chunk
        for _ in self._on[devices].chunks(jax.random.key(0), self.scenario, 0, chunks, count):
            pass

    def study_on_disk(self, engine: Any, folder: str, chunks: int) -> None:
        """A study on disk, by an engine that stays open: new each time, since its folder is."""
        out = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "study"
        job = on_disk.Job.of(out, jax.random.key(0), self.scenario, self.measure)
        on_disk.run([job], chunks * self.chunk, engine=engine, chunk=self.chunk)

    def numpy_loop(self, count: int) -> None:
        """What a user would write."""
        for seed in range(count):
            monte_carlo_numpy.realisation(seed, self.users, CHANNELS, self.setting, self.what)


def measure_engines(
    case: Case, turns: int, opened: dict[str, Any], pool: Any, folder: str
) -> dict[str, Any]:
    """Realisations per second by engine, medians of the turns, and ratios of each turn.

    Of studies on disk what one of START chunks takes is subtracted: tracing it, its record, a
    chunk to see how long one takes.
    """
    count, pooled = case.chunks * case.chunk, 2 * case.loops
    calls: dict[str, Callable[[], Any]] = {
        "one device": lambda: case.on_devices(1, case.chunks),
        "two devices": lambda: case.on_devices(2, case.chunks),
    }
    for name, engine in opened.items():
        calls[name] = functools.partial(case.study_on_disk, engine, folder, case.chunks)
        calls[f"start of {name}"] = functools.partial(case.study_on_disk, engine, folder, START)
    calls["NumPy loop"] = lambda: case.numpy_loop(case.loops)
    calls["multiprocessing"] = lambda: pool(pooled, case.users, CHANNELS, case.setting, case.what)
    if case.what == "given":
        calls |= _floors(case)
    seconds = interleave(calls, turns)
    per_s = {
        "one device": count / np.median(seconds["one device"]),
        "two devices": count / np.median(seconds["two devices"]),
    }
    for name in opened:
        taken = np.median(seconds[name]) - np.median(seconds[f"start of {name}"])
        per_s[name] = (count - START * case.chunk) / taken
    per_s["NumPy loop"] = case.loops / np.median(seconds["NumPy loop"])
    per_s["multiprocessing"] = pooled / np.median(seconds["multiprocessing"])
    found: dict[str, Any] = {
        "per_s": {name: float(number) for name, number in per_s.items()},
        "ratio": count / case.loops * ratio(seconds["NumPy loop"], seconds["one device"]),
        "chunk": case.chunk,
        "realizations": count,
    }
    if case.what == "given":
        per_chunk = seconds["one device"] / case.chunks
        found["over_copy"] = ratio(per_chunk, seconds["copy"])
        found["over_gather"] = ratio(per_chunk, seconds["gather"])
        found["gather_per_s"] = float(case.chunk / np.median(seconds["gather"]))
        found["copy_per_s"] = float(case.chunk / np.median(seconds["copy"]))
    return {**found, "seconds": {name: list(map(float, s)) for name, s in seconds.items()}}


def _floors(case: Case) -> dict[str, Callable[[], Any]]:
    """A chunk of networks drawn beforehand: their throughput alone, and a copy of their bytes."""
    sample = jax.jit(jax.vmap(lambda key: lsa.sample_instance(key, case.scenario)))
    batch = sample(jax.random.split(jax.random.key(0), case.chunk))
    value = jax.jit(jax.vmap(functools.partial(case.measure, jax.random.key(0))))
    source = np.ones(sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) // 4, np.float32)
    target = np.empty_like(source)
    return {"gather": lambda: value(batch), "copy": lambda: np.copyto(target, source)}


@functools.cache
def _evaluator(what: str, setting: str, users: int) -> montecarlo.Evaluator:
    """Compiled once in each process."""
    partial = functools.partial(measure, what=what)
    return montecarlo.Evaluator(partial, chunk_of(what, setting, users), jax.devices()[:1])


def _task(work: tuple[str, str, int, int, int]) -> None:
    what, setting, users, chunks, seed = work
    evaluator, one = _evaluator(what, setting, users), scenario(setting, users)
    count = chunks * evaluator.chunk
    for _ in evaluator.chunks(jax.random.key(seed), one, 0, chunks, count):
        pass


def measure_weak(case: Case, turns: int, opened: dict[str, Any]) -> dict[str, float]:
    """Time of one task over that of two side by side, of equal work each, by engine."""
    wide = {name: engine for name, engine in opened.items() if engine.width > 1}
    work = case.what, case.setting, case.users, case.chunks

    def tasks(engine: Any, number: int) -> None:
        list(engine.map(_task, [(*work, seed) for seed in range(number)]))

    # Both tasks first: then either process has compiled.
    calls = {
        (name, number): functools.partial(tasks, engine, number)
        for name, engine in wide.items()
        for number in (2, 1)
    }
    seconds = interleave(calls, turns)
    return {name: ratio(seconds[name, 1], seconds[name, 2]) for name in wide}

"""Weak scaling of Monte Carlo: one task, and two side by side, each with a CPU of its own."""

import functools
from typing import Any

import jax

from benchmarks import monte_carlo
from benchmarks.timing import interleave, ratio
from lsajax import montecarlo


@functools.cache
def _evaluator(what: str, users: int) -> montecarlo.Evaluator:
    """Compiled once in each process."""
    measure = functools.partial(monte_carlo.measure, what=what)
    chunk = monte_carlo.chunk_of(what, "fading", users)
    return montecarlo.Evaluator(measure, chunk, jax.devices()[:1])


def _task(work: tuple[str, int, int, int]) -> None:
    what, users, count, index = work
    evaluator, one = _evaluator(what, users), monte_carlo.scenario("fading", users)
    chunks = -(-count // monte_carlo.chunk_of(what, "fading", users))
    for _ in evaluator.chunks(jax.random.key(index), one, 0, chunks, count):
        pass


def measure_weak(
    what: str, users: int, count: int, turns: int, opened: dict[str, Any]
) -> dict[str, float]:
    """Time of one task over that of two side by side, of equal work each, by engine."""
    wide = {name: engine for name, engine in opened.items() if engine.width > 1}

    def tasks(engine: Any, number: int) -> None:
        list(engine.map(_task, [(what, users, count, i) for i in range(number)]))

    # Both tasks first: then either process has compiled.
    calls = {
        (name, number): functools.partial(tasks, engine, number)
        for name, engine in wide.items()
        for number in (2, 1)
    }
    seconds = interleave(calls, turns)
    return {name: ratio(seconds[name, 1], seconds[name, 2]) for name in wide}

"""Searches that can be stopped at any point, and the one driver of their budgets."""

import math
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from lsajax.solvers.solution import Trace

State = Any  # of a search, a pytree

_FIRST_CHUNK = 8  # iterations, before the speed is known
_CHUNKS = 30  # about so many looks at the clock per phase
_LONGEST_S = 0.25
_SHORTEST_S = 0.002  # a chunk costs a call from the host


class Phase(NamedTuple):
    """A share of a search.

    Attributes:
        advance: (state, iterations, begin, end) -> state; the iterations cover the part of the
            phase from `begin` to `end`, of 0 to 1, by which a temperature is set.
        share: of the budget or of the steps.
    """

    advance: Callable[[State, int, float, float], State]
    share: float = 1.0


class Search(NamedTuple):
    """An anytime method, as functions of its state.

    Attributes:
        init: () -> state.
        phases: what is done in turn.
        best: state -> value of the best assignment so far, in the unit of the problem.
        read: state -> that assignment.
        chunk: most iterations between two looks at the clock.
    """

    init: Callable[[], State]
    phases: tuple[Phase, ...]
    best: Callable[[State], Float[Array, ""]]
    read: Callable[[State], Int[Array, "items"]]
    chunk: int = 2**20


def run_steps(search: Search, steps: int) -> State:
    """The state after `steps` iterations; works under jit and vmap."""
    state = search.init()
    for advance, share in search.phases:
        state = advance(state, max(1, round(share * steps)), 0.0, 1.0)
    return state


def run_budget(
    search: Search, budget_s: float, inputs: object, *static: Hashable
) -> tuple[State, Trace]:
    """The state after `budget_s` seconds by the wall clock, and the best value by time.

    The clock sees everything, `init` included, but compilation: what JAX has not compiled yet is
    run with next to no budget beforehand. One chunk of each phase is run, whatever it takes.

    Args:
        search: what to run, by way of jitted functions that do not depend on this object.
        budget_s: seconds.
        inputs: all arrays that the search depends on; their types decide what is compiled.
        static: what else decides it, the method's name included.
    """
    before = _traces
    _note_trace(inputs, static)
    if _traces > before:
        try:
            _run(search, 1e-6)
        except BaseException:  # an interrupt too: the next call is to compile again
            _note_trace.clear_cache()  # type: ignore[attr-defined]
            raise
    return _run(search, budget_s)


_traces = 0


@partial(jax.jit, static_argnums=1)
def _note_trace(inputs: object, static: tuple[Hashable, ...]) -> None:
    # Python runs this when JAX traces: at the first call with such inputs, and once more whenever
    # JAX's caches have been cleared and everything has to be compiled again.
    global _traces
    _traces += 1


def _run(search: Search, budget_s: float) -> tuple[State, Trace]:
    clock = _Clock()
    state, until = search.init(), 0.0
    for phase in search.phases:
        until += phase.share * budget_s
        state = _run_phase(search, phase.advance, state, clock, until)
    return state, clock.trace()


def _run_phase(
    search: Search,
    advance: Callable[[State, int, float, float], State],
    state: State,
    clock: "_Clock",
    until_s: float,
) -> State:
    """Chunks of `advance` until the clock shows `until_s`.

    Each chunk is told which share of the phase it covers by the speed seen so far: a cooling
    schedule reaches its end when the time does, on a slow machine and a fast one.
    """
    since = clock.elapsed()
    length = max(until_s - since, 1e-9)
    chunk, share = min(_FIRST_CHUNK, search.chunk), 0.0
    while share < 1.0:
        began = clock.elapsed()
        ahead = min(1.0, share + min(1.0 / _CHUNKS, _LONGEST_S / length))
        state = jax.block_until_ready(advance(state, chunk, share, ahead))
        now = clock.record(float(search.best(state)))
        took = max(now - began, 1e-6)
        share = (now - since) / length
        wanted = min(max(length / _CHUNKS, _SHORTEST_S), _LONGEST_S)
        wanted = min(wanted, max(until_s - now, 0.0))
        # At most eight times the last chunk: a first measurement may be far off.
        chunk = min(max(1, int(chunk * min(wanted / took, 8.0))), search.chunk)
    return state


class _Clock:
    """Seconds since the search began, and the best value by time."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._times: list[float] = []
        self._values: list[float] = []

    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start

    def record(self, value: float) -> float:
        """Notes the best value at this moment, which it returns."""
        self._times.append(self.elapsed())
        self._values.append(value)
        return self._times[-1]

    def trace(self) -> Trace:
        """All that was noted."""
        return Trace(np.asarray(self._times), np.asarray(self._values))


def check_concrete(name: str, tree: object) -> None:
    """Raises ValueError for traced values, for which there is no wall clock."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise ValueError(f"{name} needs concrete arrays; it cannot be used under jit or vmap")


def check_budget(budget_s: float) -> None:
    """Raises ValueError unless the budget is a positive, finite number of seconds."""
    if not 0 < budget_s < math.inf:
        raise ValueError(f"budget_s must be above 0 seconds and finite, got {budget_s}")

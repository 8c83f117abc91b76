"""Running a jitted search in chunks on the host until a wall-clock budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lsajax.solvers.solution import Trace

State = TypeVar("State")

_compiled: set[Hashable] = set()

_FIRST_CHUNK = 8  # iterations, before the speed is known
_CHUNKS = 30  # about so many looks at the clock per phase
_LONGEST_S = 0.25
_SHORTEST_S = 0.002  # a chunk costs a call from the host


class Temperatures(NamedTuple):
    """Geometric cooling over the course of a phase."""

    hot: float
    cold: float

    def at(self, share: float) -> float:
        """Temperature when `share` of the phase is over."""
        return self.hot * (self.cold / self.hot) ** min(max(share, 0.0), 1.0)


class Clock:
    """Seconds since the search began, and the best value by time."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._times: list[float] = []
        self._values: list[float] = []

    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start

    def record(self, value: float) -> None:
        """Notes the best value at this moment."""
        self._times.append(self.elapsed())
        self._values.append(float(value))

    def trace(self) -> Trace:
        """All that was noted."""
        return Trace(np.asarray(self._times), np.asarray(self._values))


def run_phase(
    advance: Callable[[State, int, float, float], State],
    state: State,
    clock: Clock,
    until_s: float,
    best: Callable[[State], Float[Array, ""]],
) -> State:
    """Calls `advance(state, iterations, begin, end)` until the clock shows `until_s`.

    `begin` and `end` say which share of the phase the chunk covers, by the speed seen so far: a
    cooling schedule reaches its end when the time does, on a slow machine and a fast one.
    """
    since = clock.elapsed()
    length = max(until_s - since, 1e-9)
    chunk, share = _FIRST_CHUNK, 0.0
    while share < 1.0:
        began = clock.elapsed()
        ahead = min(1.0, share + min(1.0 / _CHUNKS, _LONGEST_S / length))
        state = jax.block_until_ready(advance(state, chunk, share, ahead))
        clock.record(float(best(state)))
        took = max(clock.elapsed() - began, 1e-6)
        share = (clock.elapsed() - since) / length
        wanted = min(max(length / _CHUNKS, _SHORTEST_S), _LONGEST_S)
        wanted = min(wanted, max(until_s - clock.elapsed(), 0.0))
        # At most eight times the last chunk: a first measurement may be far off.
        chunk = max(1, int(chunk * min(wanted / took, 8.0)))
    return state


def compile_first(run: Callable[[float], object], tree: object, *static: Hashable) -> None:
    """Runs `run(budget_s)` with next to no budget, unless it ran before on such arrays.

    The clock of the run that counts then sees everything but compilation.
    """
    leaves, structure = jax.tree.flatten(tree)
    signature = (structure, tuple(jax.typeof(x) for x in leaves), *static)
    if signature not in _compiled:
        run(1e-6)
        _compiled.add(signature)


def check_concrete(name: str, tree: object) -> None:
    """Raises ValueError for traced values, for which there is no wall clock."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise ValueError(f"{name} needs concrete arrays; it cannot be used under jit or vmap")


def check_budget(budget_s: float) -> None:
    """Raises ValueError unless the budget is a positive, finite number of seconds."""
    if not 0 < budget_s < math.inf:
        raise ValueError(f"budget_s must be above 0 seconds and finite, got {budget_s}")


def as_int(iterations: int) -> Array:
    """A traced count: chunks of any length share one compilation."""
    return jnp.int32(iterations)

"""Ways to share out a total power, for the study `power_control`: names, and what each does."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lsajax as lsa
from experiments.methods import Method, Outcome
from lsajax import power

EQUAL, WATER_FILLING, GRADIENT = "Equal power", "Water-filling", "Gradient ascent"
ALTERNATING, THROUGH_SOLVER, PRICED = "Alternating", "Through the solver", "Price of power"
ITERATIVE, STRONGEST = "Iterative filling", "Strongest alone"
_ROUNDS = 50  # of iterative water-filling

Allocate = Callable[[jax.Array, lsa.Instance], power.Joint]
Powers = Callable[[lsa.Instance, jax.Array], tuple[Any, Any]]
"""Instance and assignment -> power factors, and the steps that they took."""


def compared(problem: str) -> list[Method]:
    """The methods of a problem, 'alone', 'shared' or 'fair', equal power first.

    The assignment is the best one for equal powers; with 'shared' two rows at a time are put on
    the channel of the first.
    """
    if problem == "shared":
        powers = {
            EQUAL: equal,
            ITERATIVE: iterative,
            STRONGEST: strongest_alone,
            GRADIENT: gradient,
        }
        return [_method(name, _fixed(how, in_pairs=True)) for name, how in powers.items()]
    found = {
        EQUAL: _fixed(equal),
        WATER_FILLING: _fixed(water_filling),
        GRADIENT: _fixed(gradient),
        ALTERNATING: power.alternate,
        THROUGH_SOLVER: power.ascend_through_solver,
    }
    if problem == "fair":
        by_gradient = lambda inst, assignment: gradient(inst, assignment)[0]  # noqa: E731
        found[ALTERNATING] = functools.partial(power.alternate, powers=by_gradient)
    else:
        found[PRICED] = power.priced
    return [_method(name, allocate) for name, allocate in found.items()]


def equal(inst: lsa.Instance, assignment: jax.Array) -> tuple[Any, Any]:
    """The same power for each."""
    return power.equal(inst), 0


def water_filling(inst: lsa.Instance, assignment: jax.Array) -> tuple[Any, Any]:
    """The closed form, of the sum of the rates and without interference."""
    return power.water_filling(inst, assignment), 1


def iterative(inst: lsa.Instance, assignment: jax.Array) -> tuple[Any, Any]:
    """Water-filling again and again, by the interference of the last round."""
    return power.iterative_water_filling(inst, assignment, num_rounds=_ROUNDS), _ROUNDS


def strongest_alone(inst: lsa.Instance, assignment: jax.Array) -> tuple[Any, Any]:
    """Water-filling with the strongest user of each channel alone; the others are silent."""
    own = lsa.assigned_power(inst, assignment)
    most = jnp.full(inst.num_channels, -jnp.inf).at[assignment].max(own)
    kept = jnp.where(own == most[assignment], assignment, -1)
    return power.water_filling(inst, kept), 1


def gradient(inst: lsa.Instance, assignment: jax.Array) -> tuple[Any, Any]:
    """Ascent through the rate model, of whatever the instance's objective is."""
    found = power.ascend(lambda s: power.value_of(inst, assignment, s), power.equal(inst))
    return found.factor, found.steps


def _fixed(how: Powers, *, in_pairs: bool = False) -> Allocate:
    """Powers for the assignment that is best for equal ones."""

    def allocate(key: jax.Array, inst: lsa.Instance) -> power.Joint:
        assignment = jnp.asarray(lsa.solvers.hungarian(key, inst).assignment)
        if in_pairs:
            assignment = assignment[jnp.arange(inst.num_rows) // 2 * 2]
        factor, steps = how(inst, assignment)
        value = power.value_of(inst, assignment, factor)
        return power.Joint(assignment, factor, value, jnp.int32(steps), jnp.array(jnp.inf))

    return allocate


def _method(name: str, allocate: Allocate) -> Method:
    """A method of the studies' loop, whose answers are valued with the powers that it chose."""
    solve = jax.jit(allocate)

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        start = time.perf_counter()
        found = jax.block_until_ready(solve(key, inst))
        seconds = time.perf_counter() - start
        assignment, columns = np.asarray(found.assignment), {"steps": int(found.steps)}
        left = power.with_factors(inst, found.factor)
        return Outcome(assignment, seconds, "feasible", columns=columns, inst=left)

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solve(jax.random.key(0), inst))

    return Method(name, run, prepare)


_priced = jax.jit(power.priced)


def bound(inst: lsa.Instance) -> float:
    """What no assignment and powers within the budget can exceed [bit/s]."""
    return float(_priced(jax.random.key(0), inst).bound)


def no_bound(inst: lsa.Instance) -> float:
    """None is known: of shared channels and of the fair utility."""
    return math.nan

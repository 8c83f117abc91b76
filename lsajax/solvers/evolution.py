"""Differential Evolution."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from lsajax import objective
from lsajax._numerics import argsort
from lsajax.hashing import named_key
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers.solution import Solution, Status, Trace

ENCODINGS = ("random_key", "rounding")


@partial(jax.jit, static_argnames=("population", "generations", "weight", "crossover", "encoding"))
def evolution(
    key: jax.Array,
    inst: Instance,
    *,
    population: int = 40,
    generations: int = 100,
    weight: float = 0.5,
    crossover: float = 0.9,
    encoding: str = "random_key",
) -> Solution:
    """Differential Evolution (DE/rand/1/bin) over vectors that stand for assignments.

    `random_key`: one number per channel; the users take the channels in the order of the numbers,
    so every vector is a valid assignment. `rounding`, as in the paper: one number per user, whose
    integer part is the user's channel. Two users may then meet on a channel, where they interfere,
    or on an occupied one, which carries nothing; nothing in the search forbids that. A rounded
    vector without any search lies 10 to 33 % below a random valid assignment at the sizes of
    the paper's Table III, whose row of this method lies 10 to 19 % below; here ten generations of
    ten vectors are enough to pass it.

    Args:
        key: PRNG key.
        inst: one slot.
        population: vectors, at least 4.
        generations: rounds in which each vector meets one challenger.
        weight: F, the factor of the difference of two vectors.
        crossover: CR, the probability that a component comes from the challenger.
        encoding: 'random_key' or 'rounding'.

    Returns:
        Solution with a trace of the best value per generation (times
        NaN). Status FEASIBLE; ITERATION_LIMIT where `rounding` ended on a broken constraint.

    Raises:
        ValueError: a parameter out of range.

    References:
        R. Storn, K. Price, "Differential Evolution", J. Global Optimization 11 (1997); J. C. Bean,
        "Genetic algorithms and random keys", ORSA J. Computing 6 (1994).
    """
    check_one_slot(inst)
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}")
    if population < 4 or generations < 0:
        raise ValueError(
            "population must be at least 4 and generations at least 0, "
            f"got {population} and {generations}"
        )
    if not (0 <= weight <= 2 and 0 <= crossover <= 1):
        raise ValueError(
            f"weight must lie in [0, 2] and crossover in [0, 1], got {weight} and {crossover}"
        )
    decode = _by_keys if encoding == "random_key" else _by_rounding
    size = max(inst.num_rows, inst.num_channels) if encoding == "random_key" else inst.num_rows

    def fitness(vector: Array) -> Array:
        return objective.objective_value(inst, decode(inst, vector))

    vectors, values = _evolve(
        key, fitness, (population, size), generations, weight=weight, crossover=crossover
    )
    best = jnp.argmax(values[-1])
    assignment = decode(inst, vectors[best])
    broken = objective.violations(inst, assignment)
    valid = (broken.duplicate == 0) & (broken.occupied == 0)
    status = jnp.where(valid, Status.FEASIBLE, Status.ITERATION_LIMIT).astype(jnp.int32)
    trace = Trace(jnp.full(generations + 1, jnp.nan, values.dtype), values.max(axis=1))
    return Solution(assignment, values[-1, best], status, trace=trace)


def _by_keys(inst: Instance, vector: Float[Array, "places"]) -> Int32[Array, "users"]:
    """The k-th user takes the place of the k-th lowest number."""
    usable = jnp.zeros(vector.shape[0], bool).at[: inst.num_channels].set(~inst.occupied)
    # More users than idle channels: as many blanks as are lacking take part, so that it is open
    # who stays unserved.
    lacking = jnp.sum(inst.user_mask) - jnp.sum(usable)
    blank = ~usable & (jnp.cumsum(~usable) <= lacking)
    order = argsort(jnp.where(usable | blank, vector, jnp.inf))
    given = order[jnp.maximum(jnp.cumsum(inst.user_mask) - 1, 0)]
    return jnp.where(inst.user_mask & usable[given], given, -1).astype(jnp.int32)


def _by_rounding(inst: Instance, vector: Float[Array, "users"]) -> Int32[Array, "users"]:
    channel = jnp.floor(vector * inst.num_channels).astype(jnp.int32)
    return jnp.where(inst.user_mask, jnp.clip(channel, 0, inst.num_channels - 1), -1)


def _evolve(
    key: jax.Array,
    fitness: Callable[[Array], Array],
    shape: tuple[int, int],
    generations: int,
    *,
    weight: float,
    crossover: float,
) -> tuple[Float[Array, "population size"], Float[Array, "generations population"]]:
    population, size = shape

    def generation(carry: tuple[Array, Array], key: jax.Array) -> tuple[tuple[Array, Array], Array]:
        vectors, values = carry
        a, b, c = vectors[_three_others(named_key(key, "others"), population)]
        mutant = a + weight * (b - c)
        # Reflected at the bounds of [0, 1], where clipping would pile numbers up.
        mutant = jnp.abs(mutant) % 2.0
        mutant = jnp.where(mutant > 1.0, 2.0 - mutant, mutant)
        taken = jax.random.uniform(named_key(key, "crossover"), shape) < crossover
        forced = jax.random.randint(named_key(key, "forced"), (population, 1), 0, size)
        trial = jnp.where(taken | (jnp.arange(size) == forced), mutant, vectors)
        # The first round values the vectors themselves: `fitness` is compiled once.
        trial = jnp.where(values[:, None] == -jnp.inf, vectors, trial)
        trial_values = jax.vmap(fitness)(trial)
        better = trial_values >= values
        vectors = jnp.where(better[:, None], trial, vectors)
        values = jnp.where(better, trial_values, values)
        return (vectors, values), values

    vectors = jax.random.uniform(named_key(key, "evolution", "start"), shape)
    keys = jax.random.split(named_key(key, "evolution", "generations"), generations + 1)
    start = (vectors, jnp.full(population, -jnp.inf, vectors.dtype))
    (vectors, _), history = lax.scan(generation, start, keys)
    return vectors, history


def _three_others(key: jax.Array, population: int) -> Int32[Array, "3 population"]:
    """Three distinct vectors other than itself, for each vector."""
    draws = jax.random.uniform(key, (population, population))
    draws = jnp.where(jnp.eye(population, dtype=bool), jnp.inf, draws)
    return lax.top_k(-draws, 3)[1].T.astype(jnp.int32)

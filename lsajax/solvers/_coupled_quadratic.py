"""Eq. (8) of few users as a quadratic assignment problem: annealing, then tabu search."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lsajax import coupling, link
from lsajax.instance import Instance
from lsajax.solvers import _local_moves, _swap_search
from lsajax.solvers._anytime import Search
from lsajax.solvers._local_moves import Start
from lsajax.solvers._swap_search import Problem, State

TABU_SHARE = 0.6


def search(key: jax.Array, inst: Instance, cooling: float, begin: Callable[[], Start]) -> Search:
    """The search of this module; `cooling` is the last temperature over the first."""

    def init() -> State:
        start = begin()
        place = places(inst, start.assignment)
        chains = jnp.tile(place[:, None], start.hot.shape[0])
        problem = as_quadratic(inst)
        state = _swap_search.start(problem, chains)
        # Penalties for users who cannot be served are in all costs alike.
        return State(problem, state, start.hot, start._replace(value=start.value + state.cost[0]))

    def best(s: State) -> Float[Array, ""]:
        return s.start.value - s.chains.best.min()

    def read(s: State) -> Int[Array, "users"]:
        assignment = s.chains.best_place[: inst.num_rows, s.chains.best.argmin()]
        return jnp.where(link.is_served(inst, assignment), assignment, -1)

    phases = _swap_search.phases(key, cooling=cooling, tabu_share=TABU_SHARE)
    return Search(init, phases, best, read)


def as_quadratic(inst: Instance) -> Problem:
    """Users are the items and channels the places, dummy ones included where there are fewer."""
    K, M = inst.num_rows, inst.num_channels
    n = max(K, M)
    open_ = ~inst.occupied
    leakage = jnp.where(open_[:, None] & open_, coupling.channel_leakage(inst), 0.0)
    return Problem(
        jnp.pad(_local_moves.strength(inst) * coupling.user_coupling(inst), (0, n - K)),
        jnp.pad(leakage, (0, n - M)),
        jnp.pad(-_local_moves.values(inst), ((0, n - K), (0, 0))),
    )


def places(inst: Instance, assignment: Int[Array, "users"]) -> Int[Array, "places"]:
    """The place of each item, the dummy users K, K + 1, ... included."""
    K = inst.num_rows
    holder = _local_moves.begin_walk(inst, assignment).holder
    item = jnp.where(holder == K, jnp.cumsum(holder == K) - 1 + K, holder)
    n = holder.shape[0]
    return jnp.zeros(n, jnp.int32).at[item].set(jnp.arange(n, dtype=jnp.int32))

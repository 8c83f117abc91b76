"""Local search for the extended, quadratic objective of Eq. (8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lsajax import hashing, link, objective
from lsajax.instance import Instance
from lsajax.solvers import _anytime, _local_moves, _swap_search
from lsajax.solvers.hungarian import hungarian
from lsajax.solvers.linear_assignment import linear_sum_assignment
from lsajax.solvers.solution import Solution, Status, Trace

DENSE_LIMIT = 64
"""Up to so many users and channels all swaps are valued in each step, and tabu search follows."""
HOT = (0.3, 0.01)
"""First temperatures of the chains, relative to the mean effect of a swap: between these two."""
COLD = 0.01
"""Last temperature relative to the first."""
TABU_SHARE = 0.6


class _Search(NamedTuple):
    """One of the two ways to search, behind one interface for all chains."""

    state: Any
    phases: tuple[
        tuple[Callable[[Any, int, float, float], Any], float], ...
    ]  # (advance, share of budget or steps)
    best: Callable[[Any], Float[Array, chains]]  # to be minimised [bit/s]
    place: Callable[[Any, Array], Int[Array, users]]  # assignment of one chain


def local_search(
    key: jax.Array,
    inst: Instance,
    *,
    steps: int = 2000,
    budget_s: float | None = None,
    chains: int = 16,
    initial: Int[ArrayLike, users] | None = None,
) -> Solution:
    """Maximises throughput minus coupling loss, LSA Eq. (8), by many chains of swaps.

    Starts from the exact optimum of the throughput alone (or `initial`), and is never worse than
    that. Small instances are a quadratic assignment problem with a linear term: annealing, then
    robust tabu search, with all swaps valued in each step. Large ones use that leakage ends two
    channels away, see `_local_moves`. As many users are served as there are idle channels.

    Args:
        key: PRNG key.
        inst: one slot.
        steps: steps of each chain; works under jit and vmap.
        budget_s: wall-clock seconds instead, after compilation; needs a concrete instance.
        chains: independent searches.
        initial: i32[users] feasible assignment to start from.

    Returns:
        Solution with the value of Eq. (8) [bit/s], status FEASIBLE, and with `budget_s` a trace.

    Raises:
        ValueError: `steps` or `chains` below 1, `budget_s` not above 0, traced input with
            `budget_s`, or a concrete `initial` that is not feasible.
    """
    if steps < 1 or chains < 1:
        raise ValueError(f"steps and chains must be at least 1, got {steps} and {chains}")
    if budget_s is not None:
        _anytime.check_budget(budget_s)
        _anytime.check_concrete("local_search with budget_s", (key, inst, initial))
    if initial is not None:
        initial = _check_initial(inst, initial)
    if max(inst.num_rows, inst.num_channels) < 2:
        start = _start(key, inst, initial)
        return _solution(inst, start, start, None)
    if budget_s is None:
        return _by_steps(key, inst, _start(key, inst, initial), steps, chains)
    search = partial(_by_clock, key, inst, initial, chains)
    _anytime.compile_first(search, (key, inst, initial), chains)
    return search(budget_s)


def _check_initial(inst: Instance, initial: ArrayLike) -> Int[Array, users]:
    start = link.as_assignment(inst, initial)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((inst, start))):
        return start
    with jax.ensure_compile_time_eval():  # known under jit too, if both were closed over
        broken = objective.violations(inst, start)._asdict()
        kinds = {kind: int(count) for kind, count in broken.items() if kind != "unserved" and count}
    if kinds:
        raise ValueError(f"initial must be a feasible assignment, got violations {kinds}")
    return start


def _start(key: jax.Array, inst: Instance, initial: Array | None) -> Int[Array, users]:
    return hungarian(key, inst).assignment if initial is None else initial


@partial(jax.jit, static_argnames=("steps", "chains"))
def _by_steps(key: jax.Array, inst: Instance, start: Array, steps: int, chains: int) -> Solution:
    search = _set_up(key, inst, start, chains)
    state = search.state
    for advance, share in search.phases:
        state = advance(state, max(1, round(share * steps)), 0.0, 1.0)
    return _solution(inst, start, _best_assignment(search, state), None)


def _set_up(key: jax.Array, inst: Instance, start: Array, chains: int) -> _Search:
    places = max(inst.num_rows, inst.num_channels)
    small = places <= max(DENSE_LIMIT, _local_moves.smallest())
    return (_dense if small else _sparse)(key, inst, start, chains)


def _best_assignment(search: _Search, state: Any) -> Int[Array, users]:
    return search.place(state, jnp.argmin(search.best(state)))


@jax.jit
def coupled_bound(inst: Instance) -> Float[Array, ""]:
    """Upper bound on Eq. (8) [bit/s] over assignments that serve as many users as they can.

    In the manner of Gilmore and Lawler: each user on each channel loses at least what it would
    beside the users that it couples least with, as few as there must be; the rates less these
    losses are a linear assignment problem. Where idle channels outnumber the users by four or
    more, all neighbours may be empty, and the bound is the optimum of the throughput alone.
    """
    K = inst.num_rows
    rates = link.rate_matrix(inst)
    leakage = jnp.where(inst.occupied, 0.0, objective.channel_leakage(inst))
    empty = jnp.maximum(jnp.sum(~inst.occupied) - jnp.sum(inst.user_mask), 0)
    others = inst.user_mask & ~jnp.eye(K, dtype=bool)
    coupling = jnp.sort(jnp.where(others, objective.user_coupling(inst), jnp.inf), axis=1)
    near = min(2 * objective.LEAKAGE_REACH, K)
    coupling = jnp.where(jnp.isfinite(coupling[:, :near]), coupling[:, :near], 0.0)
    strongest = -jnp.sort(-leakage, axis=1)[:, : 2 * objective.LEAKAGE_REACH]
    # The strongest neighbours stay empty, the next is the least coupled user, and so on.
    order = jnp.arange(strongest.shape[1]) - empty
    taken = (order >= 0) & (order < near)
    pick = jnp.where(taken, order, 0)
    weight = coupling[:, pick] * taken
    least = jnp.einsum("kp,mp->km", weight, strongest, precision=lax.Precision.HIGHEST)
    gain = jnp.maximum(rates - inst.coupling_bps * least, 0.0)
    return jnp.asarray(linear_sum_assignment(gain).value)


def _solution(
    inst: Instance, start: Int[Array, users], found: Int[Array, users], trace: Trace | None
) -> Solution:
    value, before = (objective.coupled_objective(inst, a) for a in (found, start))
    assignment = jnp.where(value >= before, found, start)
    value = jnp.maximum(value, before)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE), trace=trace)


def _by_clock(
    key: jax.Array, inst: Instance, initial: Array | None, chains: int, budget_s: float
) -> Solution:
    clock = _anytime.Clock()
    start = _start(key, inst, initial)
    search = _set_up(key, inst, start, chains)
    state, until = search.state, 0.0
    for advance, share in search.phases:
        until += share * budget_s
        state = _anytime.run_phase(advance, state, clock, until, lambda s: search.best(s).min())
    # Costs are relative: fines for users who can't be served are in them from the beginning.
    offset = objective.coupled_objective(inst, start) + search.best(search.state).min()
    trace = clock.trace()
    trace = trace._replace(value=np.asarray(offset) - trace.value)
    return _solution(inst, start, _best_assignment(search, state), trace)


def _dense(key: jax.Array, inst: Instance, start: Array, chains: int) -> _Search:
    """Eq. (8) as quadratic assignment: users and stand-ins are the items, channels the places."""
    K, M = inst.num_rows, inst.num_channels
    n = max(K, M)
    open_ = ~inst.occupied
    leakage = jnp.where(open_[:, None] & open_, objective.channel_leakage(inst), 0.0)
    problem = _swap_search.Problem(
        jnp.pad(inst.coupling_bps * objective.user_coupling(inst), (0, n - K)),
        jnp.pad(leakage, (0, n - M)),
        jnp.pad(-_local_moves.rates(inst), ((0, n - K), (0, 0))),
    )
    holder = _local_moves.begin(inst, start).holder
    # Nobody (index K) is played by the stand-ins K, K + 1, ...
    spare = jnp.cumsum(holder == K) - 1 + K
    item = jnp.where(holder == K, spare, holder)
    place = jnp.zeros(n, jnp.int32).at[item].set(jnp.arange(n, dtype=jnp.int32))
    state = _swap_search.start(problem, jnp.tile(place[:, None], chains))
    cool = _cooling(inst, start, chains)
    seeds = hashing.seeds(key, 2)

    def anneal(s: Any, count: int, begin: float, end: float) -> Any:
        s = _swap_search.anneal(seeds[0], problem, s, jnp.int32(count), cool(begin), cool(end))
        return s

    def tabu(s: Any, count: int, begin: float, end: float) -> Any:
        del end
        if begin == 0.0:
            s = s._replace(place=s.best_place)
        return _swap_search.tabu(seeds[1], problem, s, jnp.int32(count))

    def place_of(s: Any, chain: Array) -> Array:
        assignment = s.best_place[:K, chain]
        return jnp.where(link.is_served(inst, assignment), assignment, -1)

    phases = ((anneal, 1.0 - TABU_SHARE), (tabu, TABU_SHARE))
    return _Search(state, phases, lambda s: s.best, place_of)


def _sparse(key: jax.Array, inst: Instance, start: Array, chains: int) -> _Search:
    table = _local_moves.tabulate(inst)
    walk = _local_moves.begin(inst, start)
    seeds = hashing.seeds(key, chains)
    cool = _cooling(inst, start, chains)
    state = jax.tree.map(lambda x: jnp.broadcast_to(x, (chains, *x.shape)), walk)
    every_chain = jax.vmap(_local_moves.anneal, in_axes=(0, None, 0, None, 0, 0))

    def anneal(s: Any, count: int, begin: float, end: float) -> Any:
        return every_chain(seeds, table, s, jnp.int32(count), cool(begin), cool(end))

    def place_of(s: Any, chain: Array) -> Array:
        return _local_moves.read(inst, s.best_holder[chain])

    return _Search(state, ((anneal, 1.0),), lambda s: -s.best_gain, place_of)


def _cooling(inst: Instance, start: Array, chains: int) -> Callable[[float], Float[Array, chains]]:
    """Temperature of each chain by the share of the phase that is over.

    The scale is the mean change of rate when served users move at random. How much of it is worth
    accepting depends on the setting (with fading nearly every move is far too bad), so the chains
    start from different temperatures.
    """
    served = link.is_served(inst, start)
    random_rate = jnp.sum(link.rate_matrix(inst), axis=1) / jnp.maximum(jnp.sum(~inst.occupied), 1)
    change = jnp.abs(link.assigned_rate(inst, start) - random_rate)
    mean = jnp.sum(jnp.where(served, change, 0.0)) / jnp.maximum(jnp.sum(served), 1)
    # With rates all alike the coupling alone sets the scale.
    scale = jnp.maximum(mean, 0.1 * inst.coupling_bps * inst.adjacent_leakage)
    scale = jnp.maximum(scale, jnp.finfo(scale.dtype).tiny * 1e6)
    hot = scale * jnp.geomspace(*HOT, chains).astype(scale.dtype)
    return lambda share: hot * COLD**share

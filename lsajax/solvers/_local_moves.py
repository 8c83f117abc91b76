"""Annealing of Eq. (8) for many users: swaps far apart on the spectrum, all tried at once.

A swap of what two channels hold changes their own rates and the coupling with the holders of at
most four channels each, since leakage ends two channels away: a constant number of terms. Swaps
whose channels keep a distance of five or more do not see each other, so one step proposes a swap
for about every tenth channel and decides on each of them independently, as Metropolis would one
after the other.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from lsajax import coupling, hashing, link, objective
from lsajax._numerics import argsort
from lsajax.instance import Instance
from lsajax.solvers._anytime import Phase, Search

_BLOCK = 2 * (2 * coupling.LEAKAGE_REACH + 1)
"""Channels per proposal; a block's channel is among its first six, so two are five apart."""


class Table(NamedTuple):
    """What the moves of one instance look up; row K is no user: a place that is left empty.

    Attributes:
        value: v_im [bit/s], negative where a user would be unserved.
        coupling: 2 mu G: both orders of a pair at once [bit/s].
        leakage: at distance 1, 2, ...
        open: whether a place is an idle channel.
    """

    value: Float[Array, "holders places"]
    coupling: Float[Array, "holders holders"]
    leakage: Float[Array, "reach"]
    open: Bool[Array, "places"]


class Walk(NamedTuple):
    """One chain.

    Attributes:
        holder: row that holds each place, K for none.
        gain: objective relative to the start, by the sum of accepted changes [bit/s].
        best_holder: the holders of the highest gain so far.
        best_gain: that gain [bit/s].
        step: steps made.
    """

    holder: Int[Array, "places"]
    gain: Float[Array, ""]
    best_holder: Int[Array, "places"]
    best_gain: Float[Array, ""]
    step: Int[Array, ""]


class Start(NamedTuple):
    """Where a search of Eq. (8) begins.

    Attributes:
        assignment: feasible, serving as many users as there are idle channels.
        value: its value [bit/s].
        hot: first temperature of each chain [bit/s].
    """

    assignment: Int[Array, "users"]
    value: Float[Array, ""]
    hot: Float[Array, "chains"]


class State(NamedTuple):
    """A search under way.

    Attributes:
        start: where it began.
        table: what the moves look up.
        walks: all chains [chains, ...].
        seeds: of each chain, for its proposals and for their acceptance.
    """

    start: Start
    table: Table
    walks: Walk
    seeds: UInt32[Array, "chains 2 2"]


def search(key: jax.Array, inst: Instance, cooling: float, begin: Callable[[], Start]) -> Search:
    """The search of this module; `cooling` is the last temperature over the first."""

    def init() -> State:
        start = begin()
        walk, chains = begin_walk(inst, start.assignment), start.hot.shape[0]
        walks = jax.tree.map(lambda x: jnp.broadcast_to(x, (chains, *x.shape)), walk)
        streams = (hashing.named_key(key, name) for name in ("proposal", "acceptance"))
        seeds = jnp.stack([hashing.seeds(stream, chains) for stream in streams], axis=1)
        return State(start, tabulate(inst), walks, seeds)

    def advance(s: State, count: int, begin: float, end: float) -> State:
        hot, cold = (s.start.hot * cooling**share for share in (begin, end))
        return s._replace(walks=anneal(s.seeds, s.table, s.walks, jnp.int32(count), hot, cold))

    def best(s: State) -> Float[Array, ""]:
        return s.start.value + s.walks.best_gain.max()

    def read(s: State) -> Int[Array, "users"]:
        return read_holder(inst, s.walks.best_holder[s.walks.best_gain.argmax()])

    return Search(init, (Phase(advance),), best, read)


def tabulate(inst: Instance) -> Table:
    """Dense tables [K + 1, max(K, M)] and [K + 1, K + 1]."""
    spare = max(inst.num_rows - inst.num_channels, 0)
    distance = jnp.arange(1, coupling.LEAKAGE_REACH + 1)
    return Table(
        jnp.pad(values(inst), ((0, 1), (0, 0))),
        jnp.pad(2 * strength(inst) * coupling.user_coupling(inst), ((0, 1), (0, 1))),
        inst.adjacent_leakage**distance,
        jnp.pad(~inst.occupied, (0, spare)),
    )


def strength(inst: Instance) -> Float[Array, ""]:
    """mu where the objective is 'coupled', else 0 [bit/s]."""
    return inst.coupling_bps if inst.objective == "coupled" else jnp.zeros_like(inst.coupling_bps)


def values(inst: Instance) -> Float[Array, "users places"]:
    """v_im over max(K, M) places; minus a penalty on places without service.

    The penalty exceeds all that leaving a user unserved could save, so the best places serve as
    many users as there are idle channels.
    """
    value = objective.value_matrix(inst.without_coupling())
    spare = max(inst.num_rows - inst.num_channels, 0)
    penalty = 2.0 * (jnp.max(value, initial=0.0) + most_loss(inst))
    value = jnp.where(inst.user_mask[:, None] & inst.occupied, -penalty, value)
    unserved = jnp.where(inst.user_mask, -penalty, 0.0)
    return jnp.concatenate([value, jnp.tile(unserved[:, None], (1, spare))], axis=1)


def most_loss(inst: Instance) -> Float[Array, ""]:
    """At least what one user's presence can cost by its coupling with all others [bit/s]."""
    # A user without a neighbour at a place couples with none, at each with one other at most.
    if inst.leakage is not None:
        leakage = jnp.max(jnp.sum(inst.leakage, axis=1))
    else:
        leakage = 2 * coupling.LEAKAGE_REACH * inst.adjacent_leakage
    strongest = 1.0 if inst.coupling is None else jnp.max(inst.coupling)
    return 2 * strength(inst) * leakage * strongest


def begin_walk(inst: Instance, assignment: Int[Array, "users"]) -> Walk:
    """A walk that starts at `assignment`; unserved rows get places without service."""
    K = inst.num_rows
    places = max(K, inst.num_channels)
    rows = jnp.arange(K, dtype=jnp.int32)
    target = jnp.where(assignment >= 0, assignment, places)
    holder = jnp.full(places, K, jnp.int32).at[target].set(rows, mode="drop")
    # Occupied channels and dummy places first, then idle channels that no user holds.
    closed = jnp.pad(inst.occupied, (0, places - inst.num_channels), constant_values=True)
    free = argsort(jnp.where(holder < K, 2, jnp.where(closed, 0, 1)))
    rank = jnp.cumsum(assignment < 0) - 1
    target = jnp.where(assignment < 0, free[jnp.maximum(rank, 0)], places)
    holder = holder.at[target].set(rows, mode="drop")
    zero = jnp.zeros((), inst.mean_power_w.dtype)
    return Walk(holder, zero, holder, zero, jnp.int32(0))


def read_holder(inst: Instance, holder: Int[Array, "places"]) -> Int[Array, "users"]:
    """The assignment that the holders make."""
    places = jnp.arange(holder.shape[0], dtype=jnp.int32)
    assignment = jnp.full(inst.num_rows, -1, jnp.int32).at[holder].set(places, mode="drop")
    return jnp.where(link.is_served(inst, assignment), assignment, -1)


def swap_gains(
    t: Table, holder: Int[Array, "places"], m: Int[Array, "swaps"], n: Int[Array, "swaps"]
) -> Float[Array, "swaps"]:
    """Change of Eq. (8) [bit/s] by each swap of the holders of m and n, five or more apart."""
    i, j = holder[m], holder[n]
    change = t.value[j, m] + t.value[i, n] - t.value[i, m] - t.value[j, n]
    empty = t.coupling.shape[0] - 1
    for place, out, into in ((m, i, j), (n, j, i)):
        for distance in range(1, coupling.LEAKAGE_REACH + 1):
            for neighbour in (place - distance, place + distance):
                inside = (neighbour >= 0) & (neighbour < holder.shape[0])
                at = jnp.where(inside, neighbour, 0)
                couples = inside & t.open[at] & t.open[place]
                other = jnp.where(couples, holder[at], empty)
                lost = t.coupling[into, other] - t.coupling[out, other]
                change = change - t.leakage[distance - 1] * lost
    return change


def propose(
    seed: UInt32[Array, "2"], step: Int[Array, ""], places: int
) -> tuple[Int[Array, "swaps"], Int[Array, "swaps"]]:
    """Pairs (m, n) of distinct places, any two of them five apart or more (around the end too)."""
    blocks = places // _BLOCK
    swaps = blocks // 2
    draw = hashing.uniform(seed, step, jnp.arange(blocks + 2))
    inner = (draw[:blocks] * (_BLOCK // 2 + 1)).astype(jnp.int32)
    shift = (draw[blocks] * places).astype(jnp.int32)
    place = (jnp.arange(blocks) * _BLOCK + inner + shift) % places
    turn = (draw[blocks + 1] * swaps).astype(jnp.int32)
    return place[:swaps], place[swaps : 2 * swaps][(jnp.arange(swaps) + turn) % swaps]


@jax.jit
@partial(jax.vmap, in_axes=(0, None, 0, None, 0, 0))
def anneal(
    seed: UInt32[Array, "2 2"],
    t: Table,
    walk: Walk,
    steps: Int[Array, ""],
    hot: Float[Array, ""],
    cold: Float[Array, ""],
) -> Walk:
    """`steps` steps of each chain, cooling geometrically from hot to cold [bit/s]."""
    places = walk.holder.shape[0]
    proposal, acceptance = seed

    def body(k: Array, w: Walk) -> Walk:
        temperature = hot * (cold / hot) ** (k / jnp.maximum(steps, 1))
        m, n = propose(proposal, w.step, places)
        change = swap_gains(t, w.holder, m, n)
        draw = hashing.uniform(acceptance, w.step, jnp.arange(m.shape[0]))
        accept = change > temperature * jnp.log(draw)
        i, j = w.holder[m], w.holder[n]
        holder = w.holder.at[m].set(jnp.where(accept, j, i)).at[n].set(jnp.where(accept, i, j))
        gain = w.gain + jnp.sum(jnp.where(accept, change, 0.0))
        better = gain > w.best_gain
        return Walk(
            holder,
            gain,
            jnp.where(better, holder, w.best_holder),
            jnp.maximum(gain, w.best_gain),
            w.step + 1,
        )

    return lax.fori_loop(0, steps, body, walk)


def smallest() -> int:
    """Fewest places for which a step has a swap to propose."""
    return 2 * _BLOCK

"""One slot, filled user by user: who is next, what he may take, and what he sees.

Pure functions of an `Instance` of any size, which the environment steps and a solver scans over.
Nothing has K x M entries: each user has a short table of his best free channels, and a step looks
at the whole band for two users, the next one and the one whose table is the most out of date.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32

from lsajax import coupling, objective
from lsajax.instance import Instance

NUM_CANDIDATES = 8
"""Channels among which a user chooses: his best free ones."""
DEPTH = 8
"""Channels in the table of each user."""
ORDERS = ("strength", "regret")
"""Whose turn is next: the strongest, or who loses most by his second best free channel instead."""
_NONE = -jnp.inf  # value of a candidate that does not exist
_ROWS = 64  # of the value matrix at a time


class Progress(NamedTuple):
    """A slot of which some users have their channels.

    Values are what a placement adds to the objective now, less the leakage to and from those
    already placed.

    Attributes:
        assignment: channel of each row, -1 for none yet.
        holder: row on each channel, -1 for none.
        table_channel: each row's best channels when its table was made, the best first.
        table_value: their values then; -inf where there were not so many.
        mean: of each row's values over the idle channels, coupling left out.
        std: their standard deviation, above 0.
        row: whose turn it is; that of nobody in particular when all are placed.
        channel: candidate channels of that row, the best first.
        value: their values; -inf where there are not so many.
    """

    assignment: Int32[Array, "users"]
    holder: Int32[Array, "channels"]
    table_channel: Int32[Array, "users depth"]
    table_value: Float[Array, "users depth"]
    mean: Float[Array, "users"]
    std: Float[Array, "users"]
    row: Int32[Array, ""]
    channel: Int32[Array, "candidates"]
    value: Float[Array, "candidates"]


class Demand(NamedTuple):
    """What the users without a channel would like, by their tables.

    Attributes:
        free: entries of the tables that can still be had.
        best: value of each row's best free channel.
        best_channel: that channel, -1 where the table has none left.
        regret: what the row loses if it gets its second best channel instead; 0 when placed.
    """

    free: Bool[Array, "users depth"]
    best: Float[Array, "users"]
    best_channel: Int32[Array, "users"]
    regret: Float[Array, "users"]


def check_order(order: str) -> None:
    """Raises ValueError unless `order` is one of `ORDERS`."""
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")


def begin(inst: Instance) -> Progress:
    """Nobody has a channel yet, and it is nobody's turn: see `turn`."""
    K, M = inst.num_rows, inst.num_channels
    holder = jnp.full(M, -1, jnp.int32)
    nothing = jnp.full(K, -1, jnp.int32)
    idle = ~inst.occupied
    count = jnp.maximum(jnp.sum(idle), 1)

    def of_row(row: Array) -> tuple[Array, ...]:
        own = _values(inst, row)
        mean = jnp.sum(jnp.where(idle, own, 0.0)) / count
        spread = jnp.where(idle, own - mean, 0.0)
        value, channel = jax.lax.top_k(jnp.where(idle, own, _NONE), min(DEPTH, M))
        return mean, jnp.sqrt(jnp.sum(spread**2) / count), value, channel

    rows = jnp.arange(K)
    if K <= _ROWS:
        mean, std, value, channel = jax.vmap(of_row)(rows)
    else:
        mean, std, value, channel = jax.lax.map(of_row, rows, batch_size=_ROWS)
    std = jnp.maximum(std, 1e-3 * jnp.abs(mean) + jnp.finfo(std.dtype).tiny)
    none = jnp.full(NUM_CANDIDATES, _NONE, value.dtype)
    candidates = jnp.zeros(NUM_CANDIDATES, jnp.int32)
    return Progress(nothing, holder, channel, value, mean, std, jnp.int32(0), candidates, none)


def scale(inst: Instance, progress: Progress) -> Float[Array, ""]:
    """Mean value of a random valid assignment, coupling left out [the objective's unit]."""
    return jnp.sum(jnp.where(inst.user_mask, progress.mean, 0.0))


def is_complete(inst: Instance, progress: Progress) -> Bool[Array, ""]:
    """Whether every requesting user has a channel."""
    return ~jnp.any(_unplaced(inst, progress))


def action_mask(progress: Progress) -> Bool[Array, "candidates"]:
    """Which candidates exist; the first one always, so that something can be chosen."""
    return (progress.value > _NONE).at[0].set(True)


def turn(inst: Instance, progress: Progress, order: str = ORDERS[0]) -> Progress:
    """Whose turn is next, with his candidates; the most outdated table is made anew before.

    Args:
        inst: one slot.
        progress: of it.
        order: one of `ORDERS`.
    """
    unplaced = _unplaced(inst, progress)
    left = jnp.sum(_free(inst, progress), axis=1)
    # Of tables that are equally short the one of the user with most to lose.
    strength = progress.mean / jnp.maximum(jnp.max(jnp.abs(progress.mean)), 1e-30)
    stale = jnp.argmin(jnp.where(unplaced, left - 0.5 * strength, DEPTH + 1))
    value, channel = _best_free(inst, progress, stale, progress.table_value.shape[1])
    progress = progress._replace(
        table_channel=progress.table_channel.at[stale].set(channel),
        table_value=progress.table_value.at[stale].set(value),
    )
    urgency = demand(inst, progress).regret if order == "regret" else progress.mean
    row = jnp.argmax(jnp.where(unplaced, urgency, -jnp.inf)).astype(jnp.int32)
    value, channel = _best_free(inst, progress, row, NUM_CANDIDATES)
    return progress._replace(row=row, value=value, channel=channel)


def place(
    inst: Instance, progress: Progress, action: Int[Array, ""]
) -> tuple[Progress, Float[Array, ""]]:
    """Gives the current user candidate `action`, or the best one where there is no such candidate.

    Returns:
        (progress, value), the value being the increase of `objective_value`; without effect, and 0,
        when all have their channels. Whose turn is next says `turn`.
    """
    action = jnp.where(action_mask(progress)[action], action, 0)
    row, channel, value = progress.row, progress.channel[action], progress.value[action]
    happens = ~is_complete(inst, progress) & (value > _NONE)
    value = jnp.where(happens, value, 0.0)
    progress = progress._replace(
        assignment=progress.assignment.at[row].set(
            jnp.where(happens, channel, progress.assignment[row])
        ),
        holder=progress.holder.at[channel].set(
            jnp.where(happens, row.astype(jnp.int32), progress.holder[channel])
        ),
    )
    return progress, value


def demand(inst: Instance, progress: Progress) -> Demand:
    """What the users without a channel would like."""
    free = _free(inst, progress)
    value = jnp.where(free, progress.table_value, _NONE)
    at = jnp.argmax(value, axis=1)
    best = jnp.max(value, axis=1)
    later = jnp.arange(value.shape[1]) != at[:, None]
    second = jnp.max(jnp.where(later, value, _NONE), axis=1)
    # What a table does not show is worth no more than its last entry; without one, nothing is left.
    last = progress.table_value[:, -1]
    floor = jnp.where(last > _NONE, last, 0.0)
    best, second = jnp.maximum(best, floor), jnp.maximum(second, floor)
    regret = jnp.where(_unplaced(inst, progress), best - second, 0.0)
    channel = jnp.take_along_axis(progress.table_channel, at[:, None], axis=1)[:, 0]
    return Demand(free, best, jnp.where(jnp.any(free, axis=1), channel, -1), regret)


def _free(inst: Instance, progress: Progress) -> Bool[Array, "users depth"]:
    held = progress.holder[progress.table_channel] >= 0
    return ~held & (progress.table_value > _NONE) & _unplaced(inst, progress)[:, None]


def _unplaced(inst: Instance, progress: Progress) -> Bool[Array, "users"]:
    return inst.user_mask & (progress.assignment < 0)


def _values(inst: Instance, row: Array) -> Float[Array, "channels"]:
    """Values of a row on all channels, coupling left out."""
    return jnp.broadcast_to(objective.value_at(inst, row, None), (inst.num_channels,))


def _best_free(
    inst: Instance, progress: Progress, row: Array, count: int
) -> tuple[Float[Array, "count"], Int32[Array, "count"]]:
    """Values and indices of the row's best free channels, padded with -inf and 0."""
    M = inst.num_channels
    value = _values(inst, row)
    if inst.objective == "coupled":
        value = value - leakage(inst, progress, row)
    value = jnp.where(inst.occupied | (progress.holder >= 0), _NONE, value)
    value, channel = jax.lax.top_k(value, min(count, M))
    short = (0, max(count - M, 0))
    return jnp.pad(value, short, constant_values=_NONE), jnp.pad(channel, short)


def leakage(inst: Instance, progress: Progress, row: Array) -> Float[Array, "channels"]:
    """What the row on each channel and those already placed would cost each other [bit/s]."""
    of_users = coupling.coupling_at(inst, row, jnp.arange(inst.num_rows))
    near = jnp.where(progress.holder >= 0, of_users[progress.holder], 0.0)
    # The sum in Eq. (8) counts each pair twice.
    if inst.leakage is not None:
        return 2 * inst.coupling_bps * (inst.leakage @ near)
    loss = jnp.zeros_like(near)
    for apart in range(1, coupling.LEAKAGE_REACH + 1):
        loss = loss + inst.adjacent_leakage**apart * _around(near, apart)
    return 2 * inst.coupling_bps * loss


def _around(x: Float[Array, "channels"], apart: int) -> Float[Array, "channels"]:
    """x_(m - apart) + x_(m + apart), 0 beyond the ends."""
    padded = jnp.pad(x, apart)
    return padded[: x.size] + padded[2 * apart :]

"""Feasibility repair (LSA Eq. (15)-(16), Theorem 1) in O(N + M) an action."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int32, Integer

from lsajax import link, objective
from lsajax._numerics import argsort, one_program
from lsajax.instance import Instance


class SortedOrder(NamedTuple):
    """Rows and channels of an instance, best first.

    Attributes:
        user: rows by mean received power, over the idle channels where it is given per pair.
        user_rank: the place of each row in `user`.
        channel: channels by bandwidth.
    """

    user: Int32[Array, "users"]
    user_rank: Int32[Array, "users"]
    channel: Int32[Array, "channels"]


@one_program
def sorted_order(inst: Instance) -> SortedOrder:
    """Users by mean received power and channels by bandwidth, descending; padding comes last.

    Sorting is most of a repair's cost, and belongs to the instance: with `vmap` over raw actions
    alone it happens once; a caller that repairs one action at a time passes it in.
    """
    user = argsort(jnp.where(inst.user_mask, -inst.user_power_w, jnp.inf))
    rank = jnp.zeros_like(user).at[user].set(jnp.arange(user.size, dtype=jnp.int32))
    return SortedOrder(user, rank, argsort(-inst.bandwidth_hz))


def repair(
    inst: Instance,
    raw: Integer[ArrayLike, "users"],
    *,
    rule: str = "sorted",
    order: SortedOrder | None = None,
) -> Int32[Array, "users"]:
    """A feasible assignment that keeps as much of `raw` as can be kept.

    (a) Channels that do not exist or are occupied are dropped; (b) a contested channel stays with
    the user of the highest instantaneous gain P_im there, or of the highest value v_im where users
    differ in more than their power: by weights, needs or interference of their own (ties: the
    higher mean power, then the lower row); (c) users left over get the idle channels left over:

    - `"sorted"`: the k-th strongest by power the k-th widest; O(N + M).
    - `"greedy"`: the strongest first, each the channel of its best value; O(leftover x M).

    With K <= idle channels every user ends up served. With more users than that, all idle channels
    are in use, the strongest leftover users have the rest, and the others stay at -1:
    `violations(inst, repaired).unserved` says how many.

    Args:
        raw: [users] any integers.
        rule: how leftovers are matched.
        order: `sorted_order(inst)`, where the caller has it already.

    Raises:
        ValueError: `rule` is not one of the two, or `raw` is not [users] integers.
    """
    if rule not in ("sorted", "greedy"):
        raise ValueError(f"rule must be 'sorted' or 'greedy', got {rule!r}")
    raw = link.as_assignment(inst, raw)
    order = sorted_order(inst) if order is None else order
    return _repair(inst, raw, order, rule)


@partial(one_program, static_argnames="rule")
def _repair(
    inst: Instance, raw: Int32[Array, "users"], order: SortedOrder, rule: str
) -> Int32[Array, "users"]:
    holder = _contest(inst, raw, order)
    placed = link.place(inst, raw)
    wins = placed.served & (holder[placed.channel] == order.user_rank)
    kept = jnp.where(wins, raw, -1).astype(jnp.int32)
    fill = _fill_sorted if rule == "sorted" else _fill_greedy
    return fill(inst, kept, holder < 0, order)


def _contest(
    inst: Instance, raw: Int32[Array, "users"], order: SortedOrder
) -> Int32[Array, "channels"]:
    """Rank of the user that keeps each channel [channels], -1 where no user asks for it."""
    served, channel, target = link.place(inst, raw)
    contender = served
    own = inst.weight is not None or inst.min_rate_bps is not None or inst.interference_per_pair
    if own or inst.fading is not None or inst.power_per_pair:
        # Else the order by gain is the same on every channel, and the rank decides alone.
        gain = objective.assigned_values(inst, raw) if own else link.assigned_power(inst, raw)
        best = jnp.zeros(inst.num_channels, gain.dtype).at[target].max(gain, mode="drop")
        contender = served & (gain == best[channel])
    # Filled with the largest rank + 1 and counted down, so that a channel without users is -1.
    worst = inst.num_rows
    reverse = jnp.where(contender, worst - order.user_rank, 0)
    top = jnp.zeros(inst.num_channels, jnp.int32).at[target].max(reverse, mode="drop")
    return jnp.where(top > 0, worst - top, -1)


def _fill_sorted(
    inst: Instance,
    kept: Int32[Array, "users"],
    free: Array,
    order: SortedOrder,
) -> Int32[Array, "users"]:
    left_user = ((kept < 0) & inst.user_mask)[order.user]
    left_channel = (free & ~inst.occupied)[order.channel]
    user_place = jnp.cumsum(left_user, dtype=jnp.int32) - 1
    channel_place = jnp.cumsum(left_channel, dtype=jnp.int32) - 1
    # [place] -> channel; places without a channel keep -1, which is what their users get.
    by_place = jnp.full(inst.num_channels, -1, jnp.int32)
    target = jnp.where(left_channel, channel_place, inst.num_channels)
    by_place = by_place.at[target].set(order.channel, mode="drop")
    given = by_place.at[user_place].get(mode="fill", fill_value=-1)
    return jnp.where((kept < 0) & inst.user_mask, given[order.user_rank], kept)


def _fill_greedy(
    inst: Instance,
    kept: Int32[Array, "users"],
    free: Array,
    order: SortedOrder,
) -> Int32[Array, "users"]:
    left_user = ((kept < 0) & inst.user_mask)[order.user]
    (place,) = jnp.nonzero(left_user, size=inst.num_rows, fill_value=0)
    rows = order.user[place]
    free = free & ~inst.occupied
    count = jnp.minimum(jnp.sum(left_user), jnp.sum(free))

    def body(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        assignment, free = carry
        value = jnp.where(free, objective.value_at(inst, rows[k], None), -jnp.inf)
        best = jnp.argmax(value).astype(jnp.int32)
        return assignment.at[rows[k]].set(best), free.at[best].set(False)

    return jax.lax.fori_loop(0, count, body, (kept, free))[0]

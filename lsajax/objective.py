"""What an assignment is worth: throughput, violations, fairness, Eq. (8), utility over slots."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, Integer, Num

from lsajax import link
from lsajax._numerics import as_float, sum_of_others
from lsajax.instance import Instance

LEAKAGE_REACH = 2
"""Channels further apart than this leak nothing into each other."""


class Violations(NamedTuple):
    """Counts i32[] by kind; all 0 means feasible and complete.

    Attributes:
        unknown: users with an index that is neither a channel nor -1.
        occupied: users on a primary user's channel.
        duplicate: users beyond the first on an idle channel.
        unserved: users at -1.
    """

    unknown: Int32[Array, ""]
    occupied: Int32[Array, ""]
    duplicate: Int32[Array, ""]
    unserved: Int32[Array, ""]


def channel_load(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Int32[Array, "channels"]:
    """Number of users on each idle channel [channels]."""
    target = link.place(inst, assignment).target
    return jnp.zeros(inst.num_channels, jnp.int32).at[target].add(1, mode="drop")


def violations(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Violations:
    """Broken constraints of LSA Eq. (5)-(7) by kind."""
    assignment = link.as_assignment(inst, assignment)
    known = (assignment >= 0) & (assignment < inst.num_channels)
    taken = inst.occupied[jnp.where(known, assignment, 0)]
    load = channel_load(inst, assignment)

    def count(x: Array) -> Int32[Array, ""]:
        return jnp.sum(x & inst.user_mask, dtype=jnp.int32)

    return Violations(
        unknown=count(~known & (assignment != -1)),
        occupied=count(known & taken),
        duplicate=jnp.sum(jnp.maximum(load - 1, 0), dtype=jnp.int32),
        unserved=count(assignment == -1),
    )


def co_channel_power(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Float[Array, "users"]:
    """Power [users] in W that the other users of its channel bring each user.

    Exact to a few last places, also where a user is a million times stronger than its rivals.
    """
    placed = link.place(inst, assignment)
    power = link.assigned_power(inst, assignment)
    return jnp.where(placed.served, sum_of_others(power, placed.target, inst.num_channels), 0.0)


def user_rates(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, "users"]:
    """Rate [users] in bit/s; users that share a channel interfere with each other."""
    return link.assigned_rate(inst, assignment, co_channel_power(inst, assignment))


def throughput(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """C(a) = sum_i sum_m x_im r_im [bit/s], LSA Eq. (4) for one slot; K entries, no matrix.

    An occupied, unknown or missing channel carries nothing. Users on the same channel are each
    other's co-channel interference in Eq. (3): that is the collision rule, under which Eq. (13)
    values a raw action.
    """
    return jnp.sum(user_rates(inst, assignment))


def jain_index(
    rate_bps: Num[ArrayLike, "users"], mask: Bool[ArrayLike, "users"] | None = None
) -> Float[Array, ""]:
    """Jain's fairness index (sum r)^2 / (K sum r^2) in [1 / K, 1]; 0 where every rate is 0.

    Args:
        rate_bps: [users] rates [bit/s].
        mask: [users] who counts, `inst.user_mask`; None for all.
    """
    rate = as_float(rate_bps)
    mask = jnp.ones(rate.shape, bool) if mask is None else jnp.asarray(mask)
    rate = jnp.where(mask, rate, 0.0)
    # Scaled first: squares of rates near 1e8 and their sums waste float32's range.
    peak = jnp.max(rate)
    share = rate / jnp.where(peak > 0, peak, 1.0)
    squares = jnp.sum(mask) * jnp.sum(share**2)
    return jnp.where(peak > 0, jnp.sum(share) ** 2 / jnp.where(peak > 0, squares, 1.0), 0.0)


def alpha_fair_utility(
    rate_bps: Num[ArrayLike, "users"],
    alpha: float,
    mask: Bool[ArrayLike, "users"] | None = None,
    floor_bps: float = 1.0,
) -> Float[Array, ""]:
    """Mo and Walrand's utility of rates r in Mbit/s: sum log r for alpha = 1, else
    sum r^(1 - alpha) / (1 - alpha).

    Args:
        rate_bps: [users] rates [bit/s].
        alpha: static number of at least 0; 0 is the sum, 1 proportional fairness.
        mask: [users] who counts, `inst.user_mask`; None for all.
        floor_bps: rates below it count as that much, with gradient 0: an unserved user costs
            utility and neither infinity nor an infinite gradient [bit/s]. From alpha = 5.4 on,
            where float32 could not hold that utility, the floor is raised as far as need be.

    Raises:
        ValueError: `alpha` is negative or not finite, or `floor_bps` not above 0.
    """
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha must be a finite number of at least 0, got {alpha!r}")
    if not floor_bps > 0:
        raise ValueError(f"floor_bps must be above 0, got {floor_bps!r}")
    rate = as_float(rate_bps)
    floor = floor_bps / 1e6
    if alpha > 1:
        # The utility of a million users at the floor, and its slope r^-alpha, stay finite.
        floor = max(floor, (float(jnp.finfo(rate.dtype).max) / 4e6) ** (-1 / alpha))
    rate = jnp.maximum(rate / 1e6, floor)
    each = jnp.log(rate) if alpha == 1 else rate ** (1 - alpha) / (1 - alpha)
    return jnp.sum(each if mask is None else jnp.where(mask, each, 0.0))


def user_coupling(inst: Instance) -> Float[Array, "users users"]:
    """G_ij of Eq. (8) [users, users], in [0, 1]: exp(-||p_i - p_j|| / length), 0 on the diagonal.

    Users close together cannot be told apart in space, so what one leaks into the other's channel
    is received in full.
    """
    offset = inst.position_m[:, None] - inst.position_m[None]
    eye = jnp.eye(inst.num_rows, dtype=bool)
    mask = inst.user_mask[:, None] & inst.user_mask & ~eye
    return jnp.where(mask, _coupling(inst, offset), 0.0)


def channel_leakage(inst: Instance) -> Float[Array, "channels channels"]:
    """rho_mn of Eq. (8) [channels, channels]: leakage^|m - n| for |m - n| of 1 and 2, else 0."""
    channel = jnp.arange(inst.num_channels)
    apart = jnp.abs(channel[:, None] - channel)
    near = (apart >= 1) & (apart <= LEAKAGE_REACH)
    return jnp.where(near, inst.adjacent_leakage**apart, 0.0)


def coupling_loss(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """mu sum_{i,j} sum_{m,n} G_ij rho_mn x_im x_jn [bit/s] in O(K): only near channels leak.

    Needs a feasible assignment: of users that share a channel one alone is seen.
    """
    placed = link.place(inst, assignment)
    rows = jnp.arange(inst.num_rows, dtype=jnp.int32)
    holder = jnp.full(inst.num_channels, -1, jnp.int32).at[placed.target].set(rows, mode="drop")
    loss = jnp.zeros(())
    for apart in range(1, LEAKAGE_REACH + 1):
        # A pair is met once, from its lower channel; the sum in Eq. (8) counts it twice.
        upper = placed.channel + apart
        in_range = placed.served & (upper < inst.num_channels)
        rival = jnp.where(in_range, holder[jnp.where(in_range, upper, 0)], -1)
        offset = inst.position_m - inst.position_m[jnp.maximum(rival, 0)]
        coupling = jnp.where(rival >= 0, _coupling(inst, offset), 0.0)
        loss = loss + 2 * inst.adjacent_leakage**apart * jnp.sum(coupling)
    return inst.coupling_bps * loss


def coupled_objective(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """LSA Eq. (8) for one slot [bit/s]: `throughput` minus `coupling_loss`."""
    return throughput(inst, assignment) - coupling_loss(inst, assignment)


def discounted_utility(
    utility: Num[ArrayLike, "slots *batch"], discount: ArrayLike
) -> Float[Array, "*batch"]:
    """sum_t gamma^t u_t, LSA Eq. (4), over the leading axis; the first slot is t = 0."""
    utility = as_float(utility)
    weight = as_float(discount) ** jnp.arange(utility.shape[0])
    return jnp.sum(weight.reshape(-1, *(1,) * (utility.ndim - 1)) * utility, axis=0)


def _coupling(inst: Instance, offset_m: Float[Array, "... 2"]) -> Float[Array, "..."]:
    squared = jnp.sum(offset_m**2, axis=-1)
    positive = squared > 0
    distance = jnp.sqrt(jnp.where(positive, squared, 1.0))
    return jnp.where(positive, jnp.exp(-distance / inst.coupling_length_m), 1.0)

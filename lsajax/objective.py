"""What an assignment is worth: the objective of an instance, its parts, and broken constraints.

Three objectives, each with priorities (`weight`) and needs (`min_rate_bps`) where the instance has
them. With r_i the rate of user i in bit/s:

- `throughput`: sum_i w_i r_i, LSA Eq. (4);
- `fair`: sum_i w_i u(r_i) with the alpha-fair utility u of `fair_utility`;
- `coupled`: the throughput less `coupling_loss`, LSA Eq. (8).

The first two are separable: a sum of values v_im of pairs, `value_matrix`, and so a linear
assignment problem. The third is a quadratic one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32, Integer, Num

from lsajax import link
from lsajax._numerics import as_float, one_program, sum_of_others
from lsajax.coupling import coupling_loss
from lsajax.instance import Instance

UTILITY_UNIT_BPS = 1e6
"""Rates of the fair utility are counted in this unit, which is also what is added to them."""

_MANY = 2**24  # entries of a matrix that is not to be held as a whole
_ROWS = 128  # of it at a time


class Violations(NamedTuple):
    """Counts i32[] by kind; all but the last are 0 for what is feasible and complete.

    Attributes:
        unknown: users with an index that is neither a channel nor -1.
        occupied: users on a primary user's channel.
        duplicate: users beyond the first on an idle channel.
        unserved: users at -1.
        below_min_rate: users whose rate is below their `min_rate_bps`; a soft constraint.
    """

    unknown: Int32[Array, ""]
    occupied: Int32[Array, ""]
    duplicate: Int32[Array, ""]
    unserved: Int32[Array, ""]
    below_min_rate: Int32[Array, ""]


def channel_load(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Int32[Array, "channels"]:
    """Number of users on each idle channel [channels]."""
    return _channel_load(inst, link.place(inst, assignment))


@one_program
def _channel_load(inst: Instance, placed: link.Placement) -> Int32[Array, "channels"]:
    return jnp.zeros(inst.num_channels, jnp.int32).at[placed.target].add(1, mode="drop")


def violations(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Violations:
    """Broken constraints of LSA Eq. (5)-(7) by kind, and needs that are not met."""
    return _violations(inst, link.as_assignment(inst, assignment))


@one_program
def _violations(inst: Instance, assignment: Int32[Array, "users"]) -> Violations:
    known = (assignment >= 0) & (assignment < inst.num_channels)
    taken = inst.occupied[jnp.where(known, assignment, 0)]
    load = channel_load(inst, assignment)

    def count(x: Array) -> Int32[Array, ""]:
        return jnp.sum(x & inst.user_mask, dtype=jnp.int32)

    needy = jnp.zeros(inst.num_rows, bool)
    if inst.min_rate_bps is not None:
        needy = user_rates(inst, assignment) < inst.min_rate_bps
    return Violations(
        unknown=count(~known & (assignment != -1)),
        occupied=count(known & taken),
        duplicate=jnp.sum(jnp.maximum(load - 1, 0), dtype=jnp.int32),
        unserved=count(assignment == -1),
        below_min_rate=count(needy),
    )


def co_channel_power(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Float[Array, "users"]:
    """Power [users] in W that the other users of its channel bring each user.

    Exact to a few last places, also where a user is a million times stronger than its rivals.
    """
    return _co_channel_power(inst, link.as_assignment(inst, assignment))


@one_program
def _co_channel_power(inst: Instance, assignment: Int32[Array, "users"]) -> Float[Array, "users"]:
    placed = link.place(inst, assignment)
    power = link.assigned_power(inst, assignment)
    return jnp.where(placed.served, sum_of_others(power, placed.target, inst.num_channels), 0.0)


def user_rates(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, "users"]:
    """Rate [users] in bit/s; users that share a channel interfere with each other."""
    return _user_rates(inst, link.as_assignment(inst, assignment))


@one_program
def _user_rates(inst: Instance, assignment: Int32[Array, "users"]) -> Float[Array, "users"]:
    return link.assigned_rate(inst, assignment, _co_channel_power(inst, assignment))


def throughput(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """C(a) = sum_i sum_m x_im r_im [bit/s], LSA Eq. (4) for one slot; K entries, no matrix.

    An occupied, unknown or missing channel carries nothing. Users on the same channel are each
    other's co-channel interference in Eq. (3): that is the collision rule, under which Eq. (13)
    values a raw action. Weights do not enter; `objective_value` is what an instance asks for.
    """
    return jnp.sum(user_rates(inst, assignment))


def objective_value(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """What `inst.objective` says of an assignment, raw ones included; K entries, no matrix.

    In bit/s, or without unit for the objective 'fair'. Collisions count as in `throughput`.
    """
    return _objective_value(inst, link.as_assignment(inst, assignment))


@one_program
def _objective_value(inst: Instance, assignment: Int32[Array, "users"]) -> Float[Array, ""]:
    return value_of_rates(inst, assignment, _user_rates(inst, assignment))


def feasible_value(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """`objective_value` of an assignment in which no two users share a channel, at less cost."""
    return value_of_rates(inst, assignment, link.assigned_rate(inst, assignment))


def value_of_rates(
    inst: Instance, assignment: Integer[ArrayLike, "users"], rate_bps: Float[Array, "users"]
) -> Float[Array, ""]:
    """`objective_value` where the rates of the assignment are known already [bit/s]."""
    value = jnp.sum(user_values(inst, rate_bps))
    return value - coupling_loss(inst, assignment) if inst.objective == "coupled" else value


def assigned_values(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Float[Array, "users"]:
    """v_im [users] of the pairs of an assignment; equals `value_matrix` there."""
    return user_values(inst, link.assigned_rate(inst, assignment))


def fair_utility(rate_bps: Num[ArrayLike, "..."], alpha: ArrayLike) -> Float[Array, "..."]:
    """u(r) = ((1 + x)^(1 - alpha) - 1) / (1 - alpha) with x = r / (1 Mbit/s); log(1 + x) at 1.

    The alpha-fair utility of Mo and Walrand (IEEE/ACM Trans. Networking 8, 2000), shifted so that
    an unserved user is worth 0 and its slope is finite. alpha = 0 is the throughput, 1
    proportional fairness; towards infinity it becomes max-min fairness.
    """
    return _utility(jnp.log1p(as_float(rate_bps) / UTILITY_UNIT_BPS), as_float(alpha))


@jax.custom_jvp
def _utility(log: Float[Array, "..."], alpha: Float[Array, "..."]) -> Float[Array, "..."]:
    """L expm1(z) / z of L = log(1 + x) and z = (1 - alpha) L, which is 0 / 0 at alpha = 1.

    Its slopes have forms of their own: the derivative of the quotient cancels where z is far
    below 0.
    """
    z = (1.0 - alpha) * log
    tiny = jnp.abs(z) < 1e-4
    safe = jnp.where(tiny, 1.0, z)
    return log * jnp.where(tiny, 1.0 + z / 2, jnp.expm1(safe) / safe)


@_utility.defjvp
def _utility_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (log, alpha), (d_log, d_alpha) = primals, tangents
    z = (1.0 - alpha) * log
    # d/dz of expm1(z) / z, by its series where the quotient loses digits.
    small = jnp.abs(z) < 0.05
    safe = jnp.where(small, 1.0, z)
    slope = (safe * jnp.exp(safe) - jnp.expm1(safe)) / safe**2
    slope = jnp.where(small, 1 / 2 + z / 3 + z**2 / 8 + z**3 / 30, slope)
    return _utility(log, alpha), jnp.exp(z) * d_log - log**2 * slope * d_alpha


@one_program
def user_values(
    inst: Instance,
    rate_bps: Float[Array, "users *channels"],
    row: Int[ArrayLike, "..."] | None = None,
) -> Float[Array, "users *channels"]:
    """Value of each user at a rate, without the coupling: 0 at rate 0.

    Args:
        inst: whose objective counts.
        rate_bps: [users] or [users, channels] rates [bit/s].
        row: rows of the leading axes of `rate_bps`, where they are not all in their order.
    """

    def of_rows(x: Array) -> Array:
        x = x if row is None else x[row]
        return x.reshape(*x.shape, *(1,) * (rate_bps.ndim - x.ndim))

    value = fair_utility(rate_bps, inst.alpha) if inst.objective == "fair" else rate_bps
    if inst.weight is not None:
        value = value * of_rows(inst.weight)
    if inst.min_rate_bps is not None:
        need = of_rows(inst.min_rate_bps)
        met = jnp.minimum(rate_bps / jnp.where(need > 0, need, 1.0), 1.0)
        value = value + inst.min_rate_value * jnp.where(need > 0, met, 0.0)
    return value


@one_program
def value_at(
    inst: Instance, row: Int[ArrayLike, "..."] | None, channel: Int[ArrayLike, "..."] | None
) -> Float[Array, "..."]:
    """v_im at pairs of rows and channels, as in `link.power_at`, whoever may use them."""
    return user_values(inst, link.rate_at(inst, row, channel), row)


def value_matrix(inst: Instance) -> Float[Array, "users channels"]:
    """v_im [users, channels] whose sum a separable objective is; 0 at closed channels and padding.

    Raises:
        ValueError: the objective is 'coupled', of which `inst.without_coupling()` is the separable
            part; or a batch of instances.
    """
    check_separable(inst, "value_matrix")
    link.check_one_slot(inst)
    return _value_matrix(inst)


@one_program
def _value_matrix(inst: Instance) -> Float[Array, "users channels"]:
    return user_values(inst, link.rate_matrix(inst))


def check_separable(inst: Instance, what: str) -> None:
    """Raises ValueError where the objective is no sum over users."""
    if inst.objective == "coupled":
        raise ValueError(
            f"{what} needs a separable objective, got 'coupled': give it inst.without_coupling(), "
            "or use solvers.local_search, which takes the coupling into account"
        )


@one_program
def sum_of_values(inst: Instance) -> Float[Array, ""]:
    """Sum of all separable values; the matrix is never whole in memory where it is large."""
    inst = inst.without_coupling()
    rows, channels = inst.num_rows, inst.num_channels
    if rows * channels <= _MANY:
        return jnp.sum(value_matrix(inst))

    def of_row(row: Array) -> Array:
        value = jnp.where(inst.occupied, 0.0, value_at(inst, row, None))
        return jnp.where(inst.user_mask[row], jnp.sum(value), 0.0)

    return jnp.sum(jax.lax.map(of_row, jnp.arange(rows), batch_size=_ROWS))


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


def discounted_utility(
    utility: Num[ArrayLike, "slots *batch"], discount: ArrayLike
) -> Float[Array, "*batch"]:
    """sum_t gamma^t u_t, LSA Eq. (4), over the leading axis; the first slot is t = 0."""
    utility = as_float(utility)
    weight = as_float(discount) ** jnp.arange(utility.shape[0])
    return jnp.sum(weight.reshape(-1, *(1,) * (utility.ndim - 1)) * utility, axis=0)

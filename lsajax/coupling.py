"""The second term of LSA Eq. (8): what users on near channels cost each other."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Integer

from lsajax import link
from lsajax._numerics import one_program
from lsajax.instance import Instance

LEAKAGE_REACH = 2
"""Channels further apart than this leak nothing into each other, unless `leakage` is given."""

_ROWS = 128  # of the users' coupling at a time


@one_program
def coupling_at(
    inst: Instance, i: Int[ArrayLike, "..."], j: Int[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """G_ij of rows that broadcast against each other; see `user_coupling`."""
    i, j = jnp.asarray(i), jnp.asarray(j)
    if inst.coupling is not None:
        coupling = inst.coupling[i, j]
    else:
        squared = jnp.sum((inst.position_m[i] - inst.position_m[j]) ** 2, axis=-1)
        positive = squared > 0
        distance = jnp.sqrt(jnp.where(positive, squared, 1.0))
        coupling = jnp.where(positive, jnp.exp(-distance / inst.coupling_length_m), 1.0)
    return jnp.where((i != j) & inst.user_mask[i] & inst.user_mask[j], coupling, 0.0)


@one_program
def user_coupling(inst: Instance) -> Float[Array, "users users"]:
    """G_ij of Eq. (8) [users, users]: `inst.coupling`, or exp(-||p_i - p_j|| / length).

    0 on the diagonal and for padding. Users close together cannot be told apart in space, so what
    one leaks into the other's channel is received in full.
    """
    rows = jnp.arange(inst.num_rows)
    return coupling_at(inst, rows[:, None], rows)


@one_program
def channel_leakage(inst: Instance) -> Float[Array, "channels channels"]:
    """rho_mn of Eq. (8) [channels, channels]: `inst.leakage`, or the power of a distance.

    That is leakage^|m - n| for |m - n| of 1 and 2, else 0.
    """
    if inst.leakage is not None:
        return inst.leakage
    channel = jnp.arange(inst.num_channels)
    apart = jnp.abs(channel[:, None] - channel)
    near = (apart >= 1) & (apart <= LEAKAGE_REACH)
    return jnp.where(near, inst.adjacent_leakage**apart, 0.0)


def coupling_loss(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Float[Array, ""]:
    """mu sum_{i,j} sum_{m,n} G_ij rho_mn x_im x_jn [bit/s], whatever the objective is.

    In O(K), since only near channels leak; in O(K^2) with one's own `leakage`. Of users that share
    a channel the last row alone is seen.
    """
    return _coupling_loss(inst, link.place(inst, assignment))


@one_program
def _coupling_loss(inst: Instance, placed: link.Placement) -> Float[Array, ""]:
    rows = jnp.arange(inst.num_rows, dtype=jnp.int32)
    holder = jnp.full(inst.num_channels, -1, jnp.int32).at[placed.target].max(rows, mode="drop")
    if inst.leakage is not None:
        alone = placed.served & (holder[placed.channel] == rows)
        both = alone[:, None] & alone
        leakage = inst.leakage[placed.channel[:, None], placed.channel]
        return inst.coupling_bps * jnp.sum(jnp.where(both, user_coupling(inst) * leakage, 0.0))
    loss = jnp.zeros(())
    for apart in range(1, LEAKAGE_REACH + 1):
        # A pair is met once, from its lower channel; the sum in Eq. (8) counts it twice.
        lower, upper = holder[: holder.size - apart], holder[apart:]
        both = (lower >= 0) & (upper >= 0)
        pair = coupling_at(inst, jnp.where(both, lower, 0), jnp.where(both, upper, 0))
        loss = loss + 2 * inst.adjacent_leakage**apart * jnp.sum(jnp.where(both, pair, 0.0))
    return inst.coupling_bps * loss


@one_program
def expected_random_loss(inst: Instance) -> Float[Array, ""]:
    """Exact mean of `coupling_loss` over all random valid assignments [bit/s].

    Two users are on two given idle channels with probability 1 / (n (n - 1)), n the larger of the
    numbers of users and of idle channels. G is summed in chunks of rows.
    """
    rows = jnp.arange(inst.num_rows)
    of_rows = jax.lax.map(
        lambda i: jnp.sum(coupling_at(inst, i, rows)), rows, batch_size=min(_ROWS, inst.num_rows)
    )
    idle = ~inst.occupied
    if inst.leakage is not None:
        leakage = jnp.sum(jnp.where(idle[:, None] & idle, inst.leakage, 0.0))
    else:
        leakage = jnp.zeros(())
        for apart in range(1, LEAKAGE_REACH + 1):
            pairs = jnp.sum(idle[: idle.size - apart] & idle[apart:])
            leakage = leakage + 2 * inst.adjacent_leakage**apart * pairs
    n = jnp.maximum(jnp.maximum(jnp.sum(idle), jnp.sum(inst.user_mask)), 2).astype(leakage.dtype)
    return inst.coupling_bps * jnp.sum(of_rows) * leakage / (n * (n - 1))

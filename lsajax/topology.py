"""Where users are: a homogeneous Poisson process in a disc around the base station."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, UInt32

from lsajax import hashing


def disc_polar(
    seed: UInt32[Array, "2"], user_id: Int32[Array, "users"], radius_m: Float[Array, ""] | float
) -> tuple[Float[Array, "users"], Float[Array, "users"]]:
    """Distance [users] in m to the station and azimuth [users] in rad, uniform in the disc.

    Conditioned on its count, a Poisson process is that many independent uniform points. A user's
    point is a function of (seed, user), so only the users of interest are evaluated and they stay
    where they are from slot to slot. Polar, because the link budget needs the distance alone: where
    the positions are not read, their sines are never computed.
    """
    distance_m = radius_m * jnp.sqrt(hashing.uniform(seed, user_id, jnp.uint32(0)))
    return distance_m, 2 * jnp.pi * hashing.uniform(seed, user_id, jnp.uint32(1))


def cartesian(
    distance_m: Float[Array, "users"], azimuth_rad: Float[Array, "users"]
) -> Float[Array, "users 2"]:
    """Positions [users, 2] in m, the station at (0, 0)."""
    x, y = jnp.cos(azimuth_rad), jnp.sin(azimuth_rad)
    return distance_m[:, None] * jnp.stack([x, y], axis=-1)


def stratified_ids(seed: UInt32[Array, "2"], num: int, num_users: int) -> Int32[Array, "num"]:
    """`num` distinct user ids out of `num_users`, ascending, one drawn from each of `num` strata.

    Users are exchangeable (their positions do not depend on their ids), so any choice of distinct
    ids gives a slot of the same law; this one needs no sort. `num` is at most `num_users`.
    """
    edges = [k * num_users // num for k in range(num + 1)]
    low = jnp.asarray(edges[:-1], jnp.int32)
    width = jnp.asarray(edges[1:], jnp.int32) - low
    step = (hashing.uniform(seed, jnp.arange(num)) * width).astype(jnp.int32)
    return low + jnp.minimum(step, width - 1)


def poisson_mask(key: jax.Array, mean: ArrayLike, size: int) -> Bool[Array, "size"]:
    """Mask [size] whose first entries are True, their number Poisson with `mean`, cut at `size`."""
    return jnp.arange(size) < jax.random.poisson(key, mean)

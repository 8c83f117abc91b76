"""Where users are: a homogeneous Poisson process in a disc around the base station."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, UInt32

from lsajax import hashing
from lsajax._numerics import one_program

WAVES = 128


@one_program
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


@one_program
def cartesian(
    distance_m: Float[Array, "users"], azimuth_rad: Float[Array, "users"]
) -> Float[Array, "users 2"]:
    """Positions [users, 2] in m, the station at (0, 0)."""
    x, y = jnp.cos(azimuth_rad), jnp.sin(azimuth_rad)
    return distance_m[:, None] * jnp.stack([x, y], axis=-1)


@partial(one_program, static_argnames=("num", "num_users"))
def stratified_ids(seed: UInt32[Array, "2"], num: int, num_users: int) -> Int32[Array, "num"]:
    """`num` distinct user ids out of `num_users`, one drawn from each of `num` strata.

    Which ids they are does not matter to the law of a slot, since a user's position does not depend
    on its id; so they need no sort. The strata are turned around by a random shift: each id is
    drawn with the same probability. `num` is at most `num_users`.
    """
    edges = [k * num_users // num for k in range(num + 1)]
    low = jnp.asarray(edges[:-1], jnp.int32)
    width = jnp.asarray(edges[1:], jnp.int32) - low
    step = (hashing.uniform(seed, jnp.arange(num)) * width).astype(jnp.int32)
    shift = (hashing.uniform(seed, -1) * num_users).astype(jnp.int32)
    return (low + jnp.minimum(step, width - 1) + shift) % num_users


@one_program
def correlated_normal(
    seed: UInt32[Array, "2"],
    position_m: Float[Array, "users 2"],
    distance_m: Float[Array, ""] | float,
) -> Float[Array, "users"]:
    """Standard normal draws [users] of one field over the plane, correlation exp(-d / distance_m).

    A sum of `WAVES` plane waves whose wave numbers follow the spectral density of that correlation
    (over draws of the seed it is exact; the marginal law is normal but for its far tail). A user's
    draw is a function of where it is: no matrix of users by users.
    """
    wave = jnp.arange(WAVES)
    u, angle, phase = (hashing.uniform(seed, wave, k) for k in range(3))
    # In the plane the density of the wave number k is (1 + (k d)^2)^(-3/2) k d^2.
    number = jnp.sqrt(1.0 / u**2 - 1.0) / distance_m
    direction = 2 * jnp.pi * angle
    along = position_m @ jnp.stack([number * jnp.cos(direction), number * jnp.sin(direction)])
    return jnp.sqrt(2.0 / WAVES) * jnp.sum(jnp.cos(along + 2 * jnp.pi * phase), axis=-1)

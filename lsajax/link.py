"""The link budget: received power (Eq. 2), Shannon rate (Eq. 3), as a matrix or entry by entry."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, Integer

from lsajax import hashing, units
from lsajax._numerics import log1p
from lsajax.instance import Instance


def received_power(
    distance_m: ArrayLike,
    *,
    tx_power_w: ArrayLike,
    carrier_hz: ArrayLike,
    path_loss_exponent: ArrayLike,
    tx_gain: ArrayLike = 1.0,
    rx_gain: ArrayLike = 1.0,
) -> Float[Array, "..."]:
    """P = P_t G_t G_r (lambda / 4 pi)^2 D^-alpha [W], LSA Eq. (2); arguments broadcast.

    Args:
        distance_m: D [m]; below 1 m counts as 1 m, with gradient 0.
        tx_power_w: P_t [W].
        carrier_hz: c / lambda [Hz].
        path_loss_exponent: alpha.
        tx_gain: G_t, a ratio, not dB.
        rx_gain: G_r, a ratio, not dB.
    """
    # As a float first: 2_400_000_000 Hz is no int32.
    wavelength_m = units.SPEED_OF_LIGHT_M_S / jnp.asarray(carrier_hz, float)
    path_gain = (wavelength_m / (4 * jnp.pi)) ** 2 * jnp.maximum(distance_m, 1.0) ** (
        -jnp.asarray(path_loss_exponent)
    )
    return path_gain * tx_power_w * tx_gain * rx_gain


def shannon_rate(
    power_w: ArrayLike,
    bandwidth_hz: ArrayLike,
    noise_psd_w_hz: ArrayLike,
    interference_w: ArrayLike = 0.0,
) -> Float[Array, "..."]:
    """r = B log2(1 + P / (N_0 B + I)) [bit/s], LSA Eq. (3); arguments broadcast.

    Finite, with finite gradients, for P >= 0, B > 0 and N_0 > 0; exact to the last bits also at
    an SINR far below 1.
    """
    sinr = jnp.asarray(power_w) / (noise_psd_w_hz * jnp.asarray(bandwidth_hz) + interference_w)
    return log1p(sinr) * (1 / math.log(2)) * bandwidth_hz


def channel_power(inst: Instance) -> Float[Array, "users channels"]:
    """Received power P_im [users, channels] in W, fading included; [users, 1] where it is alike."""
    power = inst.mean_power_w[:, None]
    if inst.wideband:
        power = power * inst.carrier_gain
    if inst.fading:
        channel = jnp.arange(inst.num_channels)
        power = power * hashing.exponential(inst.fading_seed, inst.user_id[:, None], channel)
    return power


def rate_matrix(inst: Instance) -> Float[Array, "users channels"]:
    """r_im [users, channels] in bit/s; 0 at occupied channels and padded users."""
    interference = inst.interference_w if inst.interference else 0.0
    rate = shannon_rate(channel_power(inst), inst.bandwidth_hz, inst.noise_psd_w_hz, interference)
    return jnp.where(inst.user_mask[:, None] & ~inst.occupied, rate, 0.0)


def as_assignment(inst: Instance, assignment: ArrayLike) -> Int32[Array, "users"]:
    """`assignment` as i32[users]; what lies beyond int32 becomes -2, which is no channel either.

    Raises:
        ValueError: not integers, or not one per user; static facts, so also under jit.
    """
    array = jnp.asarray(assignment)
    if array.shape != (inst.num_rows,) or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(
            f"assignment must be {inst.num_rows} integers, one per user, got shape {array.shape} "
            f"of {array.dtype}; map over a batch with jax.vmap"
        )
    if array.dtype.itemsize > 4 or array.dtype == jnp.uint32:
        known = array < inst.num_channels
        if jnp.issubdtype(array.dtype, jnp.signedinteger):
            known = known & (array >= -1)
        array = jnp.where(known, array, jnp.zeros((), array.dtype)).astype(jnp.int32)
        return jnp.where(known, array, -2)
    return array.astype(jnp.int32)


def is_served(inst: Instance, assignment: Integer[Array, "users"]) -> Bool[Array, "users"]:
    """Whether each user asks for a channel that exists and is idle."""
    assignment = as_assignment(inst, assignment)
    known = (assignment >= 0) & (assignment < inst.num_channels)
    idle = ~inst.occupied[jnp.where(known, assignment, 0)]
    return inst.user_mask & known & idle


def assigned_power(inst: Instance, assignment: Integer[Array, "users"]) -> Float[Array, "users"]:
    """P_im [users] in W on each user's own channel; 0 where `is_served` is False."""
    assignment = as_assignment(inst, assignment)
    served = is_served(inst, assignment)
    channel = jnp.where(served, assignment, 0)
    power = inst.mean_power_w
    if inst.wideband:
        power = power * inst.carrier_gain[channel]
    if inst.fading:
        power = power * hashing.exponential(inst.fading_seed, inst.user_id, channel)
    return jnp.where(served, power, 0.0)


def assigned_rate(
    inst: Instance,
    assignment: Integer[Array, "users"],
    co_channel_w: Float[Array, "users"] | None = None,
) -> Float[Array, "users"]:
    """r_im [users] in bit/s of the N entries asked for; equals `rate_matrix` there.

    Args:
        assignment: [users] channel of each user; anything out of range has rate 0.
        co_channel_w: [users] power of other users on the same channel [W], added to I_m.
    """
    assignment = as_assignment(inst, assignment)
    power = assigned_power(inst, assignment)
    channel = jnp.where(is_served(inst, assignment), assignment, 0)
    interference = inst.interference_w[channel] if inst.interference else jnp.zeros(())
    if co_channel_w is not None:
        interference = interference + co_channel_w
    return shannon_rate(power, inst.bandwidth_hz[channel], inst.noise_psd_w_hz, interference)

"""The link budget: received power (Eq. 2), Shannon rate (Eq. 3), as a matrix or entry by entry."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32, Integer

from lsajax import units
from lsajax._numerics import as_float, log1p_ratio, one_program
from lsajax.fading import power_gain
from lsajax.instance import Instance


class Placement(NamedTuple):
    """Where the users of an assignment end up.

    Attributes:
        served: whether a user asks for a channel that exists and is idle.
        channel: its channel to read from; 0 where it is not served.
        target: its channel to scatter to with `mode="drop"`; M where it is not served.
    """

    served: Bool[Array, "users"]
    channel: Int32[Array, "users"]
    target: Int32[Array, "users"]


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
    of_floats = (distance_m, tx_power_w, carrier_hz, path_loss_exponent, tx_gain, rx_gain)
    return _received_power(*map(as_float, of_floats))


@one_program
def _received_power(
    distance_m: Array,
    tx_power_w: Array,
    carrier_hz: Array,
    path_loss_exponent: Array,
    tx_gain: Array,
    rx_gain: Array,
) -> Float[Array, "..."]:
    wavelength_m = units.SPEED_OF_LIGHT_M_S / carrier_hz
    spread = jnp.maximum(distance_m, 1.0) ** -path_loss_exponent
    path_gain = (wavelength_m / (4 * jnp.pi)) ** 2 * spread
    return path_gain * tx_power_w * tx_gain * rx_gain


def shannon_rate(
    power_w: ArrayLike,
    bandwidth_hz: ArrayLike,
    noise_psd_w_hz: ArrayLike,
    interference_w: ArrayLike = 0.0,
) -> Float[Array, "..."]:
    """r = B log2(1 + P / (N_0 B + I)) [bit/s], LSA Eq. (3); arguments broadcast.

    Finite, with finite gradients, for P >= 0, B > 0 and N_0 > 0; exact to the last bits also at
    an SINR far below 1. An SINR beyond the type's range counts as its largest number.
    """
    of_floats = (power_w, bandwidth_hz, noise_psd_w_hz, interference_w)
    return _shannon_rate(*map(as_float, of_floats))


@one_program
def _shannon_rate(
    power: Array, bandwidth: Array, noise_psd: Array, interference_w: Array
) -> Float[Array, "..."]:
    floor_w = noise_psd * bandwidth + interference_w
    dtype = jnp.result_type(power, floor_w)
    # A product that is too small for the type is flushed to 0, and 0 / 0 would follow.
    floor_w = jnp.maximum(floor_w, jnp.finfo(dtype).tiny).astype(dtype)
    return log1p_ratio(power.astype(dtype), floor_w) * (1 / math.log(2)) * bandwidth


@one_program
def power_at(
    inst: Instance, row: Int[ArrayLike, "..."] | None, channel: Int[ArrayLike, "..."] | None
) -> Float[Array, "..."]:
    """Received power P_im in W, fading included, at pairs of rows and channels.

    Args:
        row: indices that broadcast against `channel`; None for all rows, in their order.
        channel: indices; None for all channels along a last axis of their own, which has length 1
            where the power is alike on all.
    """
    power, user = inst.mean_power_w, inst.user_id
    if inst.power_per_pair and channel is not None:
        power = power[jnp.arange(inst.num_rows) if row is None else row, channel]
        user = user if row is None else user[row]
    else:
        power, user = (power, user) if row is None else (power[row], user[row])
        if channel is None:
            power, user = power if inst.power_per_pair else power[..., None], user[..., None]
    if inst.carrier_gain is not None:
        power = power * _at(inst.carrier_gain, channel)
    if inst.fading is not None:
        at = jnp.arange(inst.num_channels) if channel is None else channel
        power = power * power_gain(inst.fading, user, at)
    return power


@one_program
def interference_at(
    inst: Instance, row: Int[ArrayLike, "..."] | None, channel: Int[ArrayLike, "..."] | None
) -> Float[Array, "..."]:
    """I_m in W at pairs of rows and channels, as in `power_at`; 0 where there is none."""
    if inst.interference_w is None:
        return jnp.zeros(())
    if not inst.interference_per_pair:
        return _at(inst.interference_w, channel)
    if channel is None:
        return inst.interference_w if row is None else inst.interference_w[row]
    return inst.interference_w[jnp.arange(inst.num_rows) if row is None else row, channel]


@one_program
def rate_at(
    inst: Instance, row: Int[ArrayLike, "..."] | None, channel: Int[ArrayLike, "..."] | None
) -> Float[Array, "..."]:
    """r_im in bit/s at pairs of rows and channels, as in `power_at`, whoever may use them."""
    power, bandwidth = power_at(inst, row, channel), _at(inst.bandwidth_hz, channel)
    return rate_of(inst, power, bandwidth, interference_at(inst, row, channel))


def _at(of_channels: Array, channel: ArrayLike | None) -> Array:
    return of_channels if channel is None else of_channels[channel]


def rate_of(
    inst: Instance, power_w: ArrayLike, bandwidth_hz: ArrayLike, interference_w: ArrayLike
) -> Float[Array, "..."]:
    """Eq. (3) with the instance's gap to capacity and its highest spectral efficiency [bit/s]."""
    if inst.snr_gap is not None:
        power_w = power_w / inst.snr_gap
    rate = shannon_rate(power_w, bandwidth_hz, inst.noise_psd_w_hz, interference_w)
    if inst.max_spectral_efficiency is not None:
        rate = jnp.minimum(rate, inst.max_spectral_efficiency * bandwidth_hz)
    return rate


def channel_power(inst: Instance) -> Float[Array, "users channels"]:
    """Received power P_im [users, channels] in W, fading included; [users, 1] where it is alike."""
    return power_at(inst, None, None)


def rate_matrix(inst: Instance) -> Float[Array, "users channels"]:
    """r_im [users, channels] in bit/s; 0 at occupied channels and padded users.

    Raises:
        ValueError: a batch of instances, which has to come through `jax.vmap`.
    """
    check_one_slot(inst)
    return _rate_matrix(inst)


@one_program
def _rate_matrix(inst: Instance) -> Float[Array, "users channels"]:
    return jnp.where(inst.user_mask[:, None] & ~inst.occupied, rate_at(inst, None, None), 0.0)


def as_channels(inst: Instance, raw: Integer[ArrayLike, "..."]) -> Int32[Array, "..."]:
    """Integers of any width as int32; one beyond int32, which is no channel, becomes -2."""
    # On the host where it is a NumPy array: JAX would wrap its 64 bits first.
    xp = jnp if isinstance(raw, jax.Array) else np
    array = xp.asarray(raw)
    if array.dtype.itemsize > 4 or array.dtype == np.uint32:
        known = array < inst.num_channels
        if np.issubdtype(array.dtype, np.signedinteger):
            known = known & (array >= -1)
        array = xp.where(known, xp.where(known, array, 0).astype(np.int32), np.int32(-2))
    return jnp.asarray(array, jnp.int32)


def as_assignment(inst: Instance, assignment: ArrayLike) -> Int32[Array, "users"]:
    """`assignment` as i32[users]; what lies beyond int32 becomes -2, which is no channel either.

    Raises:
        ValueError: not integers, or not one per user; static facts, so also under jit.
    """
    array = assignment if isinstance(assignment, jax.Array) else np.asarray(assignment)
    if array.shape != (inst.num_rows,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"assignment must be {inst.num_rows} integers, one per user, got shape {array.shape} "
            f"of {array.dtype}; map over a batch with jax.vmap"
        )
    return as_channels(inst, array)


def place(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Placement:
    """Who of `assignment` is served and where."""
    return _place(inst, as_assignment(inst, assignment))


@one_program
def _place(inst: Instance, assignment: Int32[Array, "users"]) -> Placement:
    known = (assignment >= 0) & (assignment < inst.num_channels)
    served = inst.user_mask & known & ~inst.occupied[jnp.where(known, assignment, 0)]
    channel = jnp.where(served, assignment, 0)
    return Placement(served, channel, jnp.where(served, assignment, inst.num_channels))


def is_served(inst: Instance, assignment: Integer[ArrayLike, "users"]) -> Bool[Array, "users"]:
    """Whether each user asks for a channel that exists and is idle."""
    return place(inst, assignment).served


def assigned_power(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Float[Array, "users"]:
    """P_im [users] in W on each user's own channel; 0 where `is_served` is False."""
    return _assigned_power(inst, place(inst, assignment))


@one_program
def _assigned_power(inst: Instance, placed: Placement) -> Float[Array, "users"]:
    return jnp.where(placed.served, power_at(inst, None, placed.channel), 0.0)


def assigned_interference(
    inst: Instance, assignment: Integer[ArrayLike, "users"]
) -> Float[Array, "users"]:
    """I_m [users] in W on each user's own channel."""
    channel = place(inst, assignment).channel
    return jnp.broadcast_to(interference_at(inst, None, channel), channel.shape)


def assigned_rate(
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    co_channel_w: Float[ArrayLike, "users"] | None = None,
) -> Float[Array, "users"]:
    """r_im [users] in bit/s of the N entries asked for; equals `rate_matrix` there.

    Args:
        assignment: [users] channel of each user; anything out of range has rate 0.
        co_channel_w: [users] power of other users on the same channel [W], added to I_m.
    """
    return _assigned_rate(inst, place(inst, assignment), co_channel_w)


@one_program
def _assigned_rate(
    inst: Instance, placed: Placement, co_channel_w: ArrayLike | None
) -> Float[Array, "users"]:
    interference = interference_at(inst, None, placed.channel)
    if co_channel_w is not None:
        interference = interference + co_channel_w
    # Power 0 has rate 0; the same powers are what `objective.co_channel_power` sums up.
    power = _assigned_power(inst, placed)
    return rate_of(inst, power, inst.bandwidth_hz[placed.channel], interference)


def check_one_slot(inst: Instance) -> None:
    """Raises ValueError for a batch of instances, which has to come through vmap."""
    if inst.user_mask.ndim != 1 or inst.bandwidth_hz.ndim != 1:
        raise ValueError(
            f"inst must be one slot, got a batch with mean_power_w {list(inst.mean_power_w.shape)} "
            f"and bandwidth_hz {list(inst.bandwidth_hz.shape)}; map over a batch with jax.vmap"
        )

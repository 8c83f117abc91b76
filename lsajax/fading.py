"""Small-scale fading: the power gain h_im, evaluated at the entries that somebody asks for."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt32

from lsajax import hashing
from lsajax._numerics import one_program

TAPS = 12
"""Paths of a tapped delay line; with so many, a channel's gain is Rayleigh but for its far tail."""


class Multipath(NamedTuple):
    """A tapped delay line per user: `TAPS` paths of equal power.

    Delays are exponential with mean `delay_spread_s`, arrival angles uniform, so that the
    correlation over a frequency distance f is 1 / (1 + j 2 pi f delay_spread_s), and over a time
    t it is J0(2 pi doppler_hz t) (Clarke's model).

    Attributes:
        frequency_hz: centre of each channel above that of the first one [Hz].
        time_s: time of the slot [s].
        delay_spread_s: root mean square of the delays about their mean [s].
        doppler_hz: largest Doppler shift, speed times carrier over the speed of light [Hz].
    """

    frequency_hz: Float[Array, "channels"]
    time_s: Float[Array, ""]
    delay_spread_s: Float[Array, ""]
    doppler_hz: Float[Array, ""]


class Fading(NamedTuple):
    """What h_im is a function of, besides user and channel.

    Attributes:
        seed: counter key of all draws.
        rician_factor: power of the direct path over that of all others [1]; None for none, which
            is Rayleigh fading.
        multipath: correlation over frequency and time; None for independent draws.
    """

    seed: UInt32[Array, "2"]
    rician_factor: Float[Array, ""] | None = None
    multipath: Multipath | None = None


@one_program
def power_gain(
    fading: Fading, user_id: Int[ArrayLike, "..."], channel: Int[ArrayLike, "..."]
) -> Float[Array, "..."]:
    """h_im, of mean 1, at users and channels that broadcast against each other."""
    if fading.multipath is not None:
        return _tapped_delay_line(fading, fading.multipath, user_id, channel)
    scattered = hashing.exponential(fading.seed, user_id, channel)
    if fading.rician_factor is None:
        return scattered
    phase = _turns(fading.seed, "phase", user_id, channel)
    return _with_direct_path(
        fading.rician_factor,
        jnp.sqrt(scattered) * jnp.cos(2 * jnp.pi * phase),
        jnp.sqrt(scattered) * jnp.sin(2 * jnp.pi * phase),
        jnp.zeros(()),
    )


@jax.jit  # a loop's body is compiled at each call otherwise
def _tapped_delay_line(
    fading: Fading, paths: Multipath, user_id: ArrayLike, channel: ArrayLike
) -> Float[Array, "..."]:
    frequency_hz = paths.frequency_hz[jnp.asarray(channel)]

    def add(total: tuple[Array, Array], tap: Array) -> tuple[tuple[Array, Array], None]:
        delay_s = paths.delay_spread_s * -jnp.log(_turns(fading.seed, "delay", user_id, tap))
        turns = _drifted_phase(fading.seed, paths, user_id, tap) - _lag(frequency_hz, delay_s)
        angle = 2 * jnp.pi * _fraction(turns)
        return (total[0] + jnp.cos(angle), total[1] + jnp.sin(angle)), None

    # A loop: twelve copies of its body take ten seconds to compile with their gradient.
    shape = jnp.broadcast_shapes(jnp.shape(user_id), jnp.shape(channel))
    none = jnp.zeros(shape, frequency_hz.dtype)
    (real, imaginary), _ = lax.scan(add, (none, none), jnp.arange(TAPS))
    real, imaginary = real / TAPS**0.5, imaginary / TAPS**0.5
    if fading.rician_factor is None:
        return real**2 + imaginary**2
    # The direct path arrives first, at delay 0.
    direct = 2 * jnp.pi * _fraction(_drifted_phase(fading.seed, paths, user_id, TAPS))
    return _with_direct_path(fading.rician_factor, real, imaginary, direct)


def _drifted_phase(
    seed: Array, paths: Multipath, user_id: ArrayLike, tap: ArrayLike
) -> Float[Array, "..."]:
    """Phase of a path at the slot's time [1 = a whole turn]."""
    angle = 2 * jnp.pi * _turns(seed, "angle", user_id, tap)
    drift = paths.doppler_hz * paths.time_s * jnp.cos(angle)
    return _turns(seed, "phase", user_id, tap) + drift


def _with_direct_path(
    rician_factor: ArrayLike, real: Array, imaginary: Array, phase: Array
) -> Float[Array, "..."]:
    """|sqrt(K / (K + 1)) e^(j phase) + sqrt(1 / (K + 1)) (real + j imaginary)|^2."""
    factor = jnp.asarray(rician_factor)
    # The slope of a root at 0 is infinite, and 0 times that is no number.
    direct = jnp.where(factor > 0, jnp.sqrt(jnp.where(factor > 0, factor, 1.0)), 0.0)
    scattered = 1.0 / (1.0 + factor)
    across = direct * jnp.cos(phase) + real
    along = direct * jnp.sin(phase) + imaginary
    return scattered * (across**2 + along**2)


_PURPOSES = {"phase": 0x9E37, "delay": 0x79B9, "angle": 0x7F4A}


def _turns(seed: Array, purpose: str, i: ArrayLike, j: ArrayLike) -> Float[Array, "..."]:
    """Uniform draws in (0, 1) of a stream of their own below `seed`."""
    own = hashing.bits(seed, jnp.arange(2), _PURPOSES[purpose])
    return hashing.uniform(own, i, j)


def _lag(frequency_hz: Array, delay_s: Array) -> Array:
    """f d in turns, but for whole ones.

    Over a wide band there are thousands, whose last bits depend on what a compiler fuses: an entry
    by itself would differ from that of the matrix. So factors have half the digits each, and their
    products are exact.
    """
    float_type = jnp.finfo(frequency_hz.dtype)
    half = (float_type.nexp, float_type.nmant // 2)
    delay_s = jax.lax.reduce_precision(delay_s, *half)
    coarse_hz = jax.lax.reduce_precision(frequency_hz, *half)
    return _fraction(coarse_hz * delay_s) + (frequency_hz - coarse_hz) * delay_s


def _fraction(turns: Array) -> Array:
    """Whole turns taken away: sines of large arguments cost more, and say the same."""
    return turns - jnp.round(turns)

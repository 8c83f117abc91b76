"""Small instances of every setting, and random raw actions with every kind of fault."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa
from lsajax import fading, hashing

# Whatever a separable objective may be made of; each has a `value_matrix`.
SETTINGS = {
    **lsa.SETTINGS,
    "all": {"fading": True, "wideband": True, "interference": True},
    "values": {
        "multipath": True, "objective": "fair", "alpha": 0.5, "rician_factor_db": 3.0,
        "weight_max": 4.0, "min_rate_bps": 9e7, "min_rate_value": 20.0, "snr_gap_db": 6.0,
        "max_spectral_efficiency": 7.4, "noise_figure_db": 5.0,
    },
    "pairs": {},
}  # fmt: skip
COUPLED = {"objective": "coupled", "weight_max": 3.0, "fading": True}


def with_slow(settings):
    """Settings as parameters, slow where one by itself is a part of "all"."""
    slow = ("fading", "wideband", "interference")
    return [pytest.param(s, marks=pytest.mark.slow if s in slow else ()) for s in settings]


@functools.cache
def instance(setting="plain", seed=0, users=12, channels=15, active=6, **changes):
    """One slot of a setting of `SETTINGS`, or 'coupled'."""
    scenario = lsa.Scenario(num_users=users, num_channels=channels, num_active=active)
    own = COUPLED if setting == "coupled" else SETTINGS[setting]
    scenario = scenario.replace(**{**own, **changes})
    inst = lsa.sample_instance(jax.random.key(seed), scenario)
    return per_pair(inst, seed) if setting == "pairs" else inst


def per_pair(inst, seed=0):
    """The instance with power and interference of each user on each channel."""
    rng = np.random.default_rng(seed)
    shape = inst.num_rows, inst.num_channels
    power = np.asarray(inst.mean_power_w)[:, None] * rng.exponential(size=shape)
    noise = float(inst.noise_psd_w_hz) * np.asarray(inst.bandwidth_hz)
    interference = noise * rng.exponential(3.0, shape) * (rng.uniform(size=shape) < 0.6)
    return inst.replace(
        mean_power_w=jnp.asarray(power, float), interference_w=jnp.asarray(interference, float)
    )


def fading_gain(inst):
    """The fading power gain [users, channels] in float64 of the same draws; None for none."""
    if inst.fading is None:
        return None
    seed, factor, paths = inst.fading

    def draws(purpose, columns):
        turns = fading._turns(seed, purpose, inst.user_id[:, None], jnp.arange(columns))
        return np.asarray(turns, np.float64)

    if paths is None:
        user, channel = inst.user_id[:, None], jnp.arange(inst.num_channels)
        power = np.asarray(hashing.exponential(seed, user, channel), np.float64)
        if factor is None:
            return power
        gain = np.sqrt(power) * np.exp(2j * np.pi * draws("phase", inst.num_channels))
        direct = 1.0
    else:
        moved = float(paths.doppler_hz) * float(paths.time_s)
        phase, angle = (draws(name, fading.TAPS + 1) for name in ("phase", "angle"))
        turns = phase + moved * np.cos(2 * np.pi * angle)  # [user, tap], the direct path last
        delay = -float(paths.delay_spread_s) * np.log(draws("delay", fading.TAPS))
        digits = 12 if paths.frequency_hz.dtype == np.float32 else 27  # the half of a float's
        mantissa, exponent = np.frexp(delay)
        delay = np.ldexp(np.round(np.ldexp(mantissa, digits)), exponent - digits)
        frequency = np.asarray(paths.frequency_hz, np.float64)
        of_tap = turns[:, None, :-1] - frequency[:, None] * delay[:, None]
        gain = np.exp(2j * np.pi * of_tap).sum(axis=-1) / np.sqrt(fading.TAPS)
        direct = np.exp(2j * np.pi * turns[:, -1:])
    ratio = 0.0 if factor is None else float(factor)
    return np.abs(np.sqrt(ratio) * direct + gain) ** 2 / (1 + ratio)


def raw_action(inst, seed):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(-3, inst.num_channels + 3, inst.num_rows), jnp.int32)

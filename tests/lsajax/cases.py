"""Small instances of every setting, and random raw actions with every kind of fault."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import lsajax as lsa
from lsajax import hashing

SETTINGS = {**lsa.SETTINGS, "all": {"fading": True, "wideband": True, "interference": True}}

# Eagerly each operation is compiled by itself.
sample_instance = jax.jit(lsa.sample_instance, static_argnums=1)


@functools.cache
def instance(setting="plain", seed=0, users=12, channels=15, active=6, **changes):
    scenario = lsa.Scenario(num_users=users, num_channels=channels, num_active=active)
    scenario = scenario.replace(**SETTINGS[setting], **changes)
    return sample_instance(jax.random.key(seed), scenario)


def fading_gain(inst):
    """The fading power gain [users, channels] in float64; None where there is none."""
    if not inst.fading:
        return None
    channel = np.arange(inst.num_channels)
    return np.asarray(
        hashing.exponential(inst.fading_seed, inst.user_id[:, None], channel), np.float64
    )


def raw_action(inst, seed):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(-3, inst.num_channels + 3, inst.num_rows), jnp.int32)

"""The matrices of the assignment benchmark: rates of sampled instances, and random ones."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lsajax as lsa

RATES: dict[str, dict[str, Any]] = {
    "plain": {},
    "fading": {"fading": True},
    "wideband": {"wideband": True},
    "both": {"fading": True, "wideband": True},
}


def _heavy(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Exponential entries, each row times an exponential number: a few rows weigh most."""
    return rng.exponential(size=(*shape[:2], 1)) * rng.exponential(size=shape)


# To maximise; where the name says otherwise the sign is turned, which is exact.
RANDOM: dict[str, Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]] = {
    "heavy": _heavy,
    "heavy, min": lambda rng, shape: -_heavy(rng, shape),
    "log heavy, min": lambda rng, shape: -np.log2(1 + _heavy(rng, shape)),
    "integers": lambda rng, shape: rng.integers(0, 10, shape),
    "uniform, min": lambda rng, shape: -rng.random(shape),
}


def instances(kind: str, batch: int, size: int) -> lsa.Instance:
    """`batch` instances of `size` users on `size` idle channels [batch, ...]."""
    scenario = lsa.Scenario(
        num_users=size, num_channels=size, num_active=size, occupancy=0.0, **RATES[kind]
    )
    keys = jax.random.split(jax.random.key(1), batch)
    return jax.jit(jax.vmap(lambda key: lsa.sample_instance(key, scenario)))(keys)


def matrices(kind: str, batch: int, size: int) -> np.ndarray:
    """Values to maximise, float32 [batch, size, size]."""
    if kind in RATES:
        return np.asarray(jax.jit(jax.vmap(lsa.rate_matrix))(instances(kind, batch, size)))
    rng = np.random.default_rng(size)
    return RANDOM[kind](rng, (batch, size, size)).astype(np.float32)


def slots_trace(size: int, slots: int, drift_db: float) -> np.ndarray:
    """Rates [slots, users, channels] of one network whose link gains drift from slot to slot."""
    inst = jax.tree.map(lambda leaf: leaf[0], instances("both", 1, size))
    rng = np.random.default_rng(0)
    power = np.asarray(lsa.channel_power(inst), np.float64)
    bandwidth = np.asarray(inst.bandwidth_hz, np.float64)
    noise = float(inst.noise_psd_w_hz) * bandwidth
    out = []
    for _ in range(slots):
        out.append(bandwidth * np.log2(1 + power / noise))
        power = power * 10 ** (drift_db / 10 * rng.normal(size=power.shape))
    return np.stack(out).astype(np.float32)

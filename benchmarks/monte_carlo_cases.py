"""What the Monte Carlo benchmark computes: settings and sizes, and a measure of each kind."""

import jax
import jax.numpy as jnp

import lsajax as lsa

CHANNELS = 2000
CASES = [
    (what, setting, users)
    for users in (400, 2000)
    for what, settings in (
        ("given", ("plain", "fading")),
        ("repair", ("fading",)),
        ("optimum", ("plain", "fading", "multipath")),
    )
    for setting in settings
]


def scenario(setting: str, users: int) -> lsa.Scenario:
    """N = M = 2000."""
    sizes = {"num_users": CHANNELS, "num_channels": CHANNELS, "num_active": users}
    return lsa.Scenario(**sizes).replace(**lsa.SETTINGS[setting])


def measure(key: jax.Array, inst: lsa.Instance, *, what: str) -> jax.Array:
    """Throughput [Mbit/s] of a given, a repaired or the best assignment."""
    if what == "optimum":
        return lsa.solvers.hungarian(key, inst).value / 1e6
    assignment = jnp.arange(inst.num_rows)
    if what == "repair":
        raw = jax.random.randint(key, (inst.num_rows,), -1, inst.num_channels)
        assignment = lsa.repair(inst, raw)
    return lsa.throughput(inst, assignment) / 1e6


def chunk_of(what: str, setting: str, users: int) -> int:
    """Realisations at once: those of a study's default, or a few where each takes long."""
    if what != "optimum" or setting == "plain":
        return 256
    if users > 400:
        return 2
    return 16 if setting == "fading" else 4

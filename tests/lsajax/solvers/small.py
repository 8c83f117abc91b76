"""Slots small enough to try every assignment, of every objective and of all that values depend on.

One structure compiles once; what varies within it (masks, occupied channels) are values.
"""

import itertools

import jax.numpy as jnp
import numpy as np

from tests.lsajax import cases, oracle

EXTRAS = {
    "rician_factor_db": 3.0, "shadowing": True, "snr_gap_db": 3.0, "max_spectral_efficiency": 6.0,
    "weight_max": 4.0, "min_rate_bps": 9e7,
}  # fmt: skip
WORTH = {"throughput": 1e7, "fair": 1.0, "coupled": 1e7}  # of reaching `min_rate_bps`
STRUCTURES = ("plain", "fading", "multipath", "wideband", "interference", "extras", "pairs")


def instance(structure, objective, seed=0, **sizes):
    """Four users, six channels and a coupling that is worth looking at."""
    sizes = {"users": 12, "channels": 6, "active": 4, "occupancy": 0.0, **sizes}
    own = {"objective": objective}
    if objective == "fair":
        own["alpha"] = 2.0
    if objective == "coupled":
        own |= {"coupling_bps": 6e7, "coupling_length_m": 400.0}
    if structure == "extras":
        own |= {**EXTRAS, "min_rate_value": WORTH[objective]}
    setting = "all" if structure == "extras" else structure
    inst = cases.instance(setting, seed=seed, **sizes, **own)
    return inst.replace(weight=jnp.array([1.0, 2.0, 0.0, 4.0])) if structure == "pairs" else inst


def own_coupling(seed=0):
    """With G and rho of one's own, which reach from any channel to any other."""
    inst = instance("fading", "coupled", seed)
    rng = np.random.default_rng(seed)
    coupling, leakage = (np.triu(rng.random((n, n)), 1) for n in (4, 6))
    return inst.replace(
        coupling=jnp.asarray(coupling + coupling.T, jnp.float32),
        leakage=jnp.asarray(leakage + leakage.T, jnp.float32),
    )


def variants(inst):
    """All rows request; two of them are padding; two idle channels for three users."""
    yield inst
    row, channel = jnp.arange(4), jnp.arange(6)
    yield inst.replace(user_mask=row % 3 == 0, occupied=channel % 5 == 1)
    yield inst.replace(user_mask=row != 1, occupied=(channel != 2) & (channel != 3))


def enumerated(inst):
    """The best value of all assignments that serve as many users as they can, in float64."""
    values = oracle.value_matrix(inst, cases.fading_gain(inst))
    pairs, leakage = np.zeros((inst.num_rows,) * 2), np.zeros((inst.num_channels,) * 2)
    if inst.objective == "coupled":
        pairs = float(inst.coupling_bps) * oracle.user_coupling(inst)
        leakage = oracle.channel_leakage(inst)
    rows, idle = np.flatnonzero(inst.user_mask), np.flatnonzero(~np.asarray(inst.occupied))
    best = -np.inf
    for users in itertools.combinations(rows, min(len(rows), len(idle))):
        u = np.array(users)
        channels = np.array(list(itertools.permutations(idle, len(users))))  # [way, user]
        loss = pairs[np.ix_(u, u)] * leakage[channels[:, :, None], channels[:, None, :]]
        best = max(best, (values[u, channels].sum(axis=1) - loss.sum(axis=(1, 2))).max())
    return best

"""The bound on Eq. (8) is one in spite of float32: it is compared with optima in float64."""

import itertools

import jax
import numpy as np
import pytest
import scipy.optimize

from lsajax import solvers
from tests.lsajax import cases, oracle

coupled_bound = jax.jit(solvers.coupled_bound)


@pytest.mark.parametrize("setting", ["plain", "fading", "wideband", "interference"])
@pytest.mark.parametrize("bandwidth_scale", [1e-6, 1.0, 1e12])
def test_never_below_the_optimum_where_it_is_tight(setting, bandwidth_scale):
    """Without coupling it is the optimum itself, and rounding alone decides."""
    for seed in range(12):
        inst = cases.instance(setting, users=9, channels=8, active=7, seed=seed, coupling_bps=0.0)
        inst = inst.replace(bandwidth_hz=inst.bandwidth_hz * bandwidth_scale)
        rates = oracle.rate_matrix(inst, cases.fading_gain(inst))
        best = rates[scipy.optimize.linear_sum_assignment(rates, maximize=True)].sum()
        assert best <= float(coupled_bound(inst)) <= best * (1 + 1e-5)


def coupled_optimum(inst):
    """Eq. (8) over all assignments that serve as many users as they can, in float64."""
    rates = oracle.rate_matrix(inst, cases.fading_gain(inst))
    rows = np.flatnonzero(inst.user_mask)
    idle = np.flatnonzero(~np.asarray(inst.occupied))
    best = -np.inf
    for users in itertools.combinations(rows, min(len(rows), len(idle))):
        for channels in itertools.permutations(idle, len(users)):
            assignment = np.full(inst.num_rows, -1)
            assignment[list(users)] = channels
            value = rates[list(users), list(channels)].sum()
            best = max(best, value - oracle.coupling_loss(inst, assignment))
    return best


@pytest.mark.parametrize("coupling_bps", [1e3, 1e7, 1e9])
def test_never_below_the_optimum_with_coupling(coupling_bps):
    for seed in range(4):
        inst = cases.instance(
            "fading",
            users=5,
            channels=5,
            active=4,
            seed=seed,
            objective="coupled",
            coupling_bps=coupling_bps,
        )
        assert coupled_optimum(inst) <= float(coupled_bound(inst))

"""Every solver on every objective: honest values, against plain enumeration in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import lsajax as lsa
from lsajax import solvers
from tests.lsajax import cases
from tests.lsajax.solvers import small

KEY = jax.random.key(7)
OPTIONS = {
    "grouped": {"block_size": 2, "rounds": 3},
    "evolution": {"population": 6, "generations": 4},
    "local_search": {"steps": 100, "chains": 4},
}
SEPARABLE = ("hungarian", "grouped")
ANY = ("random", "greedy", "sorted_matching", "evolution", "local_search", "exhaustive")


@jax.jit
def solve(inst):
    """All that solvers say of an instance, as one program: assignment, value, value again."""
    coupled = inst.objective == "coupled"
    out = {}
    for name in ANY if coupled else (*ANY, *SEPARABLE):
        found = getattr(solvers, name)(KEY, inst, **OPTIONS.get(name, {}))
        value = lsa.objective_value(inst, found.assignment)
        out[name] = (found, value, lsa.violations(inst, found.assignment))
    gap = None
    if not coupled:
        masks = {"row_mask": inst.user_mask, "col_mask": ~inst.occupied}
        gap = solvers.certify(lsa.value_matrix(inst), out["hungarian"][0], maximize=True, **masks)
    return out, solvers.coupled_bound(inst), gap


def check(inst):
    """Returns the optimum and what each solver reached."""
    best = small.enumerated(inst)
    out, bound, gap = jax.device_get(solve(inst))
    lacking = max(0, int(inst.user_mask.sum()) - int((~inst.occupied).sum()))
    for name, (found, value, broken) in out.items():
        np.testing.assert_allclose(found.value, value, rtol=2e-6, err_msg=name)
        assert tuple(broken[:4]) == (0, 0, 0, lacking), name
        assert (found.assignment[~np.asarray(inst.user_mask)] == -1).all(), name
        assert value <= best * (1 + 1e-5), name
        if found.status == solvers.Status.OPTIMAL:
            np.testing.assert_allclose(value, best, rtol=1e-5, err_msg=name)
    for name in ("exhaustive", "local_search"):
        np.testing.assert_allclose(out[name][1], best, rtol=1e-5, err_msg=name)
    assert out["exhaustive"][0].status == solvers.Status.OPTIMAL
    if gap is not None:
        assert out["hungarian"][0].status == solvers.Status.OPTIMAL
        assert 0 <= gap <= 2e-6 * best
        np.testing.assert_allclose(bound, best, rtol=1e-5)
    assert bound >= best * (1 - 1e-6)
    return best, {name: value for name, (_, value, _) in out.items()}


@pytest.mark.parametrize("objective", lsa.OBJECTIVES)
@pytest.mark.parametrize("structure", small.STRUCTURES)
def test_solvers_by_enumeration(structure, objective):
    for inst in small.variants(small.instance(structure, objective)):
        check(inst)


def test_solvers_with_a_coupling_of_ones_own():
    for inst in small.variants(small.own_coupling()):
        check(inst)


@pytest.mark.parametrize("objective", lsa.OBJECTIVES)
def test_solvers_with_more_users_than_channels(objective):
    check(small.instance("extras", objective, channels=3, active=5, num_active_min=4))


def test_the_objective_decides_who_goes_where():
    """Of one slot each objective has an optimum of its own, which another's solution misses."""
    best = {}
    for objective in lsa.OBJECTIVES:
        inst = small.instance("fading", objective, seed=SEED)
        best[objective] = solvers.exhaustive(KEY, inst).assignment
    for objective, assignment in best.items():
        inst = small.instance("fading", objective, seed=SEED)
        for other, theirs in best.items():
            if other != objective:
                here, there = (lsa.objective_value(inst, a) for a in (assignment, theirs))
                assert here > there * (1 + 1e-5), (objective, other)


@pytest.mark.parametrize("name", SEPARABLE)
def test_coupling_is_refused_by_what_cannot_see_it(name):
    inst = small.instance("fading", "coupled")
    message = (
        f"{name} needs a separable objective, got 'coupled': give it "
        r"inst\.without_coupling\(\), or use solvers\.local_search"
    )
    with pytest.raises(ValueError, match=message):
        getattr(solvers, name)(KEY, inst)
    getattr(solvers, name)(KEY, inst.without_coupling())


def test_grouped_with_power_per_pair():
    solve = jax.jit(functools.partial(solvers.grouped, block_size=4, rounds=25))
    inst = cases.instance("pairs", users=20, channels=18, active=12, occupancy=0.1)
    solution = solve(KEY, inst)
    values = np.asarray(lsa.value_matrix(inst), np.float64)
    best = values[scipy.optimize.linear_sum_assignment(values, maximize=True)].sum()
    np.testing.assert_allclose(
        solution.value, lsa.objective_value(inst, solution.assignment), rtol=1e-6
    )
    assert solution.trace.value[0] < 0.999 * best < solution.value <= best * (1 + 1e-6)


@pytest.mark.parametrize("sizes", [(8, 9, 6), (8, 5, 7)])
def test_sorted_matching_certifies_the_fair_optimum_and_nothing_else(sizes):
    users, channels, active = sizes
    inst = cases.instance("fair", users=users, channels=channels, active=active)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0))
    def both(power_w, alpha):
        own = inst.replace(mean_power_w=power_w, alpha=alpha)
        found = solvers.sorted_matching(KEY, own)
        masks = {"row_mask": own.user_mask, "col_mask": ~own.occupied}
        gap = solvers.certify(lsa.value_matrix(own), found, maximize=True, **masks)
        return found, gap, solvers.hungarian(KEY, own).value

    # From an SNR of some dB, where the weak want width less, to that of the scenario.
    rng = np.random.default_rng(0)
    alphas = np.repeat([0.0, 0.5, 1.0, 2.0, 5.0], 40).astype(np.float32)
    scale = 10.0 ** -rng.uniform(0, 4, (alphas.size, 1))
    power = np.asarray(inst.mean_power_w) * scale * rng.uniform(0.1, 1, (alphas.size, active))
    found, gap, best = jax.device_get(both(jnp.asarray(power, jnp.float32), jnp.asarray(alphas)))
    certified = found.status == solvers.Status.OPTIMAL
    np.testing.assert_allclose(found.value[certified], best[certified], rtol=2e-6)
    assert (gap[certified] <= 5e-6 * best[certified]).all()
    assert (gap >= 0).all() and certified[alphas == 0].all()
    missed = found.value < best * (1 - 1e-5)
    print(sizes, [(a, certified[alphas == a].mean(), missed[alphas == a].mean()) for a in set(alphas.tolist())])
    assert missed.any() and not certified[missed].any()

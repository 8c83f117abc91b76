"""Every solver on every objective: honest values, against plain enumeration in float64."""

import functools
import itertools

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
exhaustive, objective_value = map(jax.jit, (solvers.exhaustive, lsa.objective_value))
OPTIONS = {
    "grouped": {"block_size": 2, "rounds": 3},
    "evolution": {"population": 6, "generations": 4},
    "local_search": {"steps": 100, "chains": 4},
}
SEPARABLE = ("hungarian", "grouped")
FEW = ("random", "greedy", "sorted_matching", "local_search", "exhaustive", "hungarian")
ALL = (*FEW, "evolution", "grouped")  # these two take longest to compile


@functools.partial(jax.jit, static_argnums=1)
def solve(inst, names):
    """All that solvers say of an instance, as one program: solution, its value, its faults."""
    coupled = inst.objective == "coupled"
    out = {}
    for name in names:
        if coupled and name in SEPARABLE:
            continue
        found = getattr(solvers, name)(KEY, inst, **OPTIONS.get(name, {}))
        value = lsa.objective_value(inst, found.assignment)
        out[name] = (found, value, lsa.violations(inst, found.assignment))
    gap = None
    if not coupled:
        masks = {"row_mask": inst.user_mask, "col_mask": ~inst.occupied}
        gap = solvers.certify(lsa.value_matrix(inst), out["hungarian"][0], maximize=True, **masks)
    return out, solvers.coupled_bound(inst), gap


def check(inst, names=FEW):
    best = small.enumerated(inst)
    out, bound, gap = jax.device_get(solve(inst, names))
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


# Each objective once, with every solver that takes it; the other pairs are slow. Where structures
# of values differ in their rates alone, those are others' to test.
QUICK = {"plain": ("throughput", ALL), "extras": ("fair", ALL), "pairs": ("coupled", ALL)}
PAIRS = [
    pytest.param(
        structure,
        objective,
        marks=() if QUICK.get(structure, [None])[0] == objective else pytest.mark.slow,
    )
    for structure in small.STRUCTURES
    for objective in lsa.OBJECTIVES
]


@pytest.mark.parametrize(("structure", "objective"), PAIRS)
def test_solvers_by_enumeration(structure, objective):
    names = QUICK[structure][1] if structure in QUICK else FEW
    for inst in small.variants(small.instance(structure, objective)):
        check(inst, names)


def test_solvers_with_a_coupling_of_ones_own():
    for inst in small.variants(small.own_coupling()):
        check(inst)


@pytest.mark.parametrize("objective", [pytest.param("fair", marks=pytest.mark.slow), "coupled"])
def test_solvers_with_more_users_than_channels(objective):
    check(small.instance("fading", objective, channels=3, active=5, num_active_min=4))


def test_the_objective_decides_who_goes_where():
    """Of one slot each objective has an optimum of its own, which another's solution misses."""
    slots = {name: small.instance("fading", name, seed=21) for name in lsa.OBJECTIVES}
    best = {name: exhaustive(KEY, inst).assignment for name, inst in slots.items()}
    for objective, other in itertools.permutations(lsa.OBJECTIVES, 2):
        inst = slots[objective]
        here, there = (objective_value(inst, best[name]) for name in (objective, other))
        assert here > there * (1 + 1e-4), (objective, other)


@pytest.mark.parametrize("name", SEPARABLE)
def test_coupling_is_refused_by_what_cannot_see_it(name):
    inst = small.instance("fading", "coupled")
    solver = getattr(solvers, name)
    message = (
        f"{name} needs a separable objective, got 'coupled': give it "
        r"inst\.without_coupling\(\), or use solvers\.local_search"
    )
    with pytest.raises(ValueError, match=message):
        solver(KEY, inst)
    jax.eval_shape(solver, KEY, inst.without_coupling())


def test_grouped_with_power_per_pair():
    inst = cases.instance("pairs", users=20, channels=18, active=12, occupancy=0.1)
    solution = jax.jit(functools.partial(solvers.grouped, block_size=4, rounds=25))(KEY, inst)
    values = np.asarray(lsa.value_matrix(inst), np.float64)
    best = values[scipy.optimize.linear_sum_assignment(values, maximize=True)].sum()
    np.testing.assert_allclose(
        solution.value, objective_value(inst, solution.assignment), rtol=1e-6
    )
    assert solution.trace.value[0] < 0.99 * best < solution.value <= best * (1 + 1e-6)


@pytest.mark.parametrize("sizes", [(8, 9, 6), (8, 5, 7)])
def test_sorted_matching_certifies_the_fair_optimum_and_nothing_else(sizes):
    users, channels, active = sizes
    inst = cases.instance("fair", users=users, channels=channels, active=active)

    @jax.jit
    @jax.vmap
    def both(power_w, alpha):
        own = inst.replace(mean_power_w=power_w, alpha=alpha)
        found = solvers.sorted_matching(KEY, own)
        masks = {"row_mask": own.user_mask, "col_mask": ~own.occupied}
        gap = solvers.certify(lsa.value_matrix(own), found, maximize=True, **masks)
        return found, gap, solvers.hungarian(KEY, own).value

    # Down to a ten-thousandth of the powers of the scenario.
    rng = np.random.default_rng(0)
    alphas = np.repeat([0.0, 0.5, 1.0, 2.0, 5.0], 40).astype(np.float32)
    scale = 10.0 ** -rng.uniform(0, 4, (alphas.size, 1))
    power = np.asarray(inst.mean_power_w) * scale * rng.uniform(0.1, 1, (alphas.size, active))
    found, gap, best = jax.device_get(both(jnp.asarray(power, jnp.float32), jnp.asarray(alphas)))
    certified = found.status == solvers.Status.OPTIMAL
    missed = found.value < best * (1 - 1e-5)
    np.testing.assert_allclose(found.value[certified], best[certified], rtol=2e-6)
    assert (np.abs(gap) <= 5e-6 * best)[certified].all()
    assert certified[alphas == 0].all() and not certified[missed].any()
    for alpha in (2.0, 5.0):  # optimal for some powers, and not for others
        here = alphas == alpha
        assert certified[here].any() and missed[here].any()

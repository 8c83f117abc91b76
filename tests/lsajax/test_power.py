"""Water-filling against bisection and SciPy, ascents against it, and the bound on any powers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import optimize

import lsajax as lsa
from lsajax import power
from tests.lsajax import oracle
from tests.lsajax.cases import fading_gain, instance

LOW_DBM = {"users": 8, "channels": 9, "active": 5, "tx_power_dbm": -7.0}
CASES = {
    "fading": instance("fading", **LOW_DBM),
    "interference": instance("interference", **LOW_DBM, weight_max=3.0, snr_gap_db=4.0),
}
water_filling = jax.jit(power.water_filling)
iterative = jax.jit(power.iterative_water_filling)
value_of = jax.jit(power.value_of)
best_assignment = jax.jit(lambda inst: lsa.solvers.hungarian(jax.random.key(0), inst).assignment)
priced = jax.jit(power.priced)
joint_ascent = jax.jit(power.ascend_through_solver)
alternating = jax.jit(power.alternate)


@jax.jit
def ascent(inst, assignment):
    return power.ascend(lambda s: power.value_of(inst, assignment, s), power.equal(inst))


def link_of(inst, assignment):
    """w B and gamma of each user in float64, from the slow path's own powers and floors."""
    v = oracle.to_float64(inst, fading_gain(inst))
    i = np.arange(inst.num_rows)
    gamma = v["power"][i, assignment] / v["snr_gap"] / v["floor"][i, assignment]
    return v["weight"] * v["bandwidth_hz"][assignment], gamma


def filled(weight, gamma, total):
    """Water-filling by bisection on the level, float64: no sorting, no closed form."""

    def factors(level):
        return np.maximum(weight * level - 1 / gamma, 0)

    high = (total + np.sum(1 / gamma)) / weight.min()
    level = optimize.brentq(lambda x: factors(x).sum() - total, 0, high, xtol=1e-18, rtol=1e-14)
    return factors(level)


def rate(weight, gamma, factor):
    return np.sum(weight * np.log2(1 + gamma * factor), axis=-1)


@pytest.mark.parametrize("name", CASES)
def test_water_filling_is_that_of_bisection(name):
    inst = CASES[name]
    assignment = np.asarray(best_assignment(inst))
    weight, gamma = link_of(inst, assignment)
    expected = filled(weight, gamma, inst.num_rows)
    found = np.asarray(water_filling(inst, assignment))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    assert found.sum() == pytest.approx(inst.num_rows, rel=1e-5)
    value = float(value_of(inst, assignment, found))
    assert value == pytest.approx(rate(weight, gamma, expected), rel=1e-5)
    # And no other split is worth more: 2000 random ones, uniform on the simplex.
    others = inst.num_rows * np.random.default_rng(0).dirichlet(np.ones(inst.num_rows), 2000)
    assert rate(weight, gamma, others).max() <= value * (1 + 1e-5)


def test_who_has_no_channel_gets_no_power():
    inst = CASES["fading"]
    assignment = np.asarray(best_assignment(inst)).copy()
    assignment[2] = -1
    found = np.asarray(water_filling(inst, assignment))
    assert found[2] == 0 and found.sum() == pytest.approx(inst.num_rows, rel=1e-5)
    nobody = water_filling(inst, np.full(inst.num_rows, -1, np.int32))
    assert not np.any(nobody)


@pytest.mark.parametrize("name", CASES)
def test_ascent_finds_the_closed_form_and_proves_it(name):
    inst = CASES[name]
    assignment = best_assignment(inst)
    exact = float(value_of(inst, assignment, water_filling(inst, assignment)))
    found = ascent(inst, assignment)
    assert float(found.value) == pytest.approx(exact, rel=2e-5)
    assert float(found.value + found.gap) >= exact * (1 - 1e-6)
    assert float(found.gap) <= 1.1e-5 * exact and 1 < int(found.steps) < 500
    assert float(jnp.sum(found.factor)) == pytest.approx(inst.num_rows, rel=1e-5)


def test_ascent_of_the_fair_utility_is_scipys_optimum():
    inst = instance("fair", **LOW_DBM)
    assignment = np.asarray(best_assignment(inst))
    weight, gamma = link_of(inst, assignment)

    def loss(factor):
        return -np.sum(np.log1p(weight * np.log2(1 + gamma * factor) / 1e6))

    n = inst.num_rows
    best = optimize.minimize(
        loss,
        np.ones(n),
        bounds=[(0, n)] * n,
        constraints={"type": "eq", "fun": lambda factor: factor.sum() - n},
        tol=1e-10,
    )
    assert best.success
    assert float(ascent(inst, assignment).value) == pytest.approx(-best.fun, rel=2e-5)


def test_two_users_on_a_channel_by_the_best_of_a_grid():
    """Interference couples them: beside the ascent every split in steps of a thousandth."""
    inst = instance("fading", **{**LOW_DBM, "active": 2, "tx_power_dbm": 10.0})
    assignment = np.asarray(best_assignment(inst))[[0, 0]]
    weight, gamma = link_of(inst, assignment)
    one = np.linspace(0, 2, 2001)
    a, b = gamma[0] * one, gamma[1] * (2 - one)
    grid = weight[0] * (np.log2(1 + a / (1 + b)) + np.log2(1 + b / (1 + a)))
    found = ascent(inst, assignment)
    assert float(found.value) == pytest.approx(grid.max(), rel=1e-4)
    other = iterative(inst, assignment)
    assert float(jnp.sum(other)) == pytest.approx(2, rel=1e-5)
    assert float(value_of(inst, assignment, other)) <= grid.max() * (1 + 1e-5)


@functools.cache
def best_of_all(name):
    """Every assignment of 3 users to 4 channels, each water-filled, in float64."""
    sizes = {"users": 3, "channels": 4, "active": 3, "tx_power_dbm": -12.0}
    inst = instance(name, **sizes, occupancy=0.0)
    values = []
    for assignment in np.ndindex(4, 4, 4):
        if len(set(assignment)) == 3:
            weight, gamma = link_of(inst, np.array(assignment))
            values.append(rate(weight, gamma, filled(weight, gamma, 3)))
    return inst, max(values)


@pytest.mark.parametrize("name", ["fading", pytest.param("plain", marks=pytest.mark.slow)])
def test_the_bound_of_prices_and_those_below_it(name):
    inst, best = best_of_all(name)
    found = priced(jax.random.key(0), inst)
    assert float(found.bound) >= best * (1 - 1e-6)
    assert float(found.value) <= best * (1 + 1e-6)
    key = jax.random.key(0)
    equal = best_assignment(inst)
    first = float(value_of(inst, equal, water_filling(inst, equal)))
    for joint in (found, alternating(key, inst), joint_ascent(key, inst)):
        assert first * (1 - 2e-5) <= float(joint.value) <= best * (1 + 1e-6)
        assert float(joint.value) == pytest.approx(
            float(value_of(inst, joint.assignment, joint.factor)), rel=1e-5
        )
        counts = lsa.violations(inst, joint.assignment)
        assert not any(int(count) for count in counts)
        assert float(jnp.sum(joint.factor)) == pytest.approx(3, rel=1e-5)


def test_the_gradient_through_the_solver_is_that_of_its_assignment():
    inst = CASES["fading"]
    factor = jnp.linspace(0.5, 1.5, inst.num_rows)

    @jax.jit
    def through(s):
        changed = power.with_factors(inst, s)
        return lsa.solvers.hungarian(jax.random.key(0), changed).value / 1e8

    assignment = best_assignment(power.with_factors(inst, factor))
    beside = jax.jit(lambda s: power.value_of(inst, assignment, s) / 1e8)
    np.testing.assert_allclose(jax.grad(through)(factor), jax.grad(beside)(factor), rtol=1e-4)
    check_grads(beside, (factor,), 1, rtol=2e-2)


def test_a_batch_is_its_slots_one_by_one():
    slots = [instance("fading", seed=seed, **LOW_DBM) for seed in (0, 1)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *slots)
    assignments = jnp.stack([best_assignment(inst) for inst in slots])
    found = jax.jit(jax.vmap(power.water_filling))(batch, assignments)
    alone = [water_filling(inst, a) for inst, a in zip(slots, assignments, strict=True)]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_prices_of_a_batch_are_those_of_its_slots():
    slots = [instance("fading", seed=seed, **LOW_DBM) for seed in (0, 1)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *slots)
    keys = jnp.stack([jax.random.key(0)] * 2)
    found = jax.vmap(power.priced)(keys, batch)
    for i, inst in enumerate(slots):
        alone = priced(keys[i], inst)
        np.testing.assert_array_equal(found.assignment[i], alone.assignment)
        np.testing.assert_allclose(found.value[i], alone.value, rtol=1e-5)


def test_prices_are_of_the_throughput_alone():
    with pytest.raises(ValueError, match=r"objective 'throughput'.* got 'fair'"):
        power.priced(jax.random.key(0), instance("fair", **LOW_DBM))

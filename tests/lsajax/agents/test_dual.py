"""The dual head: any prices give the exact optimum and a proven bound, at any size and unit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import lsajax as lsa
from lsajax import objective
from tests.lsajax import cases

pytest.importorskip("flax")
from lsajax.agents import _dual_network, dual, shipped

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("multipath", "poisson", "values")]
SETTINGS = ["fading", "pairs", *SLOW]
KEY = jax.random.key(0)
SMALL = dual.Config(hidden=8, candidates=6, rounds=2)


@functools.cache
def weights(seed, size=1.0):
    """Weights that were never trained, with every layer drawn at random."""
    params = dual.init(jax.random.key(seed), SMALL)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    drawn = [size * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


@jax.jit
def exact(params, inst):
    return dual.make_solver(params, candidates=6)(KEY, inst)


@jax.jit
def decoded(params, inst):
    return dual.make_solver(params, exact=False, candidates=6)(KEY, inst)


@jax.jit
def priced(params, values, users, idle):
    return dual.prices(params, values, users, idle, candidates=6)


violations, objective_value = map(jax.jit, (lsa.violations, lsa.objective_value))


@jax.jit
def problem(inst):
    return lsa.value_matrix(inst), inst.user_mask, ~inst.occupied


def optimum(inst):
    values, users, idle = (np.asarray(x) for x in problem(inst))
    values = values.astype(np.float64)[users][:, idle]
    return values[scipy.optimize.linear_sum_assignment(values, maximize=True)].sum()


@pytest.mark.parametrize("setting", SETTINGS)
def test_any_weights_give_the_exact_optimum(setting):
    for seed, size in ((0, 1.0), (1, 30.0), (2, 0.0)):
        inst = cases.instance(setting, seed=seed)
        found = exact(weights(seed, size), inst)
        assert lsa.solvers.status_name(found.status) == "optimal"
        np.testing.assert_allclose(found.value, optimum(inst), rtol=1e-6)
        assert not any(violations(inst, found.assignment)[:3])


def test_weights_that_are_no_numbers_give_the_exact_optimum():
    inst = cases.instance("fading")
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), weights(0))
    np.testing.assert_allclose(exact(broken, inst).value, optimum(inst), rtol=1e-6)


def test_more_users_than_idle_channels():
    inst = cases.instance("fading")
    inst = inst.replace(occupied=jnp.arange(15) > 3)
    np.testing.assert_allclose(exact(weights(0), inst).value, optimum(inst), rtol=1e-6)
    found = decoded(weights(0), inst)
    assert int(jnp.sum(found.assignment >= 0)) == 4
    assert not any(violations(inst, found.assignment)[:3])


@pytest.mark.parametrize("setting", SETTINGS)
def test_prices_prove_a_bound(setting):
    inst = cases.instance(setting)
    values, users, idle = problem(inst)
    price = priced(weights(3), values, users, idle)
    duals = jax.jit(dual.complete)(price, values, users, idle)
    assert np.all(np.asarray(duals.column) >= 0) and np.all(np.asarray(duals.row) >= 0)
    assert np.all(np.asarray(price)[~np.asarray(idle)] == 0)
    pairs = np.asarray(users)[:, None] & np.asarray(idle)
    short = np.asarray(values - duals.row[:, None] - duals.column)[pairs]
    assert short.max() <= 1e-6 * float(jnp.max(values))
    assert float(dual.dual_objective(duals)) >= optimum(inst) * (1 - 1e-6)


def test_certify_takes_the_duals_of_the_decode():
    inst = cases.instance("fading")
    found = decoded(weights(0), inst)
    values, users, idle = problem(inst)
    gap = lsa.solvers.certify(values, found, maximize=True, row_mask=users, col_mask=idle)
    assert optimum(inst) - float(found.value) <= float(gap) * (1 + 1e-5) < np.inf


@pytest.mark.parametrize("setting", ["fading", "coupled", *SLOW])
def test_decode_is_feasible(setting):
    inst = cases.instance(setting)
    found = decoded(weights(0), inst)
    assert not any(violations(inst, found.assignment)[:4])
    np.testing.assert_allclose(found.value, objective_value(inst, found.assignment), rtol=1e-5)


def test_prices_follow_the_unit_and_the_order_of_users_and_channels():
    values = jax.random.exponential(KEY, (12, 15))
    users, idle = jnp.arange(12) != 2, jnp.arange(15) % 8 != 5
    params = jax.tree.map(lambda x, y: x + y, dual.init(KEY, SMALL), weights(5, 0.1))
    price = np.asarray(priced(params, values, users, idle))
    close = {"rtol": 1e-3, "atol": 1e-3 * price.max()}
    assert np.sum(price > 10 * close["atol"]) >= 3
    np.testing.assert_array_equal(priced(params, 1024 * values, users, idle), 1024 * price)
    np.testing.assert_allclose(priced(params, 1000 * values, users, idle) / 1000, price, **close)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(users.size), rng.permutation(idle.size)
    shuffled = priced(params, values[rows][:, columns], users[rows], idle[columns])
    np.testing.assert_allclose(shuffled, price[columns], **close)
    padded = jnp.pad(values, ((0, 0), (0, 3)), constant_values=9e9)
    more = priced(params, padded, users, jnp.pad(idle, (0, 3)))
    np.testing.assert_allclose(more[:-3], price, **close)


@pytest.mark.parametrize("shape", [(1, 1), (7, 2), (3, 150)])
def test_the_same_weights_take_any_size(shape):
    users, channels = shape
    values = jax.random.exponential(KEY, shape)
    on, idle = jnp.ones(users, bool), jnp.ones(channels, bool)
    price = priced(weights(0), values, on, idle)
    assert price.shape == (channels,) and bool(jnp.all(jnp.isfinite(price) & (price >= 0)))
    nobody = priced(weights(0), values, ~on, ~idle)
    assert not np.any(np.asarray(nobody))


def test_vmap_gives_what_one_by_one_gives():
    insts = [cases.instance("fading", seed=seed) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *insts)
    solved = jax.jit(jax.vmap(exact, (None, 0)))(weights(0), batch)
    guided = jax.jit(jax.vmap(decoded, (None, 0)))(weights(0), batch)
    for i, inst in enumerate(insts):
        alone = exact(weights(0), inst)
        np.testing.assert_allclose(solved.value[i], alone.value, rtol=1e-6)
        np.testing.assert_array_equal(solved.assignment[i], alone.assignment)
        # Prices make some users indifferent, so that a decode may turn on a last bit.
        duals = decoded(weights(0), inst).duals
        for mapped, own in zip(guided.duals, duals, strict=True):
            np.testing.assert_allclose(mapped[i], own, rtol=1e-4, atol=1e-4 * duals.row.max())
        assert not any(violations(inst, guided.assignment[i])[:4])


best_channels = jax.jit(_dual_network.best_channels, static_argnums=2)


@pytest.mark.parametrize("channels", [5, 64, 500])
def test_candidates_are_the_best_channels(channels):
    values = np.asarray(jax.random.normal(KEY, (20, channels)))
    cost = np.linspace(0, 1, channels, dtype=np.float32)
    net = values - cost
    found = best_channels(values, cost, 8)
    channel = np.asarray(found.channel)
    read = np.take_along_axis(net, channel, axis=1)
    np.testing.assert_allclose(found.value, read, rtol=2e-5)
    assert np.all(np.diff(read, axis=1) < 0)
    exactly = min(8, channels) if channels <= 64 else 2
    best = np.argsort(-net, axis=1)[:, :exactly]
    np.testing.assert_array_equal(channel[:, :exactly], best)
    eight = np.argsort(-net)[:, :8]
    missed = np.mean([len(set(b) - set(c)) for b, c in zip(eight, channel, strict=True)])
    assert missed < 0.2  # of 8


def test_gradient_of_the_candidates_is_that_of_reading_them():
    values, cost = jax.random.normal(KEY, (3, 70)), jnp.linspace(0, 1, 70)

    def total(values, cost):
        return jnp.sum(_dual_network.best_channels(values, cost, 4).value)

    of_values, of_cost = jax.jit(jax.grad(total, (0, 1)))(values, cost)
    best = np.asarray(best_channels(values, cost, 4).channel)
    expected = np.zeros((3, 70))
    np.put_along_axis(expected, best, 1.0, axis=1)
    np.testing.assert_array_equal(of_values, expected)
    np.testing.assert_array_equal(of_cost, -expected.sum(axis=0))


TRAINED_ON = lsa.Scenario(num_users=8, num_channels=10, num_active=8, fading=True)
TINY = dual.Config(
    steps=300, batch=8, learning_rate=1e-2, overprice=0.0, hidden=8, candidates=4, rounds=1,
    held_out=64, measurements=3,
)  # fmt: skip


@functools.cache
def trained():
    """Two seeds at once."""

    return jax.vmap(lambda key: dual.train(key, TRAINED_ON, TINY))(jax.random.split(KEY, 2))


@pytest.mark.slow
def test_training_lowers_the_proven_gap_for_every_seed():
    _, metrics = trained()
    assert metrics.dual_gap.shape == (2, 4, 1) and metrics.step.tolist() == [[0, 100, 200, 300]] * 2
    before, after = np.asarray(metrics.dual_gap)[:, [0, -1], 0].T
    assert np.all(after < 0.95 * before) and np.all(after > 0)


def test_weights_are_stored_and_read():
    one = weights(0)
    again = dual.unflatten(shipped.flatten(one))
    jax.tree.map(np.testing.assert_array_equal, one, again)


@jax.jit
def on_medium(inst):
    """Over the optimum: the bounds of shipped and of no prices, and values of two decodes."""
    values, users, idle = problem(inst)
    best = lsa.solvers.linear_sum_assignment(values, True, row_mask=users, col_mask=idle)
    none = jnp.zeros(idle.size)
    bounds = [
        dual.dual_objective(dual.complete(price, values, users, idle))
        for price in (dual.prices(dual.load(), values, users, idle), none)
    ]
    decodes = [
        jnp.sum(objective.assigned_values(inst, dual.decode(inst, values, price)))
        for price in (best.duals.column, none)
    ]
    return jnp.stack([*bounds, *decodes]) / best.value


def test_shipped_weights_and_decode_on_fading():
    inst = cases.instance("fading", users=60, channels=80, active=60)
    trained, none, at_best, at_none = np.asarray(on_medium(inst))
    assert 1 - 1e-6 <= trained < 1 + 0.01 * (none - 1)
    assert at_none < at_best <= 1 + 1e-6


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"name must be one of dual, .*got 'other'"):
        dual.load("other")
    with pytest.raises(ValueError, match="candidates must be at least 2, got 1"):
        dual.Config(candidates=1)
    with pytest.raises(ValueError, match="steps must be an integer of at least 1, got 0"):
        dual.Config(steps=0)
    with pytest.raises(ValueError, match="steps must be a multiple of measurements=20, got 30"):
        dual.Config(steps=30)
    with pytest.raises(ValueError, match="dual head's layers"):
        dual.unflatten({"params/policy/bias": np.zeros(3)})
    with pytest.raises(ValueError, match="coupled"):
        dual.make_solver(weights(0))(KEY, cases.instance("coupled"))

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import lsajax as lsa
from lsajax import coupling, objective
from tests.lsajax import cases, oracle

SETTINGS = cases.with_slow(cases.SETTINGS)
ALPHAS = [0.0, 0.3, 0.999, 1 - 1e-5, 1.0, 1 + 1e-5, 1.001, 2.0, 5.0, 40.0]
RATES = np.array([0.0, 1e-3, 1e3, 1e6, 3e7, 1e8, 4e8, 1e11])
throughput, objective_value, feasible_value, violations, value_matrix, user_rates = map(
    jax.jit,
    (
        lsa.throughput,
        lsa.objective_value,
        objective.feasible_value,
        lsa.violations,
        lsa.value_matrix,
        lsa.user_rates,
    ),
)


@pytest.mark.parametrize("setting", [*SETTINGS, "coupled"])
def test_value_of_raw_actions_against_the_oracle(setting):
    """The sum of rates and what the objective makes of it, whatever a raw action holds."""
    inst = cases.instance(setting)
    fading = cases.fading_gain(inst)
    for seed in range(15):
        raw = cases.raw_action(inst, seed)
        rates = oracle.user_rates(inst, np.asarray(raw), fading)
        np.testing.assert_allclose(user_rates(inst, raw), rates, rtol=5e-5)
        np.testing.assert_allclose(throughput(inst, raw), rates.sum(), rtol=5e-5)
        expected = oracle.objective_value(inst, np.asarray(raw), fading)
        np.testing.assert_allclose(objective_value(inst, raw), expected, rtol=5e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_feasible_assignment_is_worth_the_sum_of_its_entries(setting, monkeypatch):
    inst = cases.instance(setting)
    matrix = np.asarray(value_matrix(inst), np.float64)
    expected = oracle.value_matrix(inst, cases.fading_gain(inst))
    np.testing.assert_allclose(matrix, expected, rtol=3e-5)
    for seed in range(5):
        channels = np.random.default_rng(seed).permutation(np.arange(-2, inst.num_channels))
        assignment = np.resize(channels, inst.num_rows)
        assignment[inst.num_channels :] = -1
        known = assignment >= 0
        entries = np.where(known, matrix[np.arange(inst.num_rows), assignment], 0)
        for value in (objective_value, feasible_value):
            got = value(inst, jnp.asarray(assignment))
            np.testing.assert_allclose(got, entries.sum(), rtol=1e-5)
        each = objective.assigned_values(inst, jnp.asarray(assignment))
        np.testing.assert_allclose(each, entries, rtol=1e-5)
    np.testing.assert_allclose(objective.sum_of_values(inst), matrix.sum(), rtol=1e-5)
    # In chunks that do not divide the rows.
    monkeypatch.setattr(objective, "_MANY", 0)
    monkeypatch.setattr(objective, "_ROWS", 4)
    sum_of_values = objective.sum_of_values.__wrapped__  # which nothing remembers
    np.testing.assert_allclose(sum_of_values(inst), matrix.sum(), rtol=1e-5)


def test_whose_rate_is_below_its_need():
    """A need is counted, and worth `min_rate_value` in proportion; padding needs nothing."""
    needs = [1e6, 1e9, 1e6, 1e6, 0.0]
    inst = lsa.make_instance(
        [1e-9] * 5,
        [1e7] * 3,
        min_rate_bps=needs,
        min_rate_value=2e8,
        user_mask=[True, True, True, False, True],
    )
    raw = np.array([0, 1, -1, 2, -1])
    count = violations(inst, jnp.asarray(raw))
    # The second cannot reach its need, the third has no channel, the last needs none.
    assert tuple(map(int, count)) == oracle.violations(inst, raw) == (0, 0, 0, 2, 2)
    rate = float(lsa.rate_matrix(inst)[1, 1])
    expected = 2 * rate + 2e8 * (1 + rate / 1e9)
    np.testing.assert_allclose(objective_value(inst, raw), expected, rtol=1e-5)
    np.testing.assert_allclose(oracle.objective_value(inst, raw), expected, rtol=1e-5)


def test_everybody_on_one_channel():
    inst = cases.instance(occupancy=0.0)
    raw = jnp.full(inst.num_rows, 4)
    np.testing.assert_allclose(
        throughput(inst, raw), oracle.throughput(inst, np.asarray(raw)), rtol=5e-5
    )


def test_equally_strong_rivals_and_a_much_stronger_one():
    """float32's 24 bits: summed naively, 1e-5 W swallows the rivals of 1e-14 W."""
    for power in ([1e-12] * 3, [1e-5, 1e-14, 1e-14], [1e-5, 1e-5, 1e-14], [1e-5, 1e-13, 0.0]):
        inst = lsa.make_instance(power, [1e7, 2e7])
        raw = jnp.zeros(3, jnp.int32)
        expected = oracle.throughput(inst, [0, 0, 0])
        np.testing.assert_allclose(throughput(inst, raw), expected, rtol=1e-5)


@pytest.mark.parametrize("strong", [1.0, 1e-3, 1e6])
def test_a_strong_user_on_another_channel_hides_no_rival(strong):
    inst = lsa.make_instance([strong, 1e-7, 3e-14], [1e6, 1e6])
    raw = jnp.array([1, 0, 0])
    floor = 10**-20.4 * 1e6
    expected = [1e-7 / (floor + 3e-14), 3e-14 / (floor + 1e-7)]
    rates = lsa.user_rates(inst, raw)[1:]
    np.testing.assert_allclose(rates, 1e6 * np.log2(1 + np.array(expected)), rtol=1e-5)
    np.testing.assert_allclose(objective.co_channel_power(inst, raw), [0, 3e-14, 1e-7], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 17), min_size=6, max_size=6))
def test_violations_against_the_oracle(raw):
    inst = cases.instance(occupancy=0.4, users=12, channels=15, active=6)
    count = violations(inst, jnp.array(raw, jnp.int32))
    assert tuple(map(int, count)) == oracle.violations(inst, raw)


@pytest.mark.parametrize("power_w", [0.0, 1e-36, 1e-33, 1e-20])
def test_the_faintest_powers(power_w):
    inst = lsa.make_instance([power_w, power_w / 10, 0.0], [1e7, 2e7])
    for raw in ([0, 1, -1], [0, 0, 0]):
        expected = oracle.throughput(inst, raw)
        np.testing.assert_allclose(throughput(inst, jnp.array(raw)), expected, rtol=1e-4)


def test_padded_rows_neither_count_nor_earn():
    inst = cases.instance("poisson")
    assert not bool(inst.user_mask.all())
    everybody = jnp.arange(inst.num_rows) % inst.num_channels
    assert int(violations(inst, everybody).unserved) == 0
    rates = lsa.user_rates(inst, everybody)
    assert float(jnp.abs(jnp.where(inst.user_mask, 0, rates)).max()) == 0
    unassigned = jnp.full(inst.num_rows, -1)
    assert int(violations(inst, unassigned).unserved) == int(inst.user_mask.sum())


def test_fairness():
    np.testing.assert_allclose(lsa.jain_index(jnp.full(7, 1e8)), 1.0, rtol=1e-6)
    np.testing.assert_allclose(lsa.jain_index(jnp.array([1e8, 0, 0, 0])), 0.25, rtol=1e-6)
    assert float(lsa.jain_index(jnp.zeros(4))) == 0.0
    assert np.isfinite(jax.grad(lsa.jain_index)(jnp.zeros(4))).all()
    rates, mask = jnp.array([1e8, 3e7, 0.0, 7e7]), jnp.array([True, True, True, False])
    np.testing.assert_allclose(lsa.jain_index(rates, mask), lsa.jain_index(rates[:3]), rtol=1e-6)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_fair_utility_and_its_slopes(alpha):
    """Against float64 at any alpha, near 1 too, where the formula is 0 / 0; traced throughout."""
    got = fair_utility(RATES, alpha)
    expected = oracle.fair_utility(RATES, float(np.float32(alpha)))
    np.testing.assert_allclose(got, expected, rtol=2e-5)
    by_rate, by_alpha = slopes(jnp.asarray(RATES), alpha)
    slope = (1 + RATES / 1e6) ** -alpha / 1e6
    np.testing.assert_allclose(by_rate, slope, rtol=1e-3, atol=1e-37)
    log = np.log1p(RATES / 1e6)
    assert np.isfinite(by_alpha).all() and (by_alpha <= 0).all()
    if alpha == 1:
        np.testing.assert_allclose(by_alpha, -(log**2) / 2, rtol=1e-5)
    else:  # a difference of the closed form, over a step that float64 bears
        step = 1e-4 * np.array([-1, 1])
        low, high = (oracle.fair_utility(RATES, float(np.float32(alpha)) + s) for s in step)
        np.testing.assert_allclose(by_alpha, (high - low) / 2e-4, rtol=2e-3, atol=1e-6)
    if alpha == 0:
        np.testing.assert_allclose(got, RATES / 1e6, rtol=1e-5)


fair_utility = jax.jit(lsa.fair_utility)
slopes = jax.jit(
    jax.vmap(jax.grad(lambda rate, alpha: lsa.fair_utility(rate, alpha), (0, 1)), (0, None))
)


def test_fair_utility_is_continuous_in_alpha():
    """Over the switch between formula and series nothing jumps."""
    alphas = 1 + np.linspace(-5e-5, 5e-5, 201)
    utility = np.asarray(jax.vmap(lambda a: lsa.fair_utility(1e8, a))(jnp.asarray(alphas)), float)
    np.testing.assert_allclose(utility, oracle.fair_utility(1e8, 1.0), rtol=2e-4)
    assert np.abs(np.diff(utility)).max() < 1e-5


def test_fairness_makes_the_weak_count():
    """Two users, a wide and a narrow channel: with weights or alpha the best matching changes."""
    power, bandwidth = [1e-8, 3e-14], [3e7, 1e7]
    straight, crossed = np.array([0, 1]), np.array([1, 0])

    def better(**extras):
        inst = lsa.make_instance(power, bandwidth, **extras)
        values = [float(objective_value(inst, a)) for a in (straight, crossed)]
        np.testing.assert_allclose(
            values, [oracle.objective_value(inst, a) for a in (straight, crossed)], rtol=1e-5
        )
        return "straight" if values[0] > values[1] else "crossed"

    assert better() == better(objective="fair", alpha=0.0) == "straight"
    assert better(objective="fair", alpha=5.0) == "crossed"
    assert better(weight=[0.001, 1.0]) == "crossed"


def own_coupling(inst, seed=0):
    """G and rho of one's own: any symmetric matrices, far channels included."""
    rng = np.random.default_rng(seed)

    def symmetric(size):
        upper = np.triu(rng.uniform(size=(size, size)), 1)
        return jnp.asarray(upper + upper.T, float)

    return {"coupling": symmetric(inst.num_rows), "leakage": symmetric(inst.num_channels)}


@pytest.mark.parametrize("own", [(), ("coupling",), ("leakage",), ("coupling", "leakage")])
def test_coupling_loss_against_the_dense_form(own):
    inst = cases.instance("coupled", users=20, channels=24, active=16, occupancy=0.2)
    inst = inst.replace(user_mask=inst.user_mask.at[jnp.array([2, 9])].set(False))
    inst = inst.replace(**{name: own_coupling(inst)[name] for name in own})
    np.testing.assert_allclose(
        coupling.user_coupling(inst), oracle.user_coupling(inst), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(
        coupling.channel_leakage(inst), oracle.channel_leakage(inst), rtol=1e-6
    )
    loss = jax.jit(lsa.coupling_loss)
    for seed in range(5):
        for raw in (
            np.random.default_rng(seed).permutation(np.arange(-1, 24))[:16],
            np.asarray(cases.raw_action(inst, seed)),
        ):
            expected = oracle.coupling_loss(inst, raw)
            assert expected > 0
            np.testing.assert_allclose(loss(inst, jnp.asarray(raw)), expected, rtol=1e-4)
            expected = oracle.objective_value(inst, raw, cases.fading_gain(inst))
            got = objective_value(inst, jnp.asarray(raw))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e5)


def test_coupling_gradients():
    with jax.enable_x64(True):
        scenario = lsa.Scenario(num_users=6, num_channels=8, num_active=6, objective="coupled")
        inst = lsa.sample_instance(jax.random.key(1), scenario)
        together = inst.replace(position_m=inst.position_m.at[1].set(inst.position_m[0]))
        assignment = jnp.array([0, 1, 2, 3, 5, 7])

        def loss(position, at=inst):
            return lsa.coupling_loss(at.replace(position_m=jnp.asarray(position)), assignment) / 1e6

        check_grads(loss, (inst.position_m,), order=1, modes=["rev"], rtol=1e-4)
        assert np.isfinite(jax.grad(loss)(together.position_m)).all()


def test_discounted_utility():
    u = jnp.array([3.0, 5.0, 7.0])
    np.testing.assert_allclose(lsa.discounted_utility(u, 0.5), 3 + 2.5 + 1.75)
    np.testing.assert_allclose(lsa.discounted_utility(u, 0.0), 3.0)
    np.testing.assert_allclose(lsa.discounted_utility(u, 1.0), 15.0)


def test_discounted_utility_of_a_batch_weights_the_slots():
    u = np.arange(6).reshape(3, 2)
    expected = u[0] + 0.5 * u[1] + 0.25 * u[2]
    np.testing.assert_allclose(lsa.discounted_utility(u, 0.5), expected)
    square = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_allclose(lsa.discounted_utility(square, 0.1), [1.3, 2.5])


def test_rates_as_integers_beyond_int32():
    rates = np.array([26_490_000_000, 1_000_000_000])
    np.testing.assert_allclose(lsa.fair_utility(rates, 0.0), rates / 1e6, rtol=1e-5)
    np.testing.assert_allclose(lsa.jain_index(rates), 27.49**2 / 2 / (26.49**2 + 1), rtol=1e-6)
    np.testing.assert_allclose(lsa.discounted_utility(rates, 1), rates.sum(), rtol=1e-6)


def test_a_numpy_assignment_beyond_int32_does_not_wrap():
    inst = lsa.make_instance([1e-9, 2e-9], [1e7, 2e7])
    raw = np.array([2**32 + 1, 0])
    assert tuple(map(int, lsa.violations(inst, raw))) == (1, 0, 0, 0, 0)
    np.testing.assert_allclose(lsa.throughput(inst, raw), lsa.throughput(inst, np.array([5, 0])))
    np.testing.assert_array_equal(lsa.repair(inst, raw), [1, 0])
    with pytest.raises(ValueError, match="got 4294967297 for row 0"):
        lsa.check_assignment(inst, raw)

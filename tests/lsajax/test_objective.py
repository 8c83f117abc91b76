import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import lsajax as lsa
from lsajax import objective
from tests.lsajax import cases, oracle

SETTINGS = list(cases.SETTINGS)
coupled_objective, coupling_loss, throughput, violations = map(
    jax.jit, (lsa.coupled_objective, lsa.coupling_loss, lsa.throughput, lsa.violations)
)


@pytest.mark.parametrize("setting", SETTINGS)
def test_throughput_of_raw_actions_against_the_oracle(setting):
    inst = cases.instance(setting)
    fading = cases.fading_gain(inst)
    for seed in range(30):
        raw = cases.raw_action(inst, seed)
        expected = oracle.throughput(inst, np.asarray(raw), fading)
        np.testing.assert_allclose(throughput(inst, raw), expected, rtol=5e-5)


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
    assert tuple(map(int, violations(inst, jnp.array(raw, jnp.int32)))) == oracle.violations(
        inst, raw
    )


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
    rates = jnp.array([1e6, 2e6, 4e6])
    np.testing.assert_allclose(lsa.alpha_fair_utility(rates, 0.0), 7.0)
    np.testing.assert_allclose(lsa.alpha_fair_utility(rates, 1.0), np.log(8), rtol=1e-6)
    np.testing.assert_allclose(lsa.alpha_fair_utility(rates, 2.0), -1.75)
    with pytest.raises(ValueError, match="alpha must be"):
        lsa.alpha_fair_utility(rates, -1.0)
    with pytest.raises(ValueError, match="floor_bps must be above 0"):
        lsa.alpha_fair_utility(rates, 1.0, floor_bps=0.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 6.0, 7.0, 7.5, 8.0, 40.0])
def test_fairness_of_padded_and_unserved_users(alpha):
    rates = jnp.array([1e8, 3e7, 0.0, 7e7])
    mask = jnp.array([True, True, True, False])
    np.testing.assert_allclose(lsa.jain_index(rates, mask), lsa.jain_index(rates[:3]), rtol=1e-6)
    utility = lsa.alpha_fair_utility(rates, alpha, mask)
    np.testing.assert_allclose(utility, lsa.alpha_fair_utility(rates[:3], alpha), rtol=1e-6)
    gradient = jax.grad(lambda r: lsa.alpha_fair_utility(r, alpha, mask))(rates)
    assert np.isfinite(utility) and np.isfinite(gradient).all()
    assert gradient[2] == gradient[3] == 0
    assert gradient[0] > 0 or alpha == 40  # (100 Mbit/s)^-40 is 0 in float32
    many = jnp.zeros(2000).at[0].set(1e8)
    assert np.isfinite(lsa.alpha_fair_utility(many, alpha))


@pytest.mark.parametrize("setting", ["plain", "poisson"])
def test_coupling_loss_against_the_oracle_and_the_dense_form(setting):
    inst = cases.instance(setting, users=20, channels=24, active=16, occupancy=0.2)
    rng = np.random.default_rng(0)
    for _ in range(10):
        assignment = np.full(inst.num_rows, -1)
        count = min(inst.num_rows, 20)
        assignment[:count] = rng.permutation(24)[:count]
        assignment[rng.integers(0, count)] = -1
        loss = coupling_loss(inst, jnp.asarray(assignment))
        expected = oracle.coupling_loss(inst, assignment, 50e6, 200.0, 0.5)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        x = np.zeros((inst.num_rows, 24))
        served = (assignment >= 0) & ~np.asarray(inst.occupied)[assignment]
        x[np.flatnonzero(served), assignment[served]] = 1
        G = np.asarray(objective.user_coupling(inst), float)
        rho = np.asarray(objective.channel_leakage(inst), float)
        np.testing.assert_allclose(loss, 50e6 * np.sum(G * (x @ rho @ x.T)), rtol=1e-4)
        gap = throughput(inst, jnp.asarray(assignment)) - loss
        np.testing.assert_allclose(coupled_objective(inst, jnp.asarray(assignment)), gap, rtol=1e-6)


def test_coupling_gradients():
    with jax.enable_x64(True):
        scenario = lsa.Scenario(num_users=6, num_channels=8, num_active=6)
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
    np.testing.assert_allclose(lsa.alpha_fair_utility(rates, 0.0), rates.sum() / 1e6)
    np.testing.assert_allclose(lsa.jain_index(rates), 27.49**2 / 2 / (26.49**2 + 1), rtol=1e-6)
    np.testing.assert_allclose(lsa.discounted_utility(rates, 1), rates.sum(), rtol=1e-6)


def test_a_numpy_assignment_beyond_int32_does_not_wrap():
    inst = lsa.make_instance([1e-9, 2e-9], [1e7, 2e7])
    raw = np.array([2**32 + 1, 0])
    assert tuple(map(int, lsa.violations(inst, raw))) == (1, 0, 0, 0)
    np.testing.assert_allclose(lsa.throughput(inst, raw), lsa.throughput(inst, np.array([5, 0])))
    np.testing.assert_array_equal(lsa.repair(inst, raw), [1, 0])
    with pytest.raises(ValueError, match="got 4294967297 for row 0"):
        lsa.check_assignment(inst, raw)

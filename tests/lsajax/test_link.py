import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

import lsajax as lsa
from lsajax import link
from tests.lsajax import cases, oracle

SETTINGS = list(cases.SETTINGS)


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 3.0, 250.0, 5000.0])
def test_received_power_against_a_link_budget_in_db(distance):
    power = lsa.received_power(
        distance, tx_power_w=10**-0.7, carrier_hz=2.4e9, path_loss_exponent=2.5
    )
    expected = oracle.received_power(distance, 23.0, 2.4e9, 2.5)
    np.testing.assert_allclose(power, expected, rtol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_rate_matrix_against_the_oracle(setting):
    inst = cases.instance(setting)
    expected = oracle.rate_matrix(inst, cases.fading_gain(inst))
    np.testing.assert_allclose(lsa.rate_matrix(inst), expected, rtol=2e-5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_assigned_rate_is_the_matrix_entry(setting):
    inst = cases.instance(setting)
    matrix = np.asarray(lsa.rate_matrix(inst))
    for seed in range(20):
        raw = np.asarray(cases.raw_action(inst, seed))
        known = (raw >= 0) & (raw < inst.num_channels)
        expected = np.where(known, matrix[np.arange(len(raw)), np.where(known, raw, 0)], 0)
        np.testing.assert_allclose(lsa.assigned_rate(inst, jnp.asarray(raw)), expected, rtol=1e-6)


@pytest.mark.parametrize("sinr", [1e-12, 1e-6, 1.0, 1e8])
def test_shannon_rate_is_exact_at_any_sinr(sinr):
    rate = lsa.shannon_rate(1e-14 * sinr, 1e7, 1e-21)
    expected = 1e7 * np.log1p(sinr) / np.log(2)
    np.testing.assert_allclose(rate, expected, rtol=1e-6)


def test_shannon_rate_where_the_sinr_overflows():
    for power, noise in ((1.0, 1e-46), (1.0, 1e-45), (1e3, 1e-44)):
        rate, slope = jax.value_and_grad(lsa.shannon_rate)(power, 1e7, noise)
        assert 1e7 * 125 < rate < 1e7 * 160 and np.isfinite(slope)
    assert lsa.shannon_rate(0.0, 1.0, 1e-46) == 0


def test_gradient_by_a_narrow_band_is_finite():
    """JAX's quotient has floor^-2 in its gradient, infinite in float32 at 1 Hz."""
    slope = jax.grad(lsa.shannon_rate, 1)(1e-13, 1.0, 4e-21)
    snr = 1e-13 / 4e-21
    np.testing.assert_allclose(slope, (np.log1p(snr) - snr / (1 + snr)) / np.log(2), rtol=1e-5)


def test_integers_beyond_int32_keep_their_value():
    rate = lsa.shannon_rate(1e-12, np.int64(6_000_000_000), 4e-21)
    np.testing.assert_allclose(rate, 6e9 * np.log2(1 + 1e-12 / 4e-21 / 6e9), rtol=1e-6)
    carriers = np.array([5_800_000_000, 2_400_000_000])
    power = lsa.received_power(100, tx_power_w=1, carrier_hz=carriers, path_loss_exponent=2)
    np.testing.assert_allclose(power, (299_792_458 / carriers / 4 / np.pi / 100) ** 2, rtol=1e-5)


def test_placement():
    inst = lsa.make_instance([1e-9] * 5, [1e7] * 3, occupied=[False, True, False])
    served, channel, target = link.place(
        inst.replace(user_mask=jnp.arange(5) > 0), jnp.array([0, 2, 1, -1, 9])
    )
    np.testing.assert_array_equal(served, [False, True, False, False, False])
    np.testing.assert_array_equal(channel, [0, 2, 0, 0, 0])
    np.testing.assert_array_equal(target, [3, 2, 3, 3, 3])


def test_shannon_rate_broadcasts():
    rate = lsa.shannon_rate(jnp.ones((3, 1)), jnp.ones(4) * 1e7, 1e-20, jnp.ones((2, 1, 1)))
    assert rate.shape == (2, 3, 4)


def test_gradients_against_finite_differences():
    with jax.enable_x64(True):
        noise = 4e-21

        def rate(power, bandwidth, interference):
            # Scaled to order one: a finite difference of watts near 1e-13 says nothing.
            return (
                lsa.shannon_rate(power * 1e-12, bandwidth * 1e7, noise, interference * 1e-13) / 1e7
            )

        for power in (0.0, 1e-9, 1.0, 1e6):
            args = (jnp.float64(power), jnp.float64(1.5), jnp.float64(0.3))
            if power == 0.0:  # one-sided: powers are not negative
                slope = jax.grad(rate)(*args)
                assert np.isclose(slope, (rate(1e-9, *args[1:]) - rate(0.0, *args[1:])) / 1e-9)
            else:
                check_grads(rate, args, order=2 if power == 1.0 else 1, rtol=1e-4)

        def power(distance, exponent):
            return 1e9 * lsa.received_power(
                distance, tx_power_w=0.2, carrier_hz=2.4e9, path_loss_exponent=exponent
            )

        check_grads(power, (jnp.float64(30.0), jnp.float64(2.5)), order=1, rtol=1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("distance", [0.0, 1.0, 400.0])
def test_gradients_are_finite_everywhere(setting, distance):
    """At the station, at zero power, on an occupied channel, for a user without one."""
    inst = cases.instance(setting)
    inst = inst.replace(occupied=inst.occupied.at[1].set(True))
    raw = jnp.full(inst.num_rows, -1).at[:4].set(jnp.array([1, 2, -5, 99]))

    def total(distance, power, bandwidth):
        near = lsa.received_power(
            distance, tx_power_w=0.2, carrier_hz=2.4e9, path_loss_exponent=2.5
        )
        changed = inst.replace(
            mean_power_w=power.at[1].set(near).at[2].set(0.0), bandwidth_hz=bandwidth
        )
        return lsa.throughput(changed, raw) + lsa.rate_matrix(changed).sum()

    gradients = jax.grad(total, argnums=(0, 1, 2))(distance, inst.mean_power_w, inst.bandwidth_hz)
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)


def test_no_gradient_through_an_occupied_channel():
    inst = cases.instance()
    inst = inst.replace(occupied=inst.occupied.at[3].set(True))
    raw = jnp.full(inst.num_rows, 3)

    def total(bandwidth):
        return lsa.assigned_rate(inst.replace(bandwidth_hz=bandwidth), raw).sum()

    assert float(jnp.abs(jax.grad(total)(inst.bandwidth_hz)).max()) == 0.0


def test_fading_is_rayleigh_and_belongs_to_the_user():
    inst = cases.instance("fading", users=300, channels=200, active=300)
    power = np.asarray(lsa.channel_power(inst) / inst.mean_power_w[:, None]).ravel()
    assert stats.kstest(power, "expon").pvalue > 1e-4
    order = np.random.default_rng(0).permutation(300)
    fields = ("user_id", "user_mask", "position_m", "mean_power_w")
    shuffled = inst.replace(**{name: getattr(inst, name)[order] for name in fields})
    np.testing.assert_allclose(
        lsa.rate_matrix(shuffled), np.asarray(lsa.rate_matrix(inst))[order], rtol=1e-6
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_jit_and_vmap_agree_with_one_by_one(setting):
    scenario = lsa.Scenario(num_users=12, num_channels=15, num_active=6)
    scenario = scenario.replace(**cases.SETTINGS[setting])
    keys = jax.random.split(jax.random.key(3), 4)
    batch = jax.jit(jax.vmap(lambda k: lsa.sample_instance(k, scenario)))(keys)
    matrices = jax.jit(jax.vmap(lsa.rate_matrix))(batch)
    for i, key in enumerate(keys):
        one = lsa.rate_matrix(cases.sample_instance(key, scenario))
        np.testing.assert_allclose(matrices[i], one, rtol=1e-5)


def test_one_trace_for_many_calls():
    chex.clear_trace_counter()
    counted = jax.jit(chex.assert_max_traces(lsa.throughput, n=1))
    for seed in range(4):
        inst = cases.instance("fading", seed)
        counted(inst, cases.raw_action(inst, seed))


def test_float64_works():
    with jax.enable_x64(True):
        scenario = lsa.Scenario(num_users=12, num_channels=15, num_active=6, fading=True)
        inst = lsa.sample_instance(jax.random.key(0), scenario)
        matrix = lsa.rate_matrix(inst)
        assert matrix.dtype == jnp.float64
        expected = oracle.rate_matrix(inst, cases.fading_gain(inst))
        np.testing.assert_allclose(matrix, expected, rtol=1e-12)

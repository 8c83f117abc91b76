import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from jaxtyping import TypeCheckError

import lsajax as lsa
from lsajax import link
from tests.lsajax import cases, oracle

pytestmark = pytest.mark.optimised

SETTINGS = list(cases.SETTINGS)
SOME = cases.with_slow(SETTINGS)
rate_matrix, channel_power, assigned_rate, assigned_power, rate_at = map(
    jax.jit,
    (lsa.rate_matrix, lsa.channel_power, lsa.assigned_rate, lsa.assigned_power, link.rate_at),
)


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
    np.testing.assert_allclose(rate_matrix(inst), expected, rtol=2e-5)


@pytest.mark.parametrize("setting", SOME)
def test_what_is_asked_for_is_the_matrix_entry(setting):
    """Rate and power by assignment, by row and channel, by a whole row or column."""
    inst = cases.instance(setting)
    K, M = inst.num_rows, inst.num_channels
    matrix, rows = np.asarray(rate_matrix(inst)), np.arange(K)
    power = np.broadcast_to(channel_power(inst), (K, M))
    for seed in range(10):
        raw = np.asarray(cases.raw_action(inst, seed))
        known = (raw >= 0) & (raw < M)
        channel = np.where(known, raw, 0)
        expected = np.where(known, matrix[rows, channel], 0)
        np.testing.assert_allclose(assigned_rate(inst, jnp.asarray(raw)), expected, rtol=2e-6)
        served = np.asarray(link.is_served(inst, raw))
        expected = np.where(served, power[rows, channel], 0)
        np.testing.assert_allclose(assigned_power(inst, jnp.asarray(raw)), expected, rtol=2e-6)
    everywhere = np.asarray(rate_at(inst, None, None))
    assert everywhere.shape == (K, M)
    row, channel = jnp.array([2, 0, 2]), jnp.array([1, 5, 3])
    for at, expected in (
        ((row, channel), everywhere[row, channel]),
        ((row[:, None], channel), everywhere[row[:, None], channel]),
        ((row, None), everywhere[row]),
        ((row[0], None), everywhere[row[0]]),
        ((None, jnp.full(K, 4)), everywhere[:, 4]),
    ):
        np.testing.assert_allclose(rate_at(inst, *at), expected, rtol=2e-6)


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
    masked = inst.replace(user_mask=jnp.arange(5) > 0)
    served, channel, target = link.place(masked, jnp.array([0, 2, 1, -1, 9]))
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


@pytest.mark.parametrize("setting", ["plain", "all", "values", "pairs"])
def test_gradients_are_finite_everywhere(setting):
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
        return lsa.objective_value(changed, raw) + lsa.value_matrix(changed).sum()

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    for distance in (0.0, 1.0, 400.0):
        gradients = gradient(distance, inst.mean_power_w, inst.bandwidth_hz)
        assert all(bool(jnp.isfinite(g).all()) for g in gradients)


def test_gap_and_cap_of_a_rate():
    """A real code needs `snr_gap_db` more and ends at its highest modulation; slopes are finite."""
    inst = lsa.make_instance([1e-12, 1e-9], [1e7], snr_gap_db=3.0, max_spectral_efficiency=6.0)
    sinr = np.array([1e-12, 1e-9]) / (10**-20.4 * 1e7) / 10**0.3
    expected = 1e7 * np.minimum(np.log2(1 + sinr), 6.0)
    assert expected[0] < 6e7 == expected[1]
    np.testing.assert_allclose(lsa.rate_matrix(inst)[:, 0], expected, rtol=1e-5)

    def total(gap, cap):
        changed = inst.replace(snr_gap=gap, max_spectral_efficiency=cap)
        return lsa.rate_matrix(changed).sum() / 1e7

    gap, cap = jax.grad(total, (0, 1))(inst.snr_gap, inst.max_spectral_efficiency)
    slope = -sinr[0] / (1 + sinr[0]) / np.log(2) / 10**0.3
    np.testing.assert_allclose([gap, cap], [slope, 1.0], rtol=1e-4)


def test_a_noise_figure_is_noise():
    plain, noisy = (cases.instance(noise_figure_db=figure) for figure in (0.0, 7.0))
    np.testing.assert_allclose(noisy.noise_psd_w_hz, plain.noise_psd_w_hz * 10**0.7, rtol=1e-5)
    np.testing.assert_allclose(rate_matrix(noisy), oracle.rate_matrix(noisy), rtol=2e-5)


def test_interference_per_pair_is_the_users_own():
    """The downlink: one user hears on a channel what another does not."""
    loud = 1e-10
    inst = lsa.make_instance([1e-10] * 2, [1e7] * 2, interference_w=[[0, loud], [loud, 0]])
    rates = np.asarray(lsa.rate_matrix(inst))
    np.testing.assert_allclose(rates, oracle.rate_matrix(inst), rtol=1e-5)
    assert rates[0, 0] == rates[1, 1] > 5 * rates[0, 1]
    both = lsa.user_rates(inst, jnp.array([1, 1]))
    np.testing.assert_allclose(both, oracle.user_rates(inst, [1, 1]), rtol=1e-5)


def test_no_gradient_through_an_occupied_channel():
    inst = cases.instance()
    inst = inst.replace(occupied=inst.occupied.at[3].set(True))
    raw = jnp.full(inst.num_rows, 3)

    def total(bandwidth):
        return lsa.assigned_rate(inst.replace(bandwidth_hz=bandwidth), raw).sum()

    assert float(jnp.abs(jax.grad(total)(inst.bandwidth_hz)).max()) == 0.0


@pytest.mark.parametrize("setting", ["fading", "multipath"])
def test_fading_belongs_to_the_user(setting):
    inst = cases.instance(setting, users=30, channels=20, active=30)
    order = np.random.default_rng(0).permutation(30)
    fields = ("user_id", "user_mask", "position_m", "mean_power_w")
    shuffled = inst.replace(**{name: getattr(inst, name)[order] for name in fields})
    np.testing.assert_allclose(
        rate_matrix(shuffled), np.asarray(rate_matrix(inst))[order], rtol=1e-6
    )


@pytest.mark.parametrize("setting", ["all", "multipath", "pairs"])
def test_jit_and_vmap_agree_with_one_by_one(setting):
    each = [cases.instance(setting, seed) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    matrices = jax.jit(jax.vmap(lsa.rate_matrix))(batch)
    for inst, matrix in zip(each, matrices, strict=True):
        np.testing.assert_allclose(matrix, rate_matrix(inst), rtol=1e-5)
    # A batch knows its sizes and what it has, as one of it does.
    for name in ("num_rows", "num_channels", "power_per_pair", "interference_per_pair", "sortable"):
        assert getattr(batch, name) == getattr(each[0], name)
    with pytest.raises((ValueError, TypeCheckError), match="inst must be one slot, got a batch"):
        lsa.rate_matrix(batch)


def test_one_trace_for_many_calls():
    chex.clear_trace_counter()
    counted = jax.jit(chex.assert_max_traces(lsa.throughput, n=1))
    for seed in range(4):
        inst = cases.instance("fading", seed)
        counted(inst, cases.raw_action(inst, seed))


@pytest.mark.parametrize("setting", ["fading", "values"])
def test_float64_works(setting):
    with jax.enable_x64(True):
        scenario = lsa.Scenario(num_users=12, num_channels=15, num_active=6)
        scenario = scenario.replace(**cases.SETTINGS[setting])
        inst = lsa.sample_instance(jax.random.key(0), scenario)
        matrix = lsa.value_matrix(inst)
        assert matrix.dtype == jnp.float64
        expected = oracle.value_matrix(inst, cases.fading_gain(inst))
        np.testing.assert_allclose(matrix, expected, rtol=1e-10)

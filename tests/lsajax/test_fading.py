"""Laws of the fading gain; each test has a false-alarm rate of 1e-4 or below, at fixed keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

import lsajax as lsa
from lsajax import fading, hashing

P_MIN = 1e-4
L = fading.TAPS
SEED = hashing.seed(jax.random.key(0), "fading")
FREQUENCY_HZ = 1e6 * np.array([0, 1, 4, 8, 16, 60])
SPREAD_S, DOPPLER_HZ = 20e-9, 80.0
USERS, CHANNELS = np.arange(20_000)[:, None], np.arange(6)
power_gain = jax.jit(fading.power_gain)


def multipath(time_s=0.0, frequency_hz=FREQUENCY_HZ, spread_s=SPREAD_S, doppler_hz=DOPPLER_HZ):
    return fading.Multipath(*map(jnp.asarray, (frequency_hz, time_s, spread_s, doppler_hz)))


def gains(factor=None, paths=None, users=USERS, channels=CHANNELS):
    factor = None if factor is None else jnp.asarray(factor, float)
    return np.asarray(power_gain(fading.Fading(SEED, factor, paths), users, channels), np.float64)


def check_mean(samples, expected, comparisons=1):
    """The mean of independent samples, within its own standard error."""
    z = (samples.mean() - expected) / (samples.std() / np.sqrt(samples.size))
    assert abs(z) < stats.norm.isf(P_MIN / 2 / comparisons), (samples.mean(), expected)


@pytest.mark.parametrize("factor", [None, 0.0, 0.5, 10.0])
def test_independent_draws_are_rayleigh_or_rician(factor):
    """The power of a Rician channel is non-central chi-squared; of a Rayleigh one exponential."""
    ratio = factor or 0.0
    h = gains(factor).ravel()
    law = stats.ncx2(2, 2 * ratio).cdf if ratio else stats.chi2(2).cdf
    assert stats.kstest(2 * (1 + ratio) * h, law).pvalue > P_MIN
    check_mean(h, 1.0)
    check_mean((h - 1) ** 2, (1 + 2 * ratio) / (1 + ratio) ** 2)


@pytest.mark.parametrize("factor", [None, 0.5, 10.0])
def test_moments_of_a_sum_of_paths(factor):
    """Twelve paths of equal power: the variance of their sum's power is 1 - 1/12, not 1."""
    ratio = factor or 0.0
    h = gains(factor, multipath(0.7))[:, 3]
    check_mean(h, 1.0)
    check_mean((h - 1) ** 2, (1 - 1 / L + 2 * ratio) / (1 + ratio) ** 2)


def check_correlation(first, second, rho, comparisons):
    """cov(h, h') = (1 - 1/L) |rho|^2 over users.

    With h = sum_kl e^(j (a_k - a_l)) / L, and h' that of a_k + b_k, only the terms k = l, m = n
    and k = n, l = m of E h h' are free of the uniform phases a: 1 and (1 - 1/L) |E e^(j b)|^2.
    """
    check_mean((first - 1) * (second - 1), (1 - 1 / L) * np.abs(rho) ** 2, comparisons)


def test_correlation_over_frequency():
    h = gains(paths=multipath(0.3))
    for i, j in ((0, 1), (0, 2), (1, 3), (0, 4), (0, 5), (4, 5)):
        apart = FREQUENCY_HZ[j] - FREQUENCY_HZ[i]
        check_correlation(h[:, i], h[:, j], 1 / (1 + 2j * np.pi * apart * SPREAD_S), 6)


def test_correlation_over_time():
    first = gains(paths=multipath(0.5))[:, 2]
    # The fourth is J0's first zero, the last its second extremum.
    for turns in (0.02, 0.1, 0.2, 0.3827, 0.6098):
        later = gains(paths=multipath(0.5 + turns / DOPPLER_HZ))[:, 2]
        check_correlation(first, later, special.j0(2 * np.pi * turns), 5)


def test_the_direct_path_is_alike_on_all_channels():
    h = gains(1e6, multipath())
    np.testing.assert_allclose(h, 1.0, atol=0.02)


@pytest.mark.parametrize("factor", [None, 2.0])
@pytest.mark.parametrize("paths", [None, multipath(0.4, 1.5e7 * np.arange(2000))])
def test_an_entry_by_itself_is_that_of_the_matrix(factor, paths):
    """Over 30 GHz as well, where phases are thousands of turns; compiled, eager, one by one."""
    matrix = gains(factor, paths, np.arange(40)[:, None], np.arange(2000))
    rng = np.random.default_rng(0)
    user, channel = rng.integers(0, 40, 60), rng.integers(0, 2000, 60)
    factor = None if factor is None else jnp.asarray(factor)
    draw = fading.Fading(SEED, factor, paths)
    eager = fading.power_gain.__wrapped__
    for few in (eager(draw, user, channel), power_gain(draw, user, channel)):
        np.testing.assert_allclose(few, matrix[user, channel], rtol=1e-4, atol=1e-5)
    one = power_gain(draw, jnp.int32(user[0]), jnp.int32(channel[0]))
    assert one.shape == ()
    np.testing.assert_allclose(one, matrix[user[0], channel[0]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("paths", [None, multipath(0.1, 1e9 * np.arange(64))])
def test_no_matrix_is_symmetric(paths):
    h = gains(1.0, paths, np.arange(64)[:, None], np.arange(64))
    above = np.triu_indices(64, 1)
    correlation = np.corrcoef(h[above], h.T[above])[0, 1]
    assert abs(correlation) < stats.norm.isf(P_MIN / 2) / np.sqrt(len(above[0]))
    assert np.mean(h[above] == h.T[above]) < 1e-3


def test_users_differ_and_seeds_differ():
    paths = multipath(0.1, 1e9 * np.arange(64))
    h = gains(None, paths, np.arange(64)[:, None], np.arange(64))
    other = hashing.seed(jax.random.key(1), "fading")
    g = power_gain(fading.Fading(other, None, paths), np.arange(64)[:, None], np.arange(64))
    for a, b in ((h[:-1], h[1:]), (h, np.asarray(g))):
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < stats.norm.isf(P_MIN / 4) / np.sqrt(a.size)


def test_gradients_against_finite_differences():
    with jax.enable_x64(True):
        channels, users = np.arange(6), np.arange(3)[:, None]

        def gain(factor, spread, doppler, time):
            paths = multipath(time / 300, FREQUENCY_HZ, spread * SPREAD_S, doppler * DOPPLER_HZ)
            return fading.power_gain(fading.Fading(SEED, factor, paths), users, channels)

        args = tuple(map(jnp.float64, (1.5, 0.8, 1.2, 0.9)))
        # Delays have 27 digits of two: no finer steps.
        check_grads(gain, args, order=1, modes=["rev"], eps=1e-4, rtol=1e-3, atol=1e-3)

        def independent(factor):
            return fading.power_gain(fading.Fading(SEED, factor), users, channels)

        check_grads(independent, args[:1], order=1, modes=["rev"], rtol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 1e-12, 1.0, 1e8])
def test_gradients_are_finite_at_every_end(factor):
    """Without a direct path, with it alone; at rest, and with all paths at once."""

    def total(factor, spread, doppler):
        paths = multipath(0.1, FREQUENCY_HZ, spread, doppler)
        both = (fading.Fading(SEED, factor, part) for part in (paths, None))
        return sum(fading.power_gain(f, np.arange(3)[:, None], np.arange(6)).sum() for f in both)

    slopes = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    for spread, doppler in ((0.0, 0.0), (SPREAD_S, DOPPLER_HZ)):
        value, gradient = slopes(*map(jnp.float32, (factor, spread, doppler)))
        assert np.isfinite(value) and np.isfinite(gradient).all(), gradient


def test_fading_of_ones_own_instance():
    draw = lsa.Fading(SEED, jnp.asarray(2.0), multipath())
    inst = lsa.make_instance(np.full(4, 1e-9), np.full(6, 1e7), fading=draw)
    expected = 1e-9 * gains(2.0, multipath(), np.arange(4)[:, None])
    np.testing.assert_allclose(lsa.channel_power(inst), expected, rtol=1e-4)
    for wrong, message in (
        (draw._replace(seed=jnp.zeros(3, jnp.uint32)), r"fading.seed must have shape \(2,\)"),
        (draw._replace(seed=jnp.zeros(2)), "fading.seed must be of type uint32, got float"),
        (draw._replace(rician_factor=jnp.asarray(-1.0)), "fading.rician_factor must be finite and"),
        (
            draw._replace(multipath=multipath(frequency_hz=np.zeros(5))),
            r"fading.multipath.frequency_hz must have shape \(6,\), got \(5,\)",
        ),
        (
            draw._replace(multipath=multipath(spread_s=np.nan)),
            "fading.multipath.delay_spread_s must be finite .* got nan",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            lsa.make_instance(np.full(4, 1e-9), np.full(6, 1e7), fading=wrong)

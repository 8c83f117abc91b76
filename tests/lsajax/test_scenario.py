import jax
import numpy as np
import pytest

import lsajax as lsa

SIZES = {"num_users": 10, "num_channels": 12, "num_active": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_active": 11}, "num_active must be at most num_users=10, got 11"),
        ({"num_users": 0}, "num_users must be an integer of at least 1, got 0"),
        ({"num_channels": 2.5}, "num_channels must be an integer"),
        ({"num_active": True}, "num_active must be an integer"),
        ({"num_active_min": 5}, "num_active_min must be at most num_active=4, got 5"),
        ({"num_active_min": 2, "poisson": True}, "num_active_min must be None"),
        ({"bandwidth_min_hz": 0.0}, "bandwidth_min_hz must be a finite number above 0, got 0.0"),
        ({"bandwidth_min_hz": 3e7}, "bandwidth_min_hz must be at most bandwidth_max_hz=2e\\+07"),
        ({"band_start_hz": 0.0}, "band_start_hz must be a finite number above 0, got 0.0"),
        ({"objective": "fairness"}, "objective must be one of throughput, fair, coupled, got 'fai"),
        ({"fading": True, "multipath": True}, "fading and multipath exclude each other"),
        ({"rician_factor_db": 3.0}, "rician_factor_db has no effect without fading=True or multi"),
        ({"shadowing_distance_m": 50.0}, "shadowing_distance_m has no effect without shadowing"),
        ({"alpha": -1.0}, "alpha must be a finite number of at least 0, got -1.0"),
        ({"weight_max": 0.5}, "weight_max must be a finite number of at least 1, got 0.5"),
        ({"max_spectral_efficiency": 0}, "max_spectral_efficiency must be .* above 0, got 0.0"),
        ({"snr_gap_db": "3"}, "snr_gap_db must be a number, got '3'"),
        ({"delay_spread_s": -1e-9}, "delay_spread_s must be a finite number of at least 0"),
        ({"alpha": None}, "alpha must be a number, got None"),
        ({"radius_m": float("nan")}, "radius_m must be a finite number above 0, got nan"),
        ({"tx_power_dbm": float("inf")}, "tx_power_dbm must be a finite number, got inf"),
        ({"radius_m": "500"}, "radius_m must be a number, got '500'"),
        ({"occupancy": 1.0}, r"occupancy must be within \[0, 1\), got 1.0"),
        ({"interference_share": -0.1}, r"interference_share must be within \[0, 1\]"),
        ({"occupancy": 0.99}, "occupancy_dwell_slots must be at least"),
        ({"fading": "no"}, "fading must be True or False, got 'no'"),
        ({"radius_m": [1.0]}, r"radius_m must be a number, got \[1.0\]"),
        ({"radius_m": np.array(-1.0)}, "radius_m must be a finite number above 0"),
        ({"activity_dwell_slots": 0.5}, "activity_dwell_slots must be .* at least 1 slot"),
    ],
)
def test_bad_value_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        lsa.Scenario(**{**SIZES, **changes})


def test_replace_validates():
    scenario = lsa.Scenario(**SIZES)
    assert scenario.replace(radius_m=100.0).radius_m == 100.0
    with pytest.raises(ValueError, match="num_active must be at most"):
        scenario.replace(num_users=3)


def test_frozen_and_hashable():
    scenario = lsa.Scenario(**SIZES)
    assert hash(scenario) == hash(lsa.Scenario(**SIZES))
    with pytest.raises(AttributeError):
        scenario.num_users = 3


def test_constants_are_traced_and_sizes_are_not():
    traces = []

    @jax.jit
    def power(scenario):
        traces.append(1)
        return lsa.sample_instance(jax.random.key(0), scenario).mean_power_w

    scenario = lsa.Scenario(**SIZES)
    first = power(scenario)
    second = power(scenario.replace(tx_power_dbm=33.0))
    assert len(traces) == 1
    np.testing.assert_allclose(second, 10 * first, rtol=1e-5)
    power(scenario.replace(num_active=5))
    assert len(traces) == 2


def test_gradient_reaches_the_scenario():
    def mean_power(scenario):
        return lsa.sample_instance(jax.random.key(0), scenario).mean_power_w.mean()

    gradient = jax.grad(mean_power, allow_int=True)(lsa.Scenario(**SIZES))
    assert gradient.tx_power_dbm > 0 and gradient.radius_m < 0
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradient))


RICH = {
    "wideband": True, "interference": True, "shadowing": True, "shadowing_distance_m": 50.0,
    "rician_factor_db": 3.0, "snr_gap_db": 3.0, "max_spectral_efficiency": 9.0,
    "weight_max": 3.0, "min_rate_bps": 1e8, "min_rate_value": 2.0, "noise_figure_db": 5.0,
}  # fmt: skip


@pytest.mark.parametrize("law", ["fading", "multipath"])
def test_every_constant_of_the_link_has_a_finite_slope(law):
    scenario = lsa.Scenario(**SIZES, **RICH, **{law: True}, objective="fair", alpha=0.5)
    state = lsa.traffic.init(jax.random.key(1), scenario)._replace(slot=jax.numpy.int32(40))

    def value(scenario):
        inst = lsa.slot_instance(jax.random.key(0), scenario, state)
        return lsa.value_matrix(inst).sum()

    gradient = jax.jit(jax.grad(value))(scenario)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(gradient))
    for name in ("noise_figure_db", "snr_gap_db"):
        assert getattr(gradient, name) < 0
    assert gradient.max_spectral_efficiency > 0 and gradient.rician_factor_db != 0
    assert gradient.alpha < 0 and gradient.weight_max > 0 and gradient.min_rate_value > 0
    assert gradient.shadowing_distance_m != 0
    for name in ("delay_spread_s", "speed_m_s", "slot_s"):
        assert (getattr(gradient, name) != 0) == (law == "multipath"), name


def test_presets_are_the_papers():
    assert {k: (s.num_users, s.num_channels, s.num_active) for k, s in lsa.SCALES.items()} == {
        "I": (1000, 1000, 200),
        "II": (1500, 1500, 300),
        "III": (2000, 2000, 400),
    }
    assert len(lsa.SMALL_SCALES) == 8
    for triple, s in lsa.SMALL_SCALES.items():
        assert triple == (s.num_users, s.num_channels, s.num_active)


def test_any_tree_of_its_shape_can_be_built():
    """Gradients, axes and masks are no constants and must not be validated as such."""
    scenario = lsa.Scenario(**SIZES)
    axes = jax.tree.map(lambda _: None, scenario, is_leaf=lambda x: x is None)
    assert axes.radius_m is None
    zeros = jax.tree.map(lambda x: 0.0 * x, scenario)
    assert zeros.radius_m == 0.0 and zeros.num_users == 10
    radii = jax.numpy.array([100.0, 200.0])
    batch = scenario.replace(radius_m=radii)
    axes = jax.tree.map(lambda x: 0 if np.ndim(x) else None, batch)

    def power_of(scenario):
        return lsa.sample_instance(jax.random.key(0), scenario).mean_power_w

    power = jax.vmap(power_of, (axes,))(batch)
    assert power.shape == (2, 4) and (power[0] > power[1]).all()


def test_integers_are_taken_as_floats():
    scenario = lsa.Scenario(**SIZES, carrier_hz=2_400_000_000, radius_m=500)
    assert scenario == lsa.Scenario(**SIZES) and type(scenario.carrier_hz) is float
    assert lsa.sample_instance(jax.random.key(0), scenario).mean_power_w.shape == (4,)


@pytest.mark.parametrize(
    "value", [np.int64(5_800_000_000), np.array(5_800_000_000), np.float64(5.8e9), 5_800_000_000]
)
def test_numpy_numbers_are_the_python_ones(value):
    """int64 wrapped to int32 under jit, where the carrier is a leaf."""
    scenario = lsa.Scenario(**SIZES, carrier_hz=value, band_start_hz=value, wideband=True)
    expected = lsa.Scenario(**SIZES, carrier_hz=5.8e9, band_start_hz=5.8e9, wideband=True)
    key = jax.random.key(0)
    ours, theirs = (jax.jit(lsa.sample_instance)(key, s) for s in (scenario, expected))
    np.testing.assert_allclose(ours.mean_power_w, theirs.mean_power_w, rtol=1e-6)
    np.testing.assert_allclose(ours.carrier_gain, theirs.carrier_gain, rtol=1e-6)
    eager = lsa.sample_instance(key, scenario)
    np.testing.assert_allclose(ours.mean_power_w, eager.mean_power_w, rtol=1e-5)

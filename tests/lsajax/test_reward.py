import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy import stats

import lsajax as lsa
from lsajax import assignments, reward
from tests.lsajax import cases, oracle


def all_random_assignments(inst):
    """Every valid assignment of the users to the idle channels; blanks where channels are short."""
    idle = list(np.flatnonzero(~np.asarray(inst.occupied)))
    slots = idle + [-1] * max(0, inst.num_rows - len(idle))
    return [np.array(p) for p in set(itertools.permutations(slots, inst.num_rows))]


@pytest.mark.parametrize("setting", ["plain", "fading", "interference"])
@pytest.mark.parametrize(("channels", "occupancy"), [(5, 0.3), (3, 0.4)])
def test_expectation_is_the_mean_over_all_assignments(setting, channels, occupancy):
    inst = cases.instance(setting, 1, users=4, channels=channels, active=3, occupancy=occupancy)
    if channels == 3:  # fewer idle channels than users
        inst = inst.replace(occupied=jnp.array([True, False, False]))
    fading = cases.fading_gain(inst)
    values = [oracle.throughput(inst, a, fading) for a in all_random_assignments(inst)]
    np.testing.assert_allclose(lsa.expected_random_throughput(inst), np.mean(values), rtol=1e-5)


@pytest.mark.parametrize("idle", [4, 2])
def test_each_sample_is_uniform_over_all_assignments(idle):
    """Chi-square over all assignments, false alarm 1e-4 for each of the samples looked at."""
    occupied = [False] * idle + [True] * (5 - idle)
    inst = lsa.make_instance([1e-9, 2e-9, 3e-9], np.full(5, 1e7), occupied=occupied)
    everything = [tuple(a) for a in all_random_assignments(inst)]
    draw = jax.jit(jax.vmap(lambda k: assignments.random(k, inst, 3)))
    samples = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))
    for column in range(3):
        drawn = [everything.index(tuple(a)) for a in samples[:, column]]
        counts = np.bincount(drawn, minlength=len(everything))
        assert stats.chisquare(counts).pvalue > 1e-4


def test_sampled_baseline_is_unbiased():
    inst = cases.instance("all")
    draw = jax.jit(jax.vmap(lambda k: lsa.sampled_random_throughput(k, inst, 4)))
    values = np.asarray(draw(jax.random.split(jax.random.key(1), 2000)), float)
    z = (values.mean() - float(lsa.expected_random_throughput(inst))) / (
        values.std() / np.sqrt(values.size)
    )
    assert abs(z) < stats.norm.isf(0.5e-4)


def test_gain_follows_equation_13():
    inst = cases.instance("fading")
    fading = cases.fading_gain(inst)
    baseline = float(lsa.expected_random_throughput(inst))
    group = jnp.stack([cases.raw_action(inst, s) for s in range(12)])
    gain = lsa.performance_gain(jax.random.key(0), inst, group)
    etas = []
    for raw, value in zip(np.asarray(group), gain, strict=True):
        etas.append(expected_eta(inst, raw, fading))
        capacity = etas[-1] * oracle.throughput(inst, raw, fading)
        np.testing.assert_allclose(
            value, 2 * (capacity - baseline) / baseline, rtol=1e-4, atol=1e-4
        )
    assert set(etas) == {0.5, 1.0}, "the cases must meet both branches"


def expected_eta(inst, raw, fading):
    v = oracle.to_float64(inst)
    for i, j in itertools.permutations(range(len(raw)), 2):
        m = raw[i]
        if m != raw[j] or not 0 <= m < len(v["bandwidth_hz"]) or v["occupied"][m]:
            continue
        others = [k for k in range(len(raw)) if raw[k] == m and k != i]
        rivals = sum(v["mean_power_w"][k] * fading[k, m] for k in others)
        if rivals > v["noise_psd_w_hz"] * v["bandwidth_hz"][m] + v["interference_w"][m]:
            return 0.5
    return 1.0


def test_a_faint_collision_costs_no_factor():
    strong, faint = 1e-9, 1e-16  # noise of 10 MHz is 4e-14 W
    inst = lsa.make_instance([strong, faint], [1e7, 2e7])
    same = jnp.zeros(2, jnp.int32)
    assert float(reward.collision_factor(inst, same)) == 0.5, "the faint user hears the strong one"
    assert float(reward.collision_factor(inst, same, threshold_db=50.0)) == 1.0
    assert float(reward.collision_factor(inst, jnp.array([0, 1]))) == 1.0


def test_baseline_of_a_group_is_computed_once():
    """The matrix mean of the baseline has K x M logarithms; the group must not repeat it."""
    inst = cases.instance("fading", users=64, channels=64, active=64)
    group = jnp.zeros((16, 64), jnp.int32)
    flops = [
        jax.jit(lsa.performance_gain)
        .lower(jax.random.key(0), inst, group[:g])
        .compile()
        .cost_analysis()["transcendentals"]
        for g in (1, 16)
    ]
    assert flops[1] - flops[0] <= 15 * 8 * 64, flops


def test_shapes_and_errors():
    inst = cases.instance()
    key = jax.random.key(0)
    for group in ((), (2, 3), (0,)):
        raw = jnp.zeros((*group, 6), jnp.int32)
        assert jax.eval_shape(lsa.performance_gain, key, inst, raw).shape == group
    with pytest.raises(ValueError, match="raw must end in an axis of 6 users, got shape \\(5,\\)"):
        lsa.performance_gain(key, inst, jnp.zeros(5, jnp.int32))
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        lsa.performance_gain(key, inst, jnp.zeros(6, jnp.int32), num_samples=0)


def test_vmap_over_a_group_equals_the_group():
    inst = cases.instance("wideband")
    group = jnp.stack([cases.raw_action(inst, s) for s in range(5)])
    key = jax.random.key(4)
    gain = jax.jit(lambda raw: lsa.performance_gain(key, inst, raw, num_samples=8))
    whole = gain(group)
    each = jax.jit(jax.vmap(gain))(group)
    np.testing.assert_allclose(whole, each, rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "occupied"),
    [
        ([True, False, True], [False, False]),  # padding in the middle
        ([True, True, False, True, True], [False, False]),  # more users than channels
        ([False, True, True, True], [True, False, True, False, False, True]),
    ],
)
def test_random_assignments_of_any_mask_are_uniform(mask, occupied):
    """Chi-square over all valid assignments, and none beside; false alarm 1e-4 for each sample."""
    inst = lsa.make_instance(
        np.full(len(mask), 1e-9), np.full(len(occupied), 1e7), occupied=occupied
    )
    inst = inst.replace(user_mask=jnp.array(mask))
    users, idle = np.flatnonzero(mask), np.flatnonzero(~np.array(occupied))
    everything = set(itertools.permutations([*idle, *[-1] * (len(users) - len(idle))], len(users)))
    draw = jax.jit(jax.vmap(lambda k: assignments.random(k, inst, 2)))
    samples = np.asarray(draw(jax.random.split(jax.random.key(1), 6000)))
    assert (samples[:, :, ~np.array(mask)] == -1).all()
    for column in range(2):
        found = collections.Counter(map(tuple, samples[:, column][:, users].tolist()))
        assert set(found) == everything
        assert stats.chisquare(list(found.values())).pvalue > 1e-4
    solved = lsa.solvers.random(jax.random.key(0), inst).assignment
    assert int(lsa.violations(inst, solved).duplicate) == 0


def test_integers_beyond_int32():
    inst = lsa.make_instance([1e-9, 2e-9], [1e7, 2e7])
    key = jax.random.key(0)
    gain = lsa.performance_gain(key, inst, np.array([[0, 1], [2**32, 1]]), baseline_bps=6 * 10**9)
    expected = lsa.performance_gain(key, inst, np.array([[0, 1], [-1, 1]]), baseline_bps=6e9)
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
    with pytest.raises((ValueError, TypeCheckError), match="raw"):
        lsa.performance_gain(key, inst, np.array([0.0, 1.0]))

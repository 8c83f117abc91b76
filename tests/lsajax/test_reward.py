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
    idle, users = (np.flatnonzero(a) for a in (~np.asarray(inst.occupied), inst.user_mask))
    slots = [*idle, *[-1] * max(0, len(users) - len(idle))]
    found = sorted(set(itertools.permutations(slots, len(users))))
    everything = np.full((len(found), inst.num_rows), -1, np.int32)
    everything[:, users] = found
    return everything


def oracle_values(inst):
    fading = cases.fading_gain(inst)
    return np.array([oracle.objective_value(inst, a, fading) for a in all_random_assignments(inst)])


expected_random_value = jax.jit(lsa.expected_random_value)
performance_gain = jax.jit(lsa.performance_gain)
EVERY = [*(name for name in cases.SETTINGS if name != "poisson"), "coupled", "own coupling"]


def small(setting, mask=(1, 1, 1), occupied=(0, 0, 1, 0, 0)):
    name = "coupled" if setting == "own coupling" else setting
    inst = cases.instance(name, 1, users=4, channels=5, active=3)
    if setting == "own coupling":
        inst = inst.replace(
            coupling=jnp.array([[0, 0.3, 0.9], [0.3, 0, 0.1], [0.9, 0.1, 0]]),
            leakage=jnp.abs(jnp.arange(5.0)[:, None] - jnp.arange(5)) / 4,
        )
    return inst.replace(user_mask=jnp.array(mask, bool), occupied=jnp.array(occupied, bool))


@pytest.mark.parametrize(
    "setting",
    cases.with_slow(EVERY),
)
def test_expectation_is_the_mean_over_all_assignments(setting):
    """Fewer users than idle channels, as many, more; padding in front; one pair, nobody at all."""
    for mask, occupied in (
        ((1, 1, 1), (0, 0, 1, 0, 0)),
        ((1, 1, 1), (0, 1, 0, 1, 0)),
        ((1, 1, 1), (1, 0, 0, 1, 1)),
        ((0, 1, 1), (0, 0, 0, 0, 1)),
        ((1, 0, 1), (1, 0, 1, 1, 1)),
        ((0, 0, 0), (1, 0, 1, 1, 1)),
    ):
        inst = small(setting, mask, occupied)
        expected = oracle_values(inst).mean()
        np.testing.assert_allclose(expected_random_value(inst), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("setting", ["plain", "values", "coupled"])
def test_gain_anchored_at_both_ends(setting):
    """0 at the mean of all random answers, 1 at the best of them, in any unit."""
    inst = small(setting)
    group, values = all_random_assignments(inst), oracle_values(inst)
    gain = np.asarray(gain_between(inst, group, values.max()))
    np.testing.assert_allclose(gain.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(gain.max(), 1, rtol=1e-4)
    assert values[gain.argmax()] == values.max()
    np.testing.assert_allclose(
        gain, (values - values.mean()) / (values.max() - values.mean()), atol=1e-3
    )
    # Eq. (13) has the same order, but another scale.
    plain = np.asarray(performance_gain(jax.random.key(0), inst, group))
    if values.mean() > 0:
        np.testing.assert_array_equal(np.argsort(plain), np.argsort(gain))


gain_between = jax.jit(
    lambda inst, group, best: lsa.performance_gain(jax.random.key(0), inst, group, best=best)
)


def test_a_collision_is_no_remedy_for_a_loss():
    """Where the coupling outweighs the rates, half of a negative value would be the better one."""
    inst = small("coupled").replace(coupling_bps=jnp.asarray(1e12))
    raw = np.array([0, 0, 1])
    best = jnp.asarray(1e9)
    gains = [
        performance_gain(jax.random.key(0), inst, raw, best=best, penalty=p) for p in (0.5, 1.0)
    ]
    assert float(reward.collision_factor(inst, raw)) == 0.5 and gains[0] == gains[1]


@pytest.mark.parametrize("idle", [4, 2])
def test_each_sample_is_uniform_over_all_assignments(idle):
    """Chi-square over all assignments, false alarm 1e-4 for each of the samples looked at."""
    occupied = [False] * idle + [True] * (5 - idle)
    inst = lsa.make_instance([1e-9, 2e-9, 3e-9], np.full(5, 1e7), occupied=occupied)
    everything = list(map(tuple, all_random_assignments(inst)))
    draw = jax.jit(jax.vmap(lambda k: assignments.random(k, inst, 3)))
    samples = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))
    for column in range(3):
        drawn = [everything.index(tuple(a)) for a in samples[:, column]]
        counts = np.bincount(drawn, minlength=len(everything))
        assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("setting", ["all", "values", "coupled"])
def test_sampled_baseline_is_unbiased(setting):
    inst = cases.instance(setting)
    draw = jax.jit(jax.vmap(lambda k: lsa.sampled_random_value(k, inst, 4)))
    values = np.asarray(draw(jax.random.split(jax.random.key(1), 2000)), float)
    z = (values.mean() - float(expected_random_value(inst))) / (values.std() / np.sqrt(values.size))
    assert abs(z) < stats.norm.isf(0.5e-4)


def test_gain_follows_equation_13():
    inst = cases.instance("fading")
    fading = cases.fading_gain(inst)
    baseline = float(expected_random_value(inst))
    group = jnp.stack([cases.raw_action(inst, s) for s in range(12)])
    gain = performance_gain(jax.random.key(0), inst, group)
    etas = []
    for raw, value in zip(np.asarray(group), gain, strict=True):
        etas.append(expected_eta(inst, raw, fading))
        capacity = etas[-1] * oracle.throughput(inst, raw, fading)
        np.testing.assert_allclose(
            value, 2 * (capacity - baseline) / baseline, rtol=1e-4, atol=1e-4
        )
    assert set(etas) == {0.5, 1.0}, "the cases must meet both branches"


def expected_eta(inst, raw, fading):
    v = oracle.to_float64(inst, fading)
    for i, j in itertools.permutations(range(len(raw)), 2):
        m = raw[i]
        if m != raw[j] or not 0 <= m < len(v["bandwidth_hz"]) or v["occupied"][m]:
            continue
        others = [k for k in range(len(raw)) if raw[k] == m and k != i]
        if sum(v["power"][k, m] for k in others) > v["floor"][i, m]:
            return 0.5
    return 1.0


def test_a_faint_collision_costs_no_factor():
    strong, faint = 1e-9, 1e-16  # noise of 10 MHz is 4e-14 W
    inst = lsa.make_instance([strong, faint], [1e7, 2e7])
    same = jnp.zeros(2, jnp.int32)
    assert float(reward.collision_factor(inst, same)) == 0.5, "the faint user hears the strong one"
    assert float(reward.collision_factor(inst, same, threshold_db=50.0)) == 1.0
    assert float(reward.collision_factor(inst, jnp.array([0, 1]))) == 1.0
    # What 32 bits cannot hold is no channel, here as elsewhere.
    assert float(reward.collision_factor(inst, np.array([0, 2**32]))) == 1.0


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
    gain = lsa.performance_gain(key, inst, np.array([[0, 1], [2**32, 1]]), baseline=6 * 10**9)
    expected = lsa.performance_gain(key, inst, np.array([[0, 1], [-1, 1]]), baseline=6e9)
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
    with pytest.raises((ValueError, TypeCheckError), match="raw"):
        lsa.performance_gain(key, inst, np.array([0.0, 1.0]))

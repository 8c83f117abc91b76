"""Schedulers over slots against a NumPy loop in float64, and what they are known for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import lsajax as lsa
from lsajax import hashing, scheduling, traffic

# Users come and go, and at times outnumber the idle channels.
VARYING = lsa.Scenario(
    num_users=9, num_channels=5, num_active=7, num_active_min=3, fading=True, occupancy=0.3
)
# Twice as many users as channels, all of them always there.
CROWDED = lsa.Scenario(num_users=12, num_channels=6, num_active=12)
SCHEDULERS = [scheduling.proportional_fair, scheduling.max_rate, scheduling.round_robin]
WINDOW = 5.0


def oracle(key, scenario, name, num_slots):
    """The definition, user by user: throughput and averaged rates after each slot, final means."""
    N = scenario.num_users
    mean, total, count, last = np.zeros(N), np.zeros(N), np.zeros(N), -np.ones(N)
    state = traffic.init(key, scenario)
    throughput, averaged = [], []
    for t, slot_key in enumerate(jax.random.split(hashing.named_key(key, "slots"), num_slots)):
        inst = lsa.slot_instance(key, scenario, state)
        state = traffic.step(hashing.named_key(slot_key, "traffic"), scenario, state)
        rows = np.flatnonzero(inst.user_mask)
        ids = np.asarray(inst.user_id)[rows]
        rates = np.asarray(lsa.rate_matrix(inst), np.float64)[rows]
        idle = np.flatnonzero(~np.asarray(inst.occupied))
        got = dict.fromkeys(ids.tolist(), 0.0)
        if name == "round_robin":
            turns = sorted(range(len(ids)), key=lambda row: (last[ids[row]], row))
            pairs = [(row, idle[(p + t) % len(idle)]) for p, row in enumerate(turns[: len(idle)])]
        else:
            weight = 1 / (1 + mean[ids] / 1e6) if name == "proportional_fair" else np.ones(len(ids))
            chosen = linear_sum_assignment(weight[:, None] * rates[:, idle], maximize=True)
            pairs = [(row, idle[column]) for row, column in zip(*chosen, strict=True)]
        for row, channel in pairs:
            got[int(ids[row])] = rates[row, channel]
            last[ids[row]] = t
        for user, rate in got.items():
            count[user] += 1
            total[user] += rate
            mean[user] += (rate - mean[user]) / min(count[user], WINDOW)
        throughput.append(sum(got.values()))
        averaged.append(mean[count > 0])
    return np.array(throughput), averaged, total / np.maximum(count, 1), mean


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
def test_equals_the_loop(scheduler):
    key = jax.random.key(3)
    history = scheduling.run(key, VARYING, scheduler, 20, window_slots=WINDOW)
    throughput, averaged, means, state = oracle(key, VARYING, scheduler.__name__, 20)
    np.testing.assert_allclose(history.throughput_bps, throughput, rtol=1e-5)
    np.testing.assert_allclose(history.mean_rate_bps, means, rtol=1e-5)
    np.testing.assert_allclose(history.state.mean_rate_bps, state, rtol=1e-5)
    jain = [r.sum() ** 2 / (r.size * (r**2).sum()) for r in averaged]
    np.testing.assert_allclose(history.jain_index, jain, rtol=1e-5)


@pytest.mark.parametrize(
    ("setting", "num_channels"),
    [
        ("fading", 6),
        pytest.param("fading", 18, marks=pytest.mark.slow),
        pytest.param("multipath", 6, marks=pytest.mark.slow),
    ],
)
def test_what_they_trade(setting, num_channels):
    scenario = CROWDED.replace(num_channels=num_channels, **lsa.SETTINGS[setting], speed_m_s=30.0)
    keys = jax.random.split(jax.random.key(0), 3)
    fair, fast = (
        jax.vmap(lambda key, s=s: scheduling.run(key, scenario, s, 40))(keys)
        for s in (scheduling.proportional_fair, scheduling.max_rate)
    )
    # In each slot: the same networks, and the largest sum that there is.
    assert (fast.throughput_bps >= fair.throughput_bps * (1 - 1e-5)).all()
    assert (fast.throughput_bps.mean(1) > fair.throughput_bps.mean(1)).all()
    np.testing.assert_array_equal(fair.served, fast.served)
    assert (fair.jain_index[:, -1] > fast.jain_index[:, -1]).all()
    if num_channels < scenario.num_users:  # with room for all, both come close to the best sum
        fair_sum, fast_sum = (jnp.sum(jnp.log1p(h.mean_rate_bps / 1e6), 1) for h in (fair, fast))
        assert (fair_sum > fast_sum).all()


def test_vmap_and_jit_give_what_single_runs_give():
    keys = jax.random.split(jax.random.key(1), 2)

    def run(key):
        # As many slots as above: single runs are compiled already.
        return scheduling.run(key, VARYING, scheduling.proportional_fair, 20, window_slots=WINDOW)

    mapped = jax.jit(jax.vmap(run))(keys)
    for i, key in enumerate(keys):
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5), mapped, run(key)
        )


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
def test_one_slot_by_hand_under_jit_and_eagerly(scheduler):
    key = jax.random.key(2)
    inst = lsa.slot_instance(key, VARYING, traffic.init(key, VARYING))

    def one(state):
        return scheduling.update(state, inst, scheduler(key, state, inst), WINDOW)

    state = scheduling.init(VARYING)
    for _ in range(2):
        eager, compiled = one(state), jax.jit(one)(state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), eager, compiled)
        state = eager
    asked = np.asarray(inst.user_id)[np.asarray(inst.user_mask)]
    np.testing.assert_array_equal(np.flatnonzero(state.num_requests), np.sort(asked))
    assert set(np.flatnonzero(state.last_served >= 0)) <= set(asked)


def test_round_robin_serves_all_alike():
    scenario = CROWDED.replace(num_users=7, num_active=7, num_channels=3)
    history = scheduling.run(jax.random.key(0), scenario, scheduling.round_robin, 7)
    np.testing.assert_array_equal(history.served, 3)
    # 21 places for 7 users: whoever was served first in the round is served again first.
    assert (np.asarray(history.state.last_served) >= 7 - 3).all()


def test_priorities_and_solvers():
    key = jax.random.key(4)
    scenario = CROWDED.replace(fading=True)
    inst = lsa.slot_instance(key, scenario, traffic.init(key, scenario))
    state = scheduling.init(scenario)._replace(mean_rate_bps=jnp.full(12, 4e6))
    np.testing.assert_allclose(scheduling.weights(state, inst), 1 / 5)
    favoured = inst.replace(weight=jnp.ones(12).at[3].set(50.0))
    np.testing.assert_allclose(scheduling.weights(state, favoured)[3], 10)
    assert scheduling.proportional_fair(key, state, favoured)[3] >= 0
    # Of equal averages, every solver of sums of rates solves the same problem; any may be given.
    best = lsa.throughput(inst, scheduling.max_rate(key, state, inst))
    rough = partial(scheduling.proportional_fair, solver=lsa.solvers.greedy)(key, state, inst)
    exact = scheduling.proportional_fair(key, state, inst.replace(objective="coupled"))
    assert lsa.throughput(inst, rough) < lsa.throughput(inst, exact)
    np.testing.assert_allclose(lsa.throughput(inst, exact), best, rtol=1e-6)


def test_bad_input():
    key, scheduler = jax.random.key(0), scheduling.max_rate
    with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
        scheduling.run(key, VARYING, scheduler, 0)
    with pytest.raises(ValueError, match=r"window_slots must be at least 1, got 0\.5"):
        scheduling.run(key, VARYING, scheduler, 3, window_slots=0.5)
    with pytest.raises(ValueError, match="poisson must be False"):
        scheduling.run(key, lsa.SCALES["I"].replace(poisson=True), scheduler, 3)

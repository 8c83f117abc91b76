"""Theorem 1 as properties, and an oracle of dictionaries and loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from lsajax.repair import sorted_order
from tests.lsajax import cases, oracle

RULES = ("sorted", "greedy")


@functools.cache
def repaired(rule):
    return jax.jit(functools.partial(lsa.repair, rule=rule))


violations = jax.jit(lsa.violations)
channel_power = jax.jit(lsa.channel_power)
value_matrix = jax.jit(lsa.value_matrix)


def gains(inst):
    """What decides a contest: the power, or the value where users differ in more than that."""
    if inst.weight is not None or inst.min_rate_bps is not None or inst.interference_per_pair:
        return np.asarray(value_matrix(inst.without_coupling()), np.float64)
    power = np.broadcast_to(channel_power(inst), (inst.num_rows, inst.num_channels))
    return np.asarray(power, np.float64)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40, deadline=None)
@given(
    setting=st.sampled_from([*cases.SETTINGS, "coupled"]),
    seed=st.integers(0, 3),
    raw=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-1, 15), min_size=27, max_size=27),
)
def test_theorem_1(rule, setting, seed, raw):
    inst = cases.instance(setting, seed, users=12, channels=15, active=6)
    raw = np.array(raw[: inst.num_rows], np.int32)
    out = np.asarray(repaired(rule)(inst, jnp.asarray(raw)))
    users = np.flatnonzero(inst.user_mask)
    idle = np.flatnonzero(~np.asarray(inst.occupied))
    count = violations(inst, jnp.asarray(out))
    # Feasible whatever came in; complete as far as channels reach, and never more than that.
    assert int(count.unknown) == int(count.occupied) == int(count.duplicate) == 0
    assert int(count.unserved) == max(0, len(users) - len(idle))
    assert (out[~np.asarray(inst.user_mask)] == -1).all()
    gain = gains(inst)
    for channel in idle:
        asking = [i for i in users if raw[i] == channel]
        if len(asking) == 1:  # a valid, uncontested suggestion survives
            assert out[asking[0]] == channel
        elif asking:  # the winner has the highest gain
            (winner,) = [i for i in asking if out[i] == channel]
            best = max(gain[i, channel] for i in asking)
            np.testing.assert_allclose(gain[winner, channel], best, rtol=1e-5)
    again = np.asarray(repaired(rule)(inst, jnp.asarray(out)))
    np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize("setting", list(cases.SETTINGS))
def test_sorted_rule_against_the_oracle(setting):
    inst = cases.instance(setting, occupancy=0.3)
    for seed in range(40):
        raw = cases.raw_action(inst, seed)
        expected = oracle.repair(inst, np.asarray(raw), gains(inst))
        np.testing.assert_array_equal(repaired("sorted")(inst, raw), expected)


@pytest.mark.parametrize("setting", ["all", "values", "pairs"])
def test_greedy_rule_takes_the_best_remaining_value(setting):
    inst = cases.instance(setting, occupancy=0.3)
    value = np.asarray(value_matrix(inst))
    strength = np.asarray(inst.mean_power_w)
    if inst.power_per_pair:
        strength = strength[:, ~np.asarray(inst.occupied)].mean(axis=1)
    for seed in range(20):
        raw = cases.raw_action(inst, seed)
        kept = {
            i: m for i, m in enumerate(np.asarray(repaired("sorted")(inst, raw))) if m == raw[i]
        }
        out = np.full(inst.num_rows, -1)
        out[list(kept)] = list(kept.values())
        free = set(np.flatnonzero(~np.asarray(inst.occupied))) - set(kept.values())
        for i in np.argsort(-strength):
            if out[i] < 0 and free:
                out[i] = max(free, key=lambda m: (value[i, m], -m))
                free.remove(out[i])
        np.testing.assert_array_equal(repaired("greedy")(inst, raw), out)


@pytest.mark.parametrize("rule", RULES)
def test_more_users_than_channels_serves_the_strongest(rule):
    inst = lsa.make_instance(
        [1e-9, 5e-9, 2e-9, 4e-9, 3e-9],
        [1e7, 2e7, 3e7, 1.5e7],
        occupied=[False, False, False, True],
    )
    out = np.asarray(lsa.repair(inst, jnp.full(5, -1), rule=rule))
    np.testing.assert_array_equal(out, [-1, 2, -1, 1, 0])
    assert int(violations(inst, jnp.asarray(out)).unserved) == 2
    # The weakest user's valid suggestion survives all the same.
    out = np.asarray(lsa.repair(inst, jnp.array([2, -1, -1, -1, -1]), rule=rule))
    np.testing.assert_array_equal(out, [2, 1, -1, 0, -1])


def test_a_contest_goes_to_the_higher_value():
    """A weight, a need and a quiet channel each win against more power."""
    power, both = [2e-9, 1e-9], np.array([0, 0])
    for extras in (
        {"weight": [1.0, 3.0]},
        {"min_rate_bps": [0.0, 1e6], "min_rate_value": 1e9},
        {"interference_w": [[1e-8, 0.0], [0.0, 0.0]]},
        {"objective": "fair", "weight": [1.0, 3.0]},
    ):
        inst = lsa.make_instance(power, [1e7, 2e7], **extras)
        np.testing.assert_array_equal(lsa.repair(inst, both), [1, 0], str(extras))
    np.testing.assert_array_equal(lsa.repair(lsa.make_instance(power, [1e7] * 2), both), [0, 1])


@pytest.mark.parametrize("rule", RULES)
def test_group_of_actions_by_vmap(rule):
    inst = cases.instance("fading")
    raw = jnp.stack([cases.raw_action(inst, s) for s in range(8)])
    group = jax.jit(jax.vmap(functools.partial(lsa.repair, rule=rule), (None, 0)))(inst, raw)
    for one, expected in zip(raw, group, strict=True):
        np.testing.assert_array_equal(repaired(rule)(inst, one), expected)


def test_order_may_be_given():
    inst = cases.instance()
    raw = cases.raw_action(inst, 0)
    np.testing.assert_array_equal(
        lsa.repair(inst, raw, order=sorted_order(inst)), lsa.repair(inst, raw)
    )


def test_bad_arguments():
    inst = cases.instance()
    with pytest.raises(ValueError, match="rule must be 'sorted' or 'greedy', got 'random'"):
        lsa.repair(inst, jnp.zeros(6, jnp.int32), rule="random")
    with pytest.raises(ValueError, match=r"assignment must be 6 integers.*got shape \(5,\)"):
        lsa.repair(inst, jnp.zeros(5, jnp.int32))

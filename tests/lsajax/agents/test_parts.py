"""Advantages, losses, targets and the ring buffer beside rlax and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("flax")
rlax = pytest.importorskip("rlax")

from lsajax.agents import dqn, networks, ppo, replay  # noqa: E402


def steps(seed, length=24):
    """A row of steps in which episodes end and are cut off, and the values around them."""
    rng = np.random.default_rng(seed)
    terminated = rng.random(length) < 0.15
    truncated = (rng.random(length) < 0.15) & ~terminated
    value, next_value = rng.normal(size=(2, length)).astype(np.float32)
    for t in range(length - 1):
        if not (terminated[t] or truncated[t]):
            next_value[t] = value[t + 1]
    reward = rng.normal(size=length).astype(np.float32)
    return reward, value, next_value, terminated, truncated


@pytest.mark.parametrize("seed", range(20))
def test_advantages_are_those_of_rlax_on_each_episode_alone(seed):
    reward, value, next_value, terminated, truncated = steps(seed)
    found = ppo.advantages(reward, value, next_value, terminated, truncated, 0.97, 0.9)
    ends = [*np.flatnonzero(terminated | truncated), len(reward) - 1]
    first = 0
    for last in dict.fromkeys(ends):
        part = slice(first, last + 1)
        expected = rlax.truncated_generalized_advantage_estimation(
            jnp.asarray(reward[part]),
            jnp.asarray(0.97 * ~terminated[part], jnp.float32),
            0.9,
            jnp.asarray([*value[part], next_value[last]]),
        )
        np.testing.assert_allclose(found[part], expected, rtol=1e-5, atol=1e-6)
        first = last + 1


def test_advantages_of_many_environments_are_those_of_each():
    many = [steps(seed) for seed in range(3)]
    together = ppo.advantages(*np.stack(many, -1).astype(np.float32)[:3], *_flags(many), 0.9, 0.8)
    for i, one in enumerate(many):
        np.testing.assert_allclose(together[:, i], ppo.advantages(*one, 0.9, 0.8), rtol=1e-6)


def _flags(many):
    return (np.stack([one[i] for one in many], -1) for i in (3, 4))


@pytest.mark.parametrize("clip", [0.0, 0.1, 0.3])
def test_surrogate_loss_and_its_gradient_are_those_of_rlax(clip):
    rng = np.random.default_rng(0)
    ratio = jnp.asarray(np.exp(rng.normal(0, 0.3, 64)), jnp.float32)
    advantage = jnp.asarray(rng.normal(size=64), jnp.float32)
    ours = jax.value_and_grad(ppo.surrogate_loss)(ratio, advantage, clip)
    theirs = jax.value_and_grad(rlax.clipped_surrogate_pg_loss)(ratio, advantage, clip)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("terminated", [False, True])
def test_double_q_target_is_that_of_rlax(terminated):
    rng = np.random.default_rng(1)
    q, selector, target = (jnp.asarray(x, jnp.float32) for x in rng.normal(size=(3, 6)))
    found = dqn.double_q_target(jnp.float32(0.7), terminated, selector, target, 0.9)
    discount = 0.0 if terminated else 0.9
    error = rlax.double_q_learning(q, 2, jnp.float32(0.7), discount, target, selector)
    assert float(found) == pytest.approx(float(error + q[2]), rel=1e-5)


def test_masked_actions_have_probability_zero_and_add_no_entropy():
    class Obs:
        action_mask = jnp.array([True, False, True, False])

    log_probs = networks.log_policy(jnp.array([1.0, 50.0, 1.0, -50.0]), Obs())
    np.testing.assert_allclose(jnp.exp(log_probs), [0.5, 0, 0.5, 0], atol=1e-7)
    assert networks.entropy(log_probs) == pytest.approx(np.log(2), rel=1e-6)
    gradient = jax.grad(lambda s: networks.entropy(networks.log_policy(s, Obs())))
    assert np.isfinite(gradient(jnp.zeros(4))).all()


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 9), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_ring_buffer_is_a_deque(capacity, sizes):
    buffer, kept, number = replay.empty({"x": jnp.zeros(2)}, capacity), [], 0
    for size in (min(size, capacity) for size in sizes):
        values = np.arange(number, number + size, dtype=np.float32)
        buffer = replay.add(buffer, {"x": jnp.stack([values, -values], -1)})
        kept, number = (kept + values.tolist())[-capacity:], number + size
    there = np.asarray(buffer.data["x"])
    assert int(buffer.size) == len(kept)
    oldest = (int(buffer.position) - len(kept)) % capacity
    order = (oldest + np.arange(len(kept))) % capacity
    np.testing.assert_array_equal(there[order, 0], kept)
    np.testing.assert_array_equal(there[order, 1], -np.array(kept))
    drawn = replay.sample(jax.random.key(number), buffer, 8)["x"]
    assert drawn.shape == (8, 2) and set(np.asarray(drawn[:, 0]).tolist()) <= set(kept)


def test_samples_are_uniform():
    """False alarm rate 1e-4 (a chi-square test of 4096 draws of 7)."""
    from scipy import stats

    buffer = replay.add(replay.empty(jnp.zeros(()), 16), jnp.arange(7.0))
    drawn = np.asarray(replay.sample(jax.random.key(0), buffer, 4096))
    counts = np.bincount(drawn.astype(int), minlength=7)
    assert len(counts) == 7 and stats.chisquare(counts).pvalue > 1e-4


def test_a_batch_larger_than_the_buffer_is_refused():
    with pytest.raises(ValueError, match="at most capacity=2 items, got 3"):
        replay.add(replay.empty(jnp.zeros(()), 2), jnp.zeros(3))

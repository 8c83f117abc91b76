"""PPO and DQN where the optimum is known; a wrong bootstrap or mask would miss it."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flax")

from lsajax.agents import dqn, networks, ppo, rollout
from tests.lsajax.agents.small_envs import Bandit, Chain, Constant

PPO = ppo.Config(
    num_updates=60, num_envs=8, num_steps=16, num_minibatches=2, learning_rate=3e-3, anneal=False
)
DQN = dqn.Config(
    num_updates=150,
    num_envs=4,
    num_steps=4,
    num_gradients=4,
    batch_size=32,
    capacity=512,
    learning_starts=64,
    target_interval=20,
    learning_rate=3e-3,
    epsilon_steps=1000.0,
    huber=1.0,
    anneal=False,
)
ALGORITHMS = {
    "ppo": (ppo, PPO, networks.policy),
    "dqn": (dqn, DQN, networks.q_values),
}


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return ALGORITHMS[request.param]


@pytest.mark.slow
def test_chain_is_walked_straight(algorithm):
    module, config, network = algorithm
    env, net = Chain(), network(2)
    params, metrics = jax.jit(lambda key: module.train(key, env, config))(jax.random.key(0))
    evaluate = jax.jit(partial(rollout.evaluate, env=env, network=net, num_episodes=4, max_steps=4))
    short = evaluate(jax.random.key(1), params=params)
    np.testing.assert_array_equal(short, np.ones(4))  # in 4 steps there is but one way
    assert metrics["steps"][-1] == config.num_updates * config.steps_per_update
    assert np.nanmean(metrics["episode_length"][:10]) > 6  # it had to be learned


def test_value_of_an_episode_that_is_cut_off_and_of_one_that_ends(algorithm):
    """With a cut taken for an end the value would be at most 1 + gamma + gamma^2 = 2.2."""
    module, config, network = algorithm
    config, env = dataclasses.replace(config, discount=0.7), Constant()
    # Together: cut at each step, cut after three, ended at each step.
    cut, every = jnp.array([True, True, False]), jnp.array([1, 3, 1])

    @jax.jit
    @jax.vmap
    def train(cut, every):
        return module.train(jax.random.key(0), env, config, env_params=(cut, every))[0]

    params = train(cut, every)
    scores, value = jax.jit(jax.vmap(network(2).apply, (0, None)))(params, jnp.ones(1))
    found = value[:, None] if module is ppo else scores
    expected = np.array([1 / (1 - 0.7), 1 / (1 - 0.7), 1.0])[:, None]
    np.testing.assert_allclose(found, expected + np.zeros_like(found), rtol=0.05)


def test_bandit_takes_the_best_arm_that_is_open(algorithm):
    module, config, network = algorithm
    env = Bandit()
    params, metrics = jax.jit(lambda key: module.train(key, env, config))(jax.random.key(0))
    apply = jax.jit(network(env.num_actions).apply)
    for context, best in enumerate(env.best()):
        obs = env.observe(context)
        scores, _ = apply(params, obs)
        assert jnp.argmax(networks.masked(scores, obs)) == best
    # The forbidden arm pays 100: one pull would show in a mean of fewer than 256 episodes.
    assert np.nanmax(metrics["episode_return"]) <= env.num_actions


def test_masked_future_is_no_part_of_the_target():
    """The arm that would pay most is masked in what a step leads to, and its value is not used."""
    env = Bandit()
    config = dataclasses.replace(DQN, capacity=64)
    state = jax.jit(lambda key: dqn.init(key, env, config))(jax.random.key(0))
    obs = env.observe(0)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), obs)
    batch = dqn.Item(many, jnp.zeros(4, jnp.int32), jnp.zeros(4), many, jnp.zeros(4, bool))
    raised = jax.tree.map(jnp.zeros_like, state.params)
    bias = jnp.array([1.0, 2.0, 3.0, 4.0, 1000.0])
    raised["params"]["score_out"]["bias"] = bias
    _, losses = jax.jit(dqn._loss)(state, raised, batch, raised)
    error = abs(1.0 - 0.99 * 4.0)
    assert losses["loss"] == pytest.approx(error - 0.5, rel=1e-5)  # Huber's


@pytest.mark.parametrize("name", ["dqn", pytest.param("ppo", marks=pytest.mark.slow)])
def test_train_is_a_scan_over_update_which_is_traced_once_and_all_is_mapped(name):
    module, config, _ = ALGORITHMS[name]
    config = dataclasses.replace(config, num_updates=3)
    keys, rates = jax.random.split(jax.random.key(3), 2), jnp.array([1e-3, 1e-2])
    update = jax.jit(chex.assert_max_traces(module.update, n=1))

    def faster(rate):
        return dataclasses.replace(config, learning_rate=rate)

    both = jax.jit(jax.vmap(lambda key, rate: module.train(key, Chain(), faster(rate))))
    params, metrics = both(keys, rates)
    assert metrics["loss"].shape == (2, 3)
    init = jax.jit(lambda key, rate: module.init(key, Chain(), faster(rate)))
    for i in range(2):
        state = init(keys[i], rates[i])
        for _ in range(3):
            state, last = update(state)
        assert metrics["steps"][i, -1] == last["steps"]
        for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-3, atol=1e-4)
    assert not all(np.allclose(leaf[0], leaf[1]) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer of at least 1, got 0"),
        ({"discount": 1.5}, "discount must be within 0..1, got 1.5"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0, finite, got -1.0"),
    ],
)
def test_bad_config_is_one_sentence(algorithm, changes, message):
    module, config, _ = algorithm
    with pytest.raises(ValueError, match=message):
        module.train(jax.random.key(0), Chain(), dataclasses.replace(config, **changes))


def test_sizes_that_do_not_fit_together_are_one_sentence():
    with pytest.raises(ValueError, match=r"num_minibatches must divide .* = 128, got 3"):
        ppo.train(jax.random.key(0), Chain(), dataclasses.replace(PPO, num_minibatches=3))
    with pytest.raises(ValueError, match=r"capacity must be at least .* = 16, got 8"):
        dqn.train(jax.random.key(0), Chain(), dataclasses.replace(DQN, capacity=8))


def test_an_environment_without_actions_is_one_sentence(algorithm):
    module, config, _ = algorithm

    class Nothing:
        default_params = None

    with pytest.raises(ValueError, match=r"env must have an action_space\(params\).*Nothing"):
        module.init(jax.random.key(0), Nothing(), config)


def test_exploration_falls_linearly_and_stays():
    config = dqn.Config(epsilon_start=1.0, epsilon_end=0.2, epsilon_steps=100.0)
    found = [float(dqn.exploration(config, jnp.int32(n))) for n in (0, 50, 100, 1000)]
    assert found == pytest.approx([1.0, 0.6, 0.2, 0.2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_cart_pole(name):
    """gymnax's own CartPole-v1, 5 seeds; 5e5 steps of PPO, as of PureJaxRL, and 1e5 of DQN."""
    gymnax = pytest.importorskip("gymnax")
    env, _ = gymnax.make("CartPole-v1")
    module, _, network = ALGORITHMS[name]
    keys = jax.random.split(jax.random.key(0), 5)
    config = module.Config()
    params, metrics = jax.jit(jax.vmap(partial(module.train, env=env, config=config)))(keys)
    assert metrics["steps"][0, -1] <= {"ppo": 500_000, "dqn": 100_000}[name]
    net = network(2)

    @jax.jit
    @jax.vmap
    def mean_return(key, params):
        return rollout.evaluate(key, env, net, params, num_episodes=100, max_steps=500).mean()

    found = mean_return(keys, params)
    print(name, "mean return of 100 episodes by seed:", np.asarray(found).round(1))
    assert found.mean() >= {"ppo": 475, "dqn": 400}[name]

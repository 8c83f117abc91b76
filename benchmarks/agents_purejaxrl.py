"""PPO in PureJaxRL's form on a gymnax environment: its scan, its network, its epochs.

Written from the published description (Lu et al., Discovered Policy Optimisation, NeurIPS 2022),
with our sizes; GAE there knows of ends alone, and value errors are clipped.
"""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

from lsajax.agents import ppo


class ActorCritic(nn.Module):
    """Two perceptrons of 2 x 128 units."""

    num_actions: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[Any, jax.Array]:
        """Policy and value."""

        def perceptron(outputs: int, scale: float) -> jax.Array:
            hidden = x
            for _ in range(2):
                init = nn.initializers.orthogonal(2**0.5)
                hidden = nn.tanh(nn.Dense(128, kernel_init=init)(hidden))
            return nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(scale))(hidden)

        return distrax.Categorical(logits=perceptron(self.num_actions, 0.01)), perceptron(1, 1.0)[
            ..., 0
        ]


def trainer(env: Any, params: Any, config: ppo.Config) -> Callable[[], Any]:
    """One update per call."""
    network = ActorCritic(env.num_actions)
    key = jax.random.key(0)
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key, config.num_envs), params)
    tx = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate, eps=1e-5)
    )
    weights = network.init(key, obs[0])
    train_state = TrainState.create(apply_fn=network.apply, params=weights, tx=tx)

    def env_step(carry: tuple, _: None) -> tuple[tuple, tuple]:
        train_state, env_state, obs, key = carry
        key, key_action, key_step = jax.random.split(key, 3)
        policy, value = network.apply(train_state.params, obs)
        action = policy.sample(seed=key_action)
        keys = jax.random.split(key_step, config.num_envs)
        new_obs, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            keys, env_state, action, params
        )
        done = terminated | truncated
        step = (done, action, value, reward, policy.log_prob(action), obs)
        return (train_state, env_state, new_obs, key), step

    def loss(weights: Any, batch: tuple, advantage: jax.Array, target: jax.Array) -> jax.Array:
        _, action, old_value, _, old_log_prob, obs = batch
        policy, value = network.apply(weights, obs)
        clipped = old_value + (value - old_value).clip(-config.clip, config.clip)
        value_loss = 0.5 * jnp.maximum((value - target) ** 2, (clipped - target) ** 2).mean()
        ratio = jnp.exp(policy.log_prob(action) - old_log_prob)
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        held = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy_loss = -jnp.minimum(ratio * scaled, held * scaled).mean()
        return policy_loss + config.value * value_loss - config.entropy * policy.entropy().mean()

    def epoch(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        train_state, steps, advantage, target, key = carry
        key, own = jax.random.split(key)
        order = jax.random.permutation(own, config.steps_per_update)

        def cut(x: jax.Array) -> jax.Array:
            shuffled = x.reshape(config.steps_per_update, *x.shape[2:])[order]
            return shuffled.reshape(config.num_minibatches, -1, *shuffled.shape[1:])

        def minibatch(train_state: Any, part: tuple) -> tuple[Any, jax.Array]:
            value, grads = jax.value_and_grad(loss)(train_state.params, *part)
            return train_state.apply_gradients(grads=grads), value

        parts = jax.tree.map(cut, (steps, advantage, target))
        train_state, losses = jax.lax.scan(minibatch, train_state, parts)
        return (train_state, steps, advantage, target, key), losses

    def update(carry: tuple) -> tuple[tuple, jax.Array]:
        carry, steps = jax.lax.scan(env_step, carry, None, config.num_steps)
        train_state, env_state, obs, key = carry
        _, last_value = network.apply(train_state.params, obs)

        def back(after: tuple, step: tuple) -> tuple[tuple, jax.Array]:
            gae, next_value = after
            done, _, value, reward, _, _ = step
            delta = reward + config.discount * next_value * (1 - done) - value
            gae = delta + config.discount * config.gae_lambda * (1 - done) * gae
            return (gae, value), gae

        start = (jnp.zeros_like(last_value), last_value)
        _, advantage = jax.lax.scan(back, start, steps, reverse=True, unroll=16)
        start = (train_state, steps, advantage, advantage + steps[2], key)
        (train_state, *_, key), losses = jax.lax.scan(epoch, start, None, config.num_epochs)
        return (train_state, env_state, obs, key), losses

    compiled = jax.jit(update)
    state = [(train_state, env_state, obs, key)]

    def call() -> Any:
        state[0], losses = compiled(state[0])
        return losses

    return call

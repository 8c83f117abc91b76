"""Proximal policy optimisation, whole in one jit.

`train` is a scan over `update`; a loop on the host may call `update` itself, and save, show or stop
in between. Everything passes through `jit` and `vmap`, over keys and over the rates of a `Config`.

References:
    Schulman et al., Proximal Policy Optimization Algorithms, arXiv 1707.06347; for the bootstrap
    at a time limit Pardo et al., Time Limits in Reinforcement Learning, arXiv 1712.00378.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from lsajax import hashing
from lsajax.agents import costs, networks, rollout
from lsajax.agents.config import STATIC, check_positive, check_rates, static


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes are static, rates are traced.

    Attributes:
        num_updates: of a training; the learning rate falls over them.
        num_envs: environments side by side.
        num_steps: steps of each between updates.
        num_minibatches: that these steps are cut into.
        num_epochs: passes over them.
        anneal: whether the learning rate falls to 0 linearly.
        learning_rate: of Adam.
        discount: gamma.
        gae_lambda: lambda of the generalised advantage estimate.
        clip: epsilon of the clipped surrogate.
        entropy: weight of the entropy in the loss.
        value: weight of the squared error of the value.
        max_grad_norm: gradients are scaled down to it.
    """

    num_updates: int = static(976)
    num_envs: int = static(4)
    num_steps: int = static(128)
    num_minibatches: int = static(4)
    num_epochs: int = static(4)
    anneal: bool = static(True)
    learning_rate: float | Array = 2.5e-4
    discount: float | Array = 0.99
    gae_lambda: float | Array = 0.95
    clip: float | Array = 0.2
    entropy: float | Array = 0.01
    value: float | Array = 0.5
    max_grad_norm: float | Array = 0.5

    @property
    def steps_per_update(self) -> int:
        """Steps of all environments in an update."""
        return self.num_envs * self.num_steps


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """A training between two updates; all of it, so that a saved one goes on to the same bits.

    Attributes:
        key: of the updates to come.
        params: of the network.
        opt_state: Adam's.
        envs: the environments.
        count: updates so far.
        config: how it is trained.
        env_params: of the environments.
        env: the environment (static).
        network: the network (static).
    """

    key: Array
    params: Any
    opt_state: Any
    envs: rollout.Envs
    count: Array
    config: Config
    env_params: Any
    env: Any = dataclasses.field(metadata=STATIC)
    network: nn.Module = dataclasses.field(metadata=STATIC)


class Batch(NamedTuple):
    """Steps of the policy before the update, of all environments.

    Attributes:
        obs: before each step.
        action: taken.
        log_prob: of the action then.
        advantage: estimated.
        target: of the value.
    """

    obs: Any
    action: Array
    log_prob: Array
    advantage: Array
    target: Array


def train(
    key: jax.Array,
    env: Any,
    config: Config,
    *,
    network: nn.Module | None = None,
    env_params: Any = None,
) -> tuple[Any, dict[str, Array]]:
    """Trains from scratch.

    Args:
        key: of everything that is drawn.
        env: an environment in gymnax 1.0's form, see `lsajax.agents.rollout`; hashable.
        config: sizes and rates.
        network: see `lsajax.agents.networks`; a perceptron of 2 x 128 units if None.
        env_params: of the environment; its default if None.

    Returns:
        The network's parameters, and metrics [updates], see `update`.

    Raises:
        ValueError: sizes or rates out of range, or an environment without actions.
    """
    check(config)
    return _train(key, env, config, network, env_params)


@partial(jax.jit, static_argnames=("env", "network"))
def _train(
    key: jax.Array, env: Any, config: Config, network: nn.Module | None, env_params: Any
) -> tuple[Any, dict[str, Array]]:
    state = init(key, env, config, network=network, env_params=env_params)
    state, metrics = jax.lax.scan(lambda s, _: update(s), state, length=config.num_updates)
    return state.params, metrics


def init(
    key: jax.Array,
    env: Any,
    config: Config,
    *,
    network: nn.Module | None = None,
    env_params: Any = None,
) -> State:
    """A training before its first update, see `train`."""
    check(config)
    env_params = env.default_params if env_params is None else env_params
    if network is None:
        network = networks.policy(rollout.num_actions(env, env_params))
    envs = rollout.reset(hashing.named_key(key, "envs"), env, env_params, config.num_envs)
    one = jax.tree.map(lambda leaf: leaf[0], envs.obs)
    params = network.init(hashing.named_key(key, "network"), one)
    state = State(
        key=hashing.named_key(key, "updates"),
        params=params,
        opt_state=_optimiser(config, jnp.int32(0)).init(params),
        envs=envs,
        count=jnp.int32(0),
        config=config,
        env_params=env_params,
        env=env,
        network=network,
    )
    return rollout.settled(state)


def check(config: Config) -> None:
    """Raises ValueError, naming the field, on a size or rate out of range."""
    check_positive(config, "num_updates num_envs num_steps num_minibatches num_epochs")
    check_rates(config, "discount gae_lambda", most=1.0)
    check_rates(config, "learning_rate clip entropy value max_grad_norm")
    if config.steps_per_update % config.num_minibatches:
        raise ValueError(
            f"num_minibatches must divide num_envs * num_steps = {config.steps_per_update}, "
            f"got {config.num_minibatches}"
        )


def update(state: State) -> tuple[State, dict[str, Array]]:
    """Steps of all environments, and epochs over them.

    Returns:
        The state after it, and metrics: `steps` so far, `episodes` that ended with the mean of
        their returns and lengths, and the means over the minibatches of the `loss`, its parts
        `policy_loss`, `value_loss` and `entropy`, `kl` (approximate, to the policy before) and
        `clipped`, the share of ratios that the clip held.
    """
    key = jax.random.fold_in(state.key, state.count)
    envs, batch, episodes = _collect(state, hashing.named_key(key, "steps"))
    epoch_keys = jax.random.split(hashing.named_key(key, "epochs"), state.config.num_epochs)
    (params, opt_state), losses = jax.lax.scan(
        partial(_epoch, state, batch), (state.params, state.opt_state), epoch_keys
    )
    count = state.count + 1
    state = dataclasses.replace(state, params=params, opt_state=opt_state, envs=envs, count=count)
    metrics = {"steps": count * state.config.steps_per_update}
    metrics |= rollout.episode_metrics(episodes)
    return state, metrics | jax.tree.map(jnp.mean, losses)


def flops(state: State) -> float:
    """Floating point operations of an update: of its steps and its minibatches, as XLA counts."""
    config = state.config
    batch = jax.eval_shape(lambda s: _collect(s, s.key)[1], state)
    part = costs.rows(batch, config.steps_per_update // config.num_minibatches)
    one_step = costs.flops(lambda s: _step(s, s.envs, s.key), state)
    values = costs.flops(lambda s, batch: _values(s, batch.obs), state, batch)
    learned = costs.flops(lambda s, part: _minibatch(s, (s.params, s.opt_state), part), state, part)
    learning = config.num_epochs * config.num_minibatches * learned
    return config.num_steps * one_step + 2 * values + learning


def advantages(
    reward: Float[Array, "steps *envs"],
    value: Float[Array, "steps *envs"],
    next_value: Float[Array, "steps *envs"],
    terminated: Bool[Array, "steps *envs"],
    truncated: Bool[Array, "steps *envs"],
    discount: float | Array,
    gae_lambda: float | Array,
) -> Float[Array, "steps *envs"]:
    """Generalised advantage estimates, A_t = delta_t + gamma lambda (1 - done_t) A_t+1.

    delta_t = r_t + gamma (1 - terminated_t) V(next_t) - V(obs_t): an episode that was cut off has
    a future, one that ended has none. Neither hands on the estimate of the episode after it.

    Args:
        reward: of each step.
        value: before it.
        next_value: of what it led to, before a reset.
        terminated: whether the episode ended.
        truncated: whether it was cut off.
        discount: gamma.
        gae_lambda: lambda.
    """
    delta = reward + discount * jnp.where(terminated, 0.0, next_value) - value
    decay = jnp.where(terminated | truncated, 0.0, discount * gae_lambda)

    def back(after: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        advantage = at[0] + at[1] * after
        return advantage, advantage

    return jax.lax.scan(back, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)[1]


def surrogate_loss(
    ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], clip: float | Array
) -> Float[Array, ""]:
    """Clipped surrogate, -mean min(ratio A, clip(ratio, 1 - eps, 1 + eps) A)."""
    held = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    return -jnp.mean(jnp.minimum(ratio * advantage, held * advantage))


def _optimiser(config: Config, count: Array) -> optax.GradientTransformation:
    rate = config.learning_rate
    if config.anneal:
        rate = rate * (1.0 - count / config.num_updates)
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(rate, eps=1e-5))


def _step(
    state: State, envs: rollout.Envs, key: Array
) -> tuple[rollout.Envs, tuple[rollout.Transition, Array]]:
    apply = jax.vmap(state.network.apply, (None, 0))
    scores, _ = apply(state.params, envs.obs)
    log_probs = jax.vmap(networks.log_policy)(scores, envs.obs)
    action = jax.random.categorical(hashing.named_key(key, "action"), log_probs)
    envs, transition = rollout.step(
        hashing.named_key(key, "step"), state.env, state.env_params, envs, action
    )
    return envs, (transition, _of_action(log_probs, action))


def _values(state: State, obs: Any) -> Float[Array, "batch"]:
    apply: Any = jax.vmap(state.network.apply, (None, 0))
    return apply(state.params, obs)[1]


def _collect(state: State, key: Array) -> tuple[rollout.Envs, Batch, rollout.Transition]:
    config = state.config
    keys = jax.random.split(key, config.num_steps)
    envs, (steps, log_prob) = jax.lax.scan(partial(_step, state), state.envs, keys)

    def flat(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(config.steps_per_update, *x.shape[2:]), tree)

    # Nothing of the steps needs values: those of all at once are one large product.
    value, next_value = (
        _values(state, flat(obs)).reshape(steps.reward.shape) for obs in (steps.obs, steps.next_obs)
    )
    found = advantages(
        steps.reward,
        value,
        next_value,
        steps.terminated,
        steps.truncated,
        config.discount,
        config.gae_lambda,
    )
    batch = Batch(steps.obs, steps.action, log_prob, found, found + value)
    return envs, flat(batch), steps._replace(obs=None, next_obs=None)


def _epoch(
    state: State, batch: Batch, learned: tuple[Any, Any], key: Array
) -> tuple[tuple[Any, Any], dict[str, Array]]:
    order = jax.random.permutation(key, state.config.steps_per_update)

    def minibatch(learned: tuple[Any, Any], part: Array) -> tuple[tuple[Any, Any], Any]:
        return _minibatch(state, learned, jax.tree.map(lambda x: x[part], batch))

    return jax.lax.scan(minibatch, learned, order.reshape(state.config.num_minibatches, -1))


def _minibatch(
    state: State, learned: tuple[Any, Any], batch: Batch
) -> tuple[tuple[Any, Any], dict[str, Array]]:
    params, opt_state = learned
    grads, losses = jax.grad(partial(_loss, state), has_aux=True)(params, batch)
    optimiser = _optimiser(state.config, state.count)
    updates, opt_state = optimiser.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), losses


def _loss(state: State, params: Any, batch: Batch) -> tuple[Array, dict[str, Array]]:
    config = state.config
    apply: Any = jax.vmap(state.network.apply, (None, 0))
    scores, value = apply(params, batch.obs)
    log_probs = jax.vmap(networks.log_policy)(scores, batch.obs)
    log_ratio = _of_action(log_probs, batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    centred = batch.advantage - batch.advantage.mean()
    advantage = centred / (batch.advantage.std() + 1e-8)
    policy_loss = surrogate_loss(ratio, advantage, config.clip)
    value_loss = 0.5 * jnp.mean(jnp.square(value - batch.target))
    entropy = jnp.mean(jax.vmap(networks.entropy)(log_probs))
    loss = policy_loss + config.value * value_loss - config.entropy * entropy
    return loss, {
        "loss": loss,
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "kl": jnp.mean(ratio - 1.0 - log_ratio),
        "clipped": jnp.mean(jnp.abs(ratio - 1.0) > config.clip),
    }


def _of_action(log_probs: Float[Array, "batch actions"], action: Array) -> Float[Array, "batch"]:
    return jnp.take_along_axis(log_probs, action[:, None], 1)[:, 0]

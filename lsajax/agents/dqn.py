"""Double DQN with a target network and a ring buffer, whole in one jit.

`train` is a scan over `update`; a loop on the host may call `update` itself, and save, show or stop
in between. Everything passes through `jit` and `vmap`, over keys and over the rates of a `Config`.

References:
    Mnih et al., Human-level control through deep reinforcement learning, Nature 518 (2015); van
    Hasselt, Guez and Silver, Deep reinforcement learning with double Q-learning, arXiv 1509.06461.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from lsajax import hashing
from lsajax.agents import costs, networks, replay, rollout
from lsajax.agents.config import STATIC, check_positive, check_rates, static


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes are static, rates are traced.

    Attributes:
        num_updates: of a training; the learning rate falls over them.
        num_envs: environments side by side.
        num_steps: steps of each between updates.
        num_gradients: gradient steps of an update, each on a batch of its own.
        batch_size: transitions of a gradient step.
        capacity: transitions of the buffer.
        anneal: whether the learning rate falls to 0 linearly.
        learning_starts: steps before the first gradient step.
        target_interval: gradient steps after which the target network is brought up to date.
        learning_rate: of Adam.
        discount: gamma.
        epsilon_start: probability of a random action at first.
        epsilon_end: the same after `epsilon_steps`.
        epsilon_steps: steps over which it falls linearly.
        huber: error from which the loss grows linearly. Far below the values, ends of episodes are
            outvoted as outliers, and values grow without end.
        max_grad_norm: gradients are scaled down to it.
    """

    num_updates: int = static(1000)
    num_envs: int = static(10)
    num_steps: int = static(10)
    num_gradients: int = static(50)
    batch_size: int = static(128)
    capacity: int = static(50_000)
    anneal: bool = static(True)
    learning_starts: int | Array = 1000
    target_interval: int | Array = 100
    learning_rate: float | Array = 1e-3
    discount: float | Array = 0.99
    epsilon_start: float | Array = 1.0
    epsilon_end: float | Array = 0.04
    epsilon_steps: float | Array = 10_000.0
    huber: float | Array = 10.0
    max_grad_norm: float | Array = 10.0

    @property
    def steps_per_update(self) -> int:
        """Steps of all environments in an update."""
        return self.num_envs * self.num_steps


class Item(NamedTuple):
    """What the buffer keeps of a step; fields as in `rollout.Transition`."""

    obs: Any
    action: Array
    reward: Array
    next_obs: Any
    terminated: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """A training between two updates; all of it, so that a saved one goes on to the same bits.

    Attributes:
        key: of the updates to come.
        params: of the network.
        target: of the target network.
        opt_state: Adam's.
        buffer: of transitions.
        envs: the environments.
        count: updates so far.
        gradients: gradient steps so far.
        config: how it is trained.
        env_params: of the environments.
        env: the environment (static).
        network: the network (static).
    """

    key: Array
    params: Any
    target: Any
    opt_state: Any
    buffer: replay.Buffer
    envs: rollout.Envs
    count: Array
    gradients: Array
    config: Config
    env_params: Any
    env: Any = dataclasses.field(metadata=STATIC)
    network: nn.Module = dataclasses.field(metadata=STATIC)


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
        network = networks.q_values(rollout.num_actions(env, env_params))
    envs = rollout.reset(hashing.named_key(key, "envs"), env, env_params, config.num_envs)
    one = jax.tree.map(lambda leaf: leaf[0], envs.obs)
    params = network.init(hashing.named_key(key, "network"), one)
    item = Item(one, jnp.int32(0), jnp.float32(0), one, jnp.asarray(False))
    state = State(
        key=hashing.named_key(key, "updates"),
        params=params,
        target=jax.tree.map(jnp.copy, params),
        opt_state=_optimiser(config, jnp.int32(0)).init(params),
        buffer=replay.empty(item, config.capacity),
        envs=envs,
        count=jnp.int32(0),
        gradients=jnp.int32(0),
        config=config,
        env_params=env_params,
        env=env,
        network=network,
    )
    return rollout.settled(state)


def check(config: Config) -> None:
    """Raises ValueError, naming the field, on a size or rate out of range."""
    check_positive(config, "num_updates num_envs num_steps num_gradients batch_size capacity")
    check_rates(config, "discount epsilon_start epsilon_end", most=1.0)
    check_rates(config, "learning_starts learning_rate epsilon_steps huber max_grad_norm")
    check_rates(config, "target_interval")
    if config.capacity < config.steps_per_update:
        raise ValueError(
            f"capacity must be at least num_envs * num_steps = {config.steps_per_update}, "
            f"got {config.capacity}"
        )


def update(state: State) -> tuple[State, dict[str, Array]]:
    """Steps of all environments into the buffer, and gradient steps on batches from it.

    Returns:
        The state after it, and metrics: `steps` so far, `episodes` that ended with the mean of
        their returns and lengths, `epsilon`, and the means over the gradient steps of the `loss`
        and of the largest `q`; both are 0 before `learning_starts`.
    """
    config = state.config
    key = jax.random.fold_in(state.key, state.count)
    keys = jax.random.split(hashing.named_key(key, "steps"), config.num_steps)
    epsilon = exploration(config, state.count * config.steps_per_update)
    envs, steps = jax.lax.scan(partial(_step, state, epsilon), state.envs, keys)
    items = Item(*(getattr(steps, name) for name in Item._fields))
    items = jax.tree.map(lambda x: x.reshape(config.steps_per_update, *x.shape[2:]), items)
    count = state.count + 1
    state = dataclasses.replace(
        state, envs=envs, buffer=replay.add(state.buffer, items), count=count
    )
    num_steps = count * config.steps_per_update
    learned, losses = jax.lax.cond(
        num_steps >= config.learning_starts,
        lambda: _learn(state, hashing.named_key(key, "gradients")),
        lambda: (_learned(state), {"loss": jnp.float32(0), "q": jnp.float32(0)}),
    )
    metrics = {"steps": num_steps, "epsilon": epsilon, **rollout.episode_metrics(steps)}
    return dataclasses.replace(state, **learned), metrics | losses


def flops(state: State) -> float:
    """Floating point operations of an update: of its steps and gradient steps, as XLA counts."""
    one_step = costs.flops(lambda s: _step(s, jnp.float32(0), s.envs, s.key), state)
    gradient = costs.flops(lambda s: _gradient(s, _learned(s), s.key), state)
    return state.config.num_steps * one_step + state.config.num_gradients * gradient


def exploration(config: Config, num_steps: Array) -> Float[Array, ""]:
    """Probability of a random action after so many steps."""
    share = jnp.clip(num_steps / jnp.maximum(config.epsilon_steps, 1.0), 0.0, 1.0)
    return config.epsilon_start + share * (config.epsilon_end - config.epsilon_start)


def double_q_target(
    reward: Float[Array, ""],
    terminated: Array,
    selector: Float[Array, "actions"],
    target: Float[Array, "actions"],
    discount: float | Array,
) -> Float[Array, ""]:
    """r + gamma (1 - terminated) Q_target(next, argmax Q(next)).

    Args:
        reward: of the step.
        terminated: whether the episode ended; where it was cut off, it has a future.
        selector: the network's Q-values of what the step led to, masked.
        target: the target network's.
        discount: gamma.
    """
    future = target[jnp.argmax(selector)]
    return reward + discount * jnp.where(terminated, 0.0, future)


def _optimiser(config: Config, count: Array) -> optax.GradientTransformation:
    rate = config.learning_rate
    if config.anneal:
        rate = rate * (1.0 - count / config.num_updates)
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(rate))


def _step(
    state: State, epsilon: Array, envs: rollout.Envs, key: Array
) -> tuple[rollout.Envs, rollout.Transition]:
    scores, _ = jax.vmap(state.network.apply, (None, 0))(state.params, envs.obs)
    best = jnp.argmax(jax.vmap(networks.masked)(scores, envs.obs), axis=-1)
    # Equal scores: each action that can be taken is as likely as any other.
    anyone = jax.vmap(networks.masked)(jnp.zeros_like(scores), envs.obs)
    drawn = jax.random.categorical(hashing.named_key(key, "random action"), anyone)
    explores = jax.random.uniform(hashing.named_key(key, "explore"), best.shape) < epsilon
    action = jnp.where(explores, drawn, best).astype(jnp.int32)
    return rollout.step(hashing.named_key(key, "step"), state.env, state.env_params, envs, action)


def _learned(state: State) -> dict[str, Any]:
    return {n: getattr(state, n) for n in ("params", "target", "opt_state", "gradients")}


def _learn(state: State, key: Array) -> tuple[dict[str, Any], dict[str, Array]]:
    keys = jax.random.split(key, state.config.num_gradients)
    learned, losses = jax.lax.scan(partial(_gradient, state), _learned(state), keys)
    return learned, jax.tree.map(jnp.mean, losses)


def _gradient(
    state: State, learned: dict[str, Any], key: Array
) -> tuple[dict[str, Any], dict[str, Array]]:
    config = state.config
    batch = replay.sample(key, state.buffer, config.batch_size)
    loss = partial(_loss, state, learned["target"], batch)
    grads, losses = jax.grad(loss, has_aux=True)(learned["params"])
    optimiser = _optimiser(config, state.count)
    updates, opt_state = optimiser.update(grads, learned["opt_state"], learned["params"])
    params = optax.apply_updates(learned["params"], updates)
    gradients = learned["gradients"] + 1
    renew = gradients % config.target_interval == 0
    target = jax.tree.map(partial(jnp.where, renew), params, learned["target"])
    names = ("params", "target", "opt_state", "gradients")
    return dict(zip(names, (params, target, opt_state, gradients), strict=True)), losses


def _loss(state: State, target: Any, batch: Item, params: Any) -> tuple[Array, dict[str, Array]]:
    apply = jax.vmap(state.network.apply, (None, 0))
    q, _ = apply(params, batch.obs)
    next_q, _ = apply(params, batch.next_obs)
    next_target, _ = apply(target, batch.next_obs)
    selector = jax.vmap(networks.masked)(next_q, batch.next_obs)
    goal = jax.vmap(double_q_target, (0, 0, 0, 0, None))(
        batch.reward, batch.terminated, selector, next_target, state.config.discount
    )
    taken = jnp.take_along_axis(q, batch.action[:, None], 1)[:, 0]
    error = taken - jax.lax.stop_gradient(goal)
    loss = jnp.mean(optax.losses.huber_loss(error, delta=state.config.huber))
    return loss, {"loss": loss, "q": jnp.mean(jnp.max(selector, axis=-1))}

"""Environments side by side, in gymnax 1.0's form, and what their episodes returned.

An environment has `reset(key, params) -> (obs, state)`, `step(key, state, action, params) -> (obs,
state, reward, terminated, truncated, info)` which resets itself, `action_space(params)` with `n`
actions, and `default_params`. `info["final_observation"]` is what the step led to, before a reset.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32

from lsajax import hashing
from lsajax.agents import networks


class Envs(NamedTuple):
    """Environments between two steps.

    Attributes:
        state: of each environment.
        obs: what each shows.
        episode_return: reward of the episode that runs, so far.
        episode_length: its steps so far.
    """

    state: Any
    obs: Any
    episode_return: Float[Array, "envs"]
    episode_length: Int32[Array, "envs"]


class Transition(NamedTuple):
    """One step of each environment.

    Attributes:
        obs: before the step.
        action: taken.
        reward: of the step.
        next_obs: after it, before a reset.
        terminated: the episode ended, and nothing is to come.
        truncated: it was cut off, and `next_obs` has a value.
        ended_return: return of the episode that ended with the step; NaN where none did.
        ended_length: its length; 0 where none did.
    """

    obs: Any
    action: Int32[Array, "envs"]
    reward: Float[Array, "envs"]
    next_obs: Any
    terminated: Bool[Array, "envs"]
    truncated: Bool[Array, "envs"]
    ended_return: Float[Array, "envs"]
    ended_length: Int32[Array, "envs"]


def num_actions(env: Any, params: Any) -> int:
    """Number of actions.

    Raises:
        ValueError: the environment has no action space, or none of finitely many actions.
    """
    if not hasattr(env, "action_space"):
        raise ValueError(
            f"env must have an action_space(params) with n actions, got {type(env).__name__} "
            "without one"
        )
    space = env.action_space(params)
    if not hasattr(space, "n"):
        raise ValueError(
            f"env must have an action space with n actions, got {type(space).__name__}"
        )
    return int(space.n)


def reset(key: jax.Array, env: Any, params: Any, num_envs: int) -> Envs:
    """Environments at the start of an episode each."""
    obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), params)
    return Envs(state, obs, jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32))


def step(
    key: jax.Array, env: Any, params: Any, envs: Envs, action: Int32[Array, "envs"]
) -> tuple[Envs, Transition]:
    """One step of each environment."""
    keys = jax.random.split(key, action.size)
    obs, state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
        keys, envs.state, action, params
    )
    reward = reward.astype(jnp.float32)
    total, length = envs.episode_return + reward, envs.episode_length + 1
    done = terminated | truncated
    transition = Transition(
        obs=envs.obs,
        action=action,
        reward=reward,
        next_obs=info["final_observation"],
        terminated=terminated,
        truncated=truncated,
        ended_return=jnp.where(done, total, jnp.nan),
        ended_length=jnp.where(done, length, 0),
    )
    return Envs(state, obs, jnp.where(done, 0.0, total), jnp.where(done, 0, length)), transition


def episode_metrics(transition: Transition) -> dict[str, Array]:
    """Mean return and length of the episodes that ended; NaN where none did."""
    count = jnp.sum(transition.ended_length > 0)
    share = jnp.where(count > 0, 1.0 / jnp.maximum(count, 1), jnp.nan)
    return {
        "episodes": count,
        "episode_return": jnp.nansum(transition.ended_return) * share,
        "episode_length": jnp.sum(transition.ended_length) * share,
    }


def evaluate(
    key: jax.Array,
    env: Any,
    network: nn.Module,
    params: Any,
    *,
    num_episodes: int,
    max_steps: int,
    env_params: Any = None,
) -> Float[Array, "episodes"]:
    """Returns of episodes in which the action of the highest score is taken.

    Args:
        key: of the episodes.
        env: an environment.
        network: scores the actions.
        params: of the network.
        num_episodes: episodes, side by side.
        max_steps: steps after which an episode counts as it is.
        env_params: of the environment; its default if None.
    """
    env_params = env.default_params if env_params is None else env_params

    def choose(obs: Any) -> Array:
        return jnp.argmax(networks.masked(network.apply(params, obs)[0], obs))

    return returns(key, env, choose, num_episodes, max_steps, env_params)


def returns(
    key: jax.Array,
    env: Any,
    choose: Callable[[Any], Array],
    num_episodes: int,
    max_steps: int,
    env_params: Any,
) -> Float[Array, "episodes"]:
    """Returns of episodes in which `choose(obs)` is taken, see `evaluate`."""

    def one_step(carry: tuple[Envs, Array, Array], key: Array) -> tuple[Any, None]:
        envs, total, running = carry
        action = jax.vmap(choose)(envs.obs).astype(jnp.int32)
        envs, transition = step(key, env, env_params, envs, action)
        total = total + jnp.where(running, transition.reward, 0.0)
        ended = transition.terminated | transition.truncated
        return (envs, total, running & ~ended), None

    envs = reset(hashing.named_key(key, "reset"), env, env_params, num_episodes)
    start = (envs, jnp.zeros(num_episodes), jnp.ones(num_episodes, bool))
    keys = jax.random.split(hashing.named_key(key, "steps"), max_steps)
    (_, total, _), _ = jax.lax.scan(one_step, start, keys)
    return total


def settled(tree: Any) -> Any:
    """The same arrays with types that the first step does not change, so that it compiles once."""

    def settle(leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        return jax.lax.convert_element_type(leaf, jnp.result_type(leaf))

    return jax.tree.map(settle, tree)

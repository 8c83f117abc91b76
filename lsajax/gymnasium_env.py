"""The environments of `lsajax.env` for Gymnasium: one, or many in one compiled call per step.

    env = lsajax.gymnasium_env.VectorAccessEnv(lsajax.env.JointAccess(scenario), num_envs=64)

Needs Gymnasium (`pip install lsajax[gymnasium]`), which nothing else in `lsajax` imports.
Observations are dictionaries of NumPy arrays, the fields of the environment's own observations;
`action_mask` is one of them.
"""

from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from lsajax.env.base import Access
from lsajax.scenario import Scenario

Observation = dict[str, np.ndarray]


class AccessEnv(gym.Env[Observation, np.int64]):
    """One environment as a `gymnasium.Env`."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, env: Access, params: Scenario | None = None) -> None:
        """The environment `env` with its default parameters or `params`."""
        self.env = env
        self.params = env.default_params if params is None else params
        self.observation_space = _observation_space(env, self.params)
        self.action_space = gym.spaces.Discrete(env.action_space(self.params).n)
        self._step = jax.jit(_step_without_reset, static_argnames=("env",))
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new network. Options are ignored."""
        super().reset(seed=seed)
        obs, self._state = self.env.reset(_new_key(self.np_random), self.params)
        return _to_numpy(obs), {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One step; call `reset` after the end of an episode."""
        key = _new_key(self.np_random)
        out = self._step(self.env, key, self._state, jnp.int32(action), self.params)
        obs, self._state, reward, terminated, truncated, info = out
        info = {name: np.asarray(x) for name, x in info.items()}
        return _to_numpy(obs), float(reward), bool(terminated), bool(truncated), info


class VectorAccessEnv(gym.vector.VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """Many environments as a `gymnasium.vector.VectorEnv`, one compiled call per step.

    Auto-reset is in the same step: at the end of an episode the observation is that of a new one,
    and `info["final_obs"]` holds the last observations of all environments, of which those count
    where `info["_final_obs"]` is True.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, env: Access, num_envs: int, params: Scenario | None = None) -> None:
        """`num_envs` copies of `env`, with its default parameters or `params`."""
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.env = env
        self.num_envs = num_envs
        self.params = env.default_params if params is None else params
        self.single_observation_space = _observation_space(env, self.params)
        self.single_action_space = gym.spaces.Discrete(env.action_space(self.params).n)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reset = jax.jit(_reset_many, static_argnames=("env", "num_envs"))
        self._step = jax.jit(_step_many, static_argnames=("env",))
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """New networks in all environments, different ones. Options are ignored."""
        super().reset(seed=seed)
        key = _new_key(self.np_random)
        obs, self._state = self._reset(self.env, key, self.num_envs, self.params)
        return _to_numpy(obs), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment."""
        chosen = jnp.asarray(np.asarray(actions), jnp.int32)
        if chosen.shape != (self.num_envs,):
            raise ValueError(f"actions must have shape ({self.num_envs},), got {chosen.shape}")
        key = _new_key(self.np_random)
        out = self._step(self.env, key, self._state, chosen, self.params)
        obs, self._state, reward, terminated, truncated, info = out
        terminated, truncated = np.asarray(terminated), np.asarray(truncated)
        infos: dict[str, Any] = {}
        for name in info.keys() - {"terminated", "truncated", "final_observation"}:
            infos |= {name: np.asarray(info[name]), f"_{name}": np.ones(self.num_envs, bool)}
        if np.any(terminated | truncated):
            infos["final_obs"] = _to_numpy(info["final_observation"])
            infos["_final_obs"] = terminated | truncated
        return _to_numpy(obs), np.asarray(reward, np.float64), terminated, truncated, infos


def _step_without_reset(
    env: Access, key: jax.Array, state: Any, action: jax.Array, params: Scenario
) -> tuple:
    obs, state, reward, terminated, info = env.step_env(key, state, action, params)
    return obs, state, reward, terminated, env.is_truncated(state, params), info


def _reset_many(env: Access, key: jax.Array, num_envs: int, params: Scenario) -> tuple:
    return jax.vmap(lambda k: env.reset(k, params))(jax.random.split(key, num_envs))


def _step_many(
    env: Access, key: jax.Array, state: Any, actions: jax.Array, params: Scenario
) -> tuple:
    keys = jax.random.split(key, actions.shape[0])
    return jax.vmap(lambda k, s, a: env.step(k, s, a, params))(keys, state, actions)


def _new_key(rng: np.random.Generator) -> jax.Array:
    return jax.random.key(int(rng.integers(2**31)))


def _to_numpy(obs: Any) -> Observation:
    return {name: np.asarray(x) for name, x in obs._asdict().items()}


def _observation_space(env: Access, params: Scenario) -> gym.Space:
    def convert(space: Any) -> gym.Space:
        dtype = np.dtype(space.dtype)
        return gym.spaces.Box(float(space.low), float(space.high), space.shape, dtype)

    spaces = env.observation_space(params).spaces
    return gym.spaces.Dict({name: convert(space) for name, space in spaces.items()})

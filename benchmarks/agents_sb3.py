"""Stable-Baselines3 on the joint environment: in NumPy as a user would write it, and on ours."""

import itertools
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import lsajax as lsa
from lsajax.agents import joint, ppo


class NumpyAccess(gymnasium.Env):
    """`lsajax.env.JointAccess` of one slot per episode, setting plain, in NumPy."""

    def __init__(self, scenario: lsa.Scenario, seed: int) -> None:
        self.s, self.rng = scenario, np.random.default_rng(seed)
        K, M = scenario.num_active, scenario.num_channels
        self.ways = np.array(list(itertools.permutations(range(M), K)))
        self.action_space = gymnasium.spaces.Discrete(len(self.ways))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (K * M + M,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """A new slot."""
        s = self.s
        distance = np.maximum(s.radius_m * np.sqrt(self.rng.random(s.num_active)), 1.0)
        wavelength = 299_792_458.0 / s.carrier_hz
        power = 1e-3 * 10 ** ((s.tx_power_dbm + s.tx_gain_dbi + s.rx_gain_dbi) / 10)
        power = power * (wavelength / (4 * np.pi)) ** 2 * distance**-s.path_loss_exponent
        bandwidth = self.rng.uniform(s.bandwidth_min_hz, s.bandwidth_max_hz, s.num_channels)
        occupied = self.rng.random(s.num_channels) < s.occupancy
        while occupied.sum() > s.num_channels - s.num_active:
            occupied = self.rng.random(s.num_channels) < s.occupancy
        return self.see(np.sort(power)[::-1], bandwidth, occupied), {}

    def see(self, power: np.ndarray, bandwidth: np.ndarray, occupied: np.ndarray) -> np.ndarray:
        """The observation of a slot, which becomes the current one; powers fall."""
        noise = 1e-3 * 10 ** (self.s.noise_psd_dbm_hz / 10)
        rate = bandwidth * np.log2(1 + power[:, None] / (noise * bandwidth))
        self.rate = np.where(occupied, 0.0, rate)
        self.scale = self.rate.sum() / (~occupied).sum()
        unit = self.scale / len(power)
        shown = np.where(occupied, 0.0, 4 * (self.rate / unit - 1))
        return np.concatenate([shown.ravel(), occupied]).astype(np.float32)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The episode's only step."""
        way = self.ways[action]
        reward = self.rate[np.arange(len(way)), way].sum() / self.scale
        return np.zeros(self.observation_space.shape, np.float32), reward, True, False, {}


def check_same(scenario: lsa.Scenario) -> None:
    """Raises AssertionError unless NumPy version and ours show and pay the same in one slot."""
    env, key = joint.environment(scenario), jax.random.key(1)
    obs, state = env.reset(key, scenario)
    other = NumpyAccess(scenario, 0)
    inst = state.slot.inst
    seen = other.see(
        *(np.asarray(x, float) for x in (inst.mean_power_w, inst.bandwidth_hz)),
        np.asarray(inst.occupied),
    )
    np.testing.assert_allclose(seen, obs.features, rtol=1e-3, atol=1e-3)
    for action in (0, env.num_actions - 1):
        ours = env.step(key, state, action, scenario)[2]
        np.testing.assert_allclose(other.step(action)[1], ours, rtol=1e-4)


def numpy_envs(scenario: lsa.Scenario, num_envs: int) -> VecEnv:
    """As many of them behind Stable-Baselines3's own `DummyVecEnv`."""
    check_same(scenario)
    return DummyVecEnv([lambda i=i: NumpyAccess(scenario, i) for i in range(num_envs)])


class CompiledEnvs(VecEnv):
    """Our environments, stepped in one compiled call; NumPy at the border."""

    def __init__(self, env: Any, num_envs: int) -> None:
        params = env.default_params
        self._step = jax.jit(jax.vmap(lambda key, s, a: env.step(key, s, a, params)))
        self._reset = jax.jit(jax.vmap(lambda key: env.reset(key, params)))
        self._key, self._actions, self._state = jax.random.key(0), np.zeros(num_envs), None
        shape = jax.eval_shape(env.reset, self._key, params)[0].features.shape
        super().__init__(
            num_envs,
            gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32),
            gymnasium.spaces.Discrete(env.num_actions),
        )

    def _keys(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return jax.random.split(key, self.num_envs)

    def reset(self) -> np.ndarray:
        """First observations."""
        obs, self._state = self._reset(self._keys())
        return np.array(obs.features)

    def step_async(self, actions: np.ndarray) -> None:
        """Actions of the step to come."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """The step."""
        obs, self._state, reward, terminated, truncated, _ = self._step(
            self._keys(), self._state, self._actions
        )
        done = np.asarray(terminated | truncated)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        return np.array(obs.features), np.array(reward), done, infos

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same of all."""
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """No attribute can be set."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list:
        """There are no methods."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * self.num_envs


def trainer(envs: VecEnv, config: ppo.Config) -> Callable[[], Any]:
    """One update of Stable-Baselines3's PPO per call, on the CPU."""
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=config.num_steps,
        batch_size=config.steps_per_update // config.num_minibatches,
        n_epochs=config.num_epochs,
        policy_kwargs={"net_arch": [128, 128]},
        device="cpu",
    )
    return lambda: model.learn(config.steps_per_update, reset_num_timesteps=False)

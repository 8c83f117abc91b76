"""Environments with known values, in gymnax 1.0's form and written without it."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Actions:
    """As much of an action space as agents look at."""

    n: int


@dataclasses.dataclass(frozen=True)
class SmallEnv:
    """`transition(state, action, params) -> (state, reward, terminated, truncated)`, and resets."""

    num_actions: int = 2
    default_params = None

    def action_space(self, params: Any) -> Actions:
        return Actions(self.num_actions)

    def start(self, key: jax.Array) -> jax.Array:
        return jnp.int32(0)

    def reset(self, key: jax.Array, params: Any) -> tuple[Any, jax.Array]:
        state = self.start(key)
        return self.observe(state), state

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, params: Any) -> tuple:
        new, reward, terminated, truncated = self.transition(state, action, params)
        obs, state = self.reset(key, params)
        done = terminated | truncated
        final = self.observe(new)
        obs = jax.tree.map(lambda a, b: jnp.where(done, a, b), obs, final)
        info = {"final_observation": final}
        return obs, jnp.where(done, state, new), reward, terminated, truncated, info


@dataclasses.dataclass(frozen=True)
class Chain(SmallEnv):
    """Five places in a row; 1 goes right, 0 left; the last place pays 1 and ends.

    From the first place an optimal policy takes 4 steps; a uniform one 20 in the mean.
    """

    length: int = 5

    def observe(self, state: jax.Array) -> jax.Array:
        return jax.nn.one_hot(state, self.length)

    def transition(self, state: jax.Array, action: jax.Array, params: Any) -> tuple:
        new = jnp.maximum(state + 2 * action - 1, 0)
        end = new == self.length - 1
        return new, end.astype(jnp.float32), end, jnp.asarray(False)


@dataclasses.dataclass(frozen=True)
class Constant(SmallEnv):
    """One place that pays 1 a step, whatever is done; a step in `every` ends the episode.

    Parameters are (cut, every). Observations do not show the time. If the episode is `cut` off, the
    value is that of a reward without end, 1 / (1 - gamma); if it terminates at each step, it is 1.
    """

    default_params = (True, 1)

    def observe(self, state: jax.Array) -> jax.Array:
        return jnp.ones(1)

    def transition(self, state: jax.Array, action: jax.Array, params: Any) -> tuple:
        cut, every = params
        end = state + 1 >= every
        return state + 1, jnp.float32(1), end & jnp.logical_not(cut), end & cut


class Masked(NamedTuple):
    """An observation with a mask.

    Attributes:
        context: which arm pays.
        action_mask: which can be pulled.
    """

    context: jax.Array
    action_mask: jax.Array


@dataclasses.dataclass(frozen=True)
class Bandit(SmallEnv):
    """Arm a pays a in context 0 and num_actions - a in context 1; the last arm is masked.

    Optimum: arm num_actions - 2 in context 0, arm 0 in context 1.
    """

    num_actions: int = 5

    def start(self, key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(key).astype(jnp.int32)

    def observe(self, state: jax.Array) -> Masked:
        mask = jnp.arange(self.num_actions) < self.num_actions - 1
        return Masked(jax.nn.one_hot(state, 2), mask)

    def transition(self, state: jax.Array, action: jax.Array, params: Any) -> tuple:
        reward = jnp.where(state == 0, action, self.num_actions - action).astype(jnp.float32)
        # The forbidden arm would pay most of all, if it were not for its mask.
        reward = jnp.where(action == self.num_actions - 1, 100.0, reward)
        return state, reward, jnp.asarray(True), jnp.asarray(False)

    def best(self) -> tuple[int, int]:
        return self.num_actions - 2, 0

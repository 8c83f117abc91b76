"""What both forms of the environment share: slots of one network, reset, step, auto-reset."""

import copy
import types
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lsajax import hashing, reward, traffic
from lsajax._numerics import argsort
from lsajax.env import spaces as own_spaces
from lsajax.instance import Instance
from lsajax.sampling import slot_instance
from lsajax.scenario import Scenario
from lsajax.traffic import TrafficState

Step = tuple[Any, Any, Array, Array, dict[str, Any]]


class Slot(NamedTuple):
    """One slot of a network under its traffic.

    Attributes:
        network_key: what positions, channels and fading are a function of.
        traffic: who requests and which channels are occupied; its `slot` counts slots.
        inst: the slot.
        scale: what a reward is divided by: the mean value of a random valid assignment, coupling
            left out [the objective's unit].
    """

    network_key: jax.Array
    traffic: TrafficState
    inst: Instance
    scale: Float[Array, ""]


class Access:
    """Spectrum access over slots, in the form of gymnax 1.0's environments.

    An episode is `num_slots` slots of one network: positions, shadowing and channels stay, requests
    and primary users follow `lsajax.traffic`, fading is drawn anew per slot or, with `multipath`,
    goes on in time. The parameters of the environment are the `Scenario`: its sizes are static, its
    constants may be traced. What is done in a slot has no effect on the next one.

    The return of a slot is `objective_value` of its assignment over the mean value of a random
    valid assignment of the same slot (`expected_random_value`, coupling left out): a random agent
    has about 1, in every setting. Nothing is discounted here.

    Traffic has no end of its own: the end of an episode is a truncation, behind which the next slot
    would follow, whose observation is `info["final_observation"]`. With `end_is_terminal` it is a
    termination instead: the return is that of `num_slots` slots, and nothing is to be added to it.

    `reset`, `step` and auto-reset do what gymnax 1.0.1 does, with the same use of keys.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        num_slots: int = 10,
        end_is_terminal: bool = False,
        spaces: types.ModuleType = own_spaces,
    ) -> None:
        """An environment of `scenario` by default.

        Args:
            scenario: default parameters.
            num_slots: slots of an episode.
            end_is_terminal: whether an episode's end is a termination; else it is a truncation.
            spaces: where `Box`, `Dict` and `Discrete` come from.

        Raises:
            ValueError: `num_slots` is no positive integer, or `scenario` has no such environment.
        """
        if isinstance(num_slots, bool) or not isinstance(num_slots, int) or num_slots < 1:
            raise ValueError(f"num_slots must be an integer of at least 1, got {num_slots!r}")
        self.check_params(scenario)
        self.default_params = scenario
        self.num_slots = num_slots
        self.end_is_terminal = end_is_terminal
        self.spaces = spaces

    def __deepcopy__(self, memo: dict[int, Any]) -> "Access":
        """A shallow copy: nothing below is ever changed, and a module cannot be copied."""
        return copy.copy(self)

    @property
    def name(self) -> str:
        """Name of the environment."""
        return type(self).__name__

    @property
    def num_actions(self) -> int:
        """Number of actions with the default parameters."""
        return self.action_space(self.default_params).n

    def check_params(self, params: Scenario) -> None:
        """Raises ValueError where `params` has no environment of this form."""
        traffic.check_scenario(params)
        if params.num_active > params.num_channels:
            raise ValueError(
                f"num_active must be at most num_channels={params.num_channels} in an environment, "
                f"got {params.num_active}: there are not as many idle channels as users"
            )

    @partial(jax.jit, static_argnames=("self",))
    def reset(self, key: jax.Array, params: Scenario | None = None) -> tuple[Any, Any]:
        """The first observation and state of a new network."""
        return self.reset_env(key, self.default_params if params is None else params)

    @partial(jax.jit, static_argnames=("self",))
    def step(
        self, key: jax.Array, state: Any, action: Array, params: Scenario | None = None
    ) -> tuple[Any, Any, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], dict[str, Any]]:
        """One step; at the end of an episode observation and state are those of a new one.

        Returns:
            (observation, state, reward, terminated, truncated, info); `info` also holds
            `terminated`, `truncated` and `final_observation`, the observation before auto-reset:
            bootstrap from that one, unless terminated.
        """
        params = self.default_params if params is None else params
        key_step, key_reset = jax.random.split(key)
        last_obs, last_state, gain, terminated, info = self.step_env(
            key_step, state, action, params
        )
        truncated = self.is_truncated(last_state, params)
        first = self.reset_env(key_reset, params)
        obs, state = jax.tree.map(
            partial(jax.lax.select, terminated | truncated), first, (last_obs, last_state)
        )
        info |= {"terminated": terminated, "truncated": truncated, "final_observation": last_obs}
        return obs, state, gain, terminated, truncated, info

    def is_truncated(self, state: Any, params: Scenario) -> Bool[Array, ""]:
        """Whether the horizon is reached while traffic goes on."""
        return jnp.asarray(not self.end_is_terminal) & self._is_over(state)

    def is_terminated(self, state: Any, params: Scenario) -> Bool[Array, ""]:
        """Whether nothing follows; only with `end_is_terminal`."""
        return jnp.asarray(self.end_is_terminal) & self._is_over(state)

    def _is_over(self, state: Any) -> Bool[Array, ""]:
        return state.slot.traffic.slot >= self.num_slots

    @property
    def ends_with_slot(self) -> bool:
        """Whether nothing follows the first slot, so that no second one has to be drawn."""
        return self.end_is_terminal and self.num_slots == 1

    def slot_after(self, key: jax.Array, params: Scenario, slot: Slot) -> Slot:
        """The next slot of the network; where nothing follows the same one, with its count on."""
        if self.ends_with_slot:
            state = slot.traffic._replace(slot=slot.traffic.slot + 1)
            return slot._replace(traffic=state)
        return _slot(slot.network_key, params, traffic.step(key, params, slot.traffic))

    def reset_env(self, key: jax.Array, params: Scenario) -> tuple[Any, Any]:
        """`reset` without jit."""
        raise NotImplementedError

    def step_env(self, key: jax.Array, state: Any, action: Array, params: Scenario) -> Step:
        """`step` without auto-reset: (observation, state, reward, terminated, info)."""
        raise NotImplementedError

    def action_space(self, params: Scenario) -> Any:
        """Space of the actions."""
        raise NotImplementedError

    def observation_space(self, params: Scenario) -> Any:
        """Space of the observations."""
        raise NotImplementedError


def first_slot(key: jax.Array, params: Scenario) -> Slot:
    """Slot 0 of a new network, its traffic stationary."""
    state = traffic.init(hashing.named_key(key, "traffic"), params)
    return _slot(hashing.named_key(key, "network"), params, state)


def _slot(network_key: jax.Array, params: Scenario, state: TrafficState) -> Slot:
    inst = _strongest_first(slot_instance(network_key, params, state))
    # Both sides of an auto-reset and both ends of a loop have the same types.
    inst = jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), inst)
    scale = reward.expected_random_value(inst.without_coupling())
    return Slot(network_key, state, inst, scale)


def _strongest_first(inst: Instance) -> Instance:
    """The same slot with its rows in order of mean power, padding last.

    Users come as they registered, which says nothing: in an order that means something, a network
    need not learn each of K! orders by itself.
    """
    order = argsort(jnp.where(inst.user_mask, -inst.mean_power_w, jnp.inf))
    rows = ("user_id", "user_mask", "position_m", "mean_power_w", "weight", "min_rate_bps")
    of_users = {name: getattr(inst, name) for name in rows}
    return inst.replace(**{n: x[order] for n, x in of_users.items() if x is not None})

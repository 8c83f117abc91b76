"""The joint form: one action per slot, an index into all injections of K users into M channels."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32, UInt32

from lsajax import hashing, objective
from lsajax.coupling import user_coupling
from lsajax.env.base import Access, Slot, Step, first_slot
from lsajax.env.features import LIMIT
from lsajax.instance import Instance
from lsajax.scenario import Scenario


class JointObservation(NamedTuple):
    """What a joint agent sees.

    Attributes:
        features: see `joint_features`.
        action_mask: actions that use no occupied channel.
    """

    features: Float[Array, "features"]
    action_mask: Bool[Array, "actions"]


class JointState(NamedTuple):
    """State of `JointAccess`.

    Attributes:
        slot: the slot in which the next action is taken.
    """

    slot: Slot


class JointAccess(Access):
    """Spectrum access with one action per slot, the paper's form of an agent.

    Action a is the a-th of the M! / (M - K)! ways to give K users different channels, in
    lexicographic order, see `decode`; row i of the slot's instance, whose users come strongest
    first, gets entry i. A masked action is allowed to the environment: who is put on an occupied
    channel gets nothing.
    """

    def check_params(self, params: Scenario) -> None:
        """Raises ValueError where `params` has no joint action space."""
        if params.poisson or params.num_active_min is not None:
            raise ValueError(
                "a joint action space needs a fixed number of users: poisson must be False and "
                f"num_active_min None, got {params.poisson} and {params.num_active_min}; "
                "SequentialAccess takes a number that varies"
            )
        super().check_params(params)
        actions = num_joint_actions(params)
        if actions > 2**31 - 1:
            raise ValueError(
                f"the joint action space of {params.num_active} users on {params.num_channels} "
                f"channels has {actions} actions, and an index is an int32: use SequentialAccess"
            )

    def action_space(self, params: Scenario) -> Any:
        """Discrete: all injections of users into channels."""
        return self.spaces.Discrete(num_joint_actions(params))

    def observation_space(self, params: Scenario) -> Any:
        """Space of a `JointObservation`."""
        obs = jax.eval_shape(lambda: self.reset_env(jax.random.key(0), params))[0]
        return self.spaces.Dict(
            {
                "features": self.spaces.Box(-LIMIT, LIMIT, obs.features.shape),
                "action_mask": self.spaces.Box(0, 1, obs.action_mask.shape, jnp.bool_),
            }
        )

    def reset_env(self, key: jax.Array, params: Scenario) -> tuple[JointObservation, JointState]:
        """`reset` without jit."""
        self.check_params(params)
        state = JointState(first_slot(key, params))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: jax.Array, state: JointState, action: ArrayLike, params: Scenario
    ) -> Step:
        """`step` without auto-reset; `info["value"]` is the objective in its own unit."""
        inst, scale = state.slot.inst, state.slot.scale
        assignment = decode(action, inst.num_rows, inst.num_channels)
        value = objective.feasible_value(inst, assignment)
        key_traffic = hashing.named_key(key, "traffic")
        state = JointState(self.slot_after(key_traffic, params, state.slot))
        terminated = self.is_terminated(state, params)
        obs = self.observe(key, state, action, params)
        return obs, state, value / scale, terminated, {"value": value}

    def observe(
        self, key: jax.Array, state: JointState, action: ArrayLike | None, params: Scenario
    ) -> JointObservation:
        """The observation of `state`; key and action are not used."""
        inst = state.slot.inst
        mask = joint_mask(inst.occupied, inst.num_rows)
        return JointObservation(joint_features(inst, state.slot.scale), mask)


def num_joint_actions(params: Scenario) -> int:
    """M! / (M - K)!, the injections of K users into M channels."""
    return math.perm(params.num_channels, params.num_active)


def decode(action: ArrayLike, num_users: int, num_channels: int) -> Int32[Array, "*batch users"]:
    """Channels of the users in joint action `action`; no table, so any number of actions.

    In the factorial number system: digit j of `action`, to the base M - j, says which of the
    channels that are left the j-th user gets. Order is lexicographic.

    Args:
        action: indices below M! / (M - K)!.
        num_users: K.
        num_channels: M.
    """
    rest = jnp.asarray(action, jnp.int32)
    channels: list[Array] = []
    for j in range(num_users):
        ways = math.perm(num_channels - j - 1, num_users - j - 1)
        channel, rest = rest // ways, rest % ways
        # Past each smaller channel that is taken; only in ascending order is one pass enough.
        for taken in _ascending(channels):
            channel = channel + (channel >= taken)
        channels.append(channel)
    return jnp.stack(channels, axis=-1)


def _ascending(channels: list[Array]) -> list[Array]:
    if len(channels) < 2:
        return channels
    ordered = jnp.sort(jnp.stack(channels, axis=-1), axis=-1)
    return [ordered[..., i] for i in range(len(channels))]


def joint_mask(occupied: Bool[Array, "channels"], num_users: int) -> Bool[Array, "actions"]:
    """Which joint actions use no occupied channel.

    The channels of an action are a set of bits, which does not depend on the slot: over a batch of
    environments one word per action is compared, not K channels.
    """
    M = occupied.shape[0]
    channels = decode(jnp.arange(math.perm(M, num_users)), num_users, M)
    used = _as_bits(channels, M)
    held = _as_bits(jnp.where(occupied, jnp.arange(M), -1), M)
    return jnp.all(used & held == 0, axis=-1)


def _as_bits(channels: Int[Array, "*batch n"], num_channels: int) -> UInt32[Array, "*batch words"]:
    """A set of different channels as bits of 32-bit words; -1 is no member."""
    first = jnp.arange(0, num_channels, 32)
    bit = channels[..., None, :] - first[:, None]
    inside = (channels[..., None, :] >= 0) & (bit >= 0) & (bit < 32)
    word = jnp.uint32(1) << jnp.where(inside, bit, 0).astype(jnp.uint32)
    return jnp.sum(jnp.where(inside, word, jnp.uint32(0)), axis=-1, dtype=jnp.uint32)


def joint_features(inst: Instance, scale: Float[Array, ""]) -> Float[Array, "features"]:
    """All pairs' values and who may use what, as one vector; a few units in size.

    In order: values v_im less the mean one, over a quarter of it, 0 where occupied [K M]; occupied
    [M]; with the objective 'coupled' also the coupling of the users of each pair of rows [K K].
    """
    unit = scale / inst.num_rows
    value = objective.value_matrix(inst.without_coupling())
    value = jnp.where(inst.occupied, 0.0, 4.0 * (value / unit - 1.0))
    parts = [value.ravel(), inst.occupied.astype(value.dtype)]
    if inst.objective == "coupled":
        parts.append(user_coupling(inst).ravel())
    return jnp.clip(jnp.concatenate(parts), -LIMIT, LIMIT)

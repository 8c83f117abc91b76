"""The sequential form: one user at a time chooses among his best free channels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lsajax import hashing
from lsajax.env import features, placement
from lsajax.env.base import Access, Slot, Step, first_slot
from lsajax.env.features import SequentialObservation
from lsajax.env.placement import NUM_CANDIDATES, Progress
from lsajax.scenario import Scenario


class SequentialState(NamedTuple):
    """State of `SequentialAccess`.

    Attributes:
        slot: the slot that is being filled.
        progress: how far it is filled.
    """

    slot: Slot
    progress: Progress


class SequentialAccess(Access):
    """Spectrum access with one action per user: which of his best free channels he takes.

    Whose turn it is says `order`: that of the user who loses most if he gets his second best free
    channel instead of the best, or that of the strongest. A step's reward is what his placement
    adds to the objective, over the slot's scale, with the coupling less the leakage to and from
    those already placed: the rewards of a slot add up to its objective. A masked action, a
    candidate that does not exist, counts as the first one.

    The number of users may vary from slot to slot, and with it the number of steps of a slot.
    """

    def __init__(
        self, scenario: Scenario, *, order: str = placement.ORDERS[0], **options: Any
    ) -> None:
        """An environment of `scenario` by default.

        Args:
            scenario: default parameters.
            order: whose turn is next, one of `placement.ORDERS`.
            options: of `Access`.

        Raises:
            ValueError: what `Access` raises, or an unknown order.
        """
        placement.check_order(order)
        super().__init__(scenario, **options)
        self.order = order

    def check_params(self, params: Scenario) -> None:
        """Raises ValueError where `params` has no sequential environment."""
        if params.poisson:
            raise ValueError(
                "poisson must be False for an environment, got True: traffic over slots needs a "
                "fixed number of registered users; num_active_min lets the requesting ones vary"
            )
        super().check_params(params)

    def action_space(self, params: Scenario) -> Any:
        """Discrete: the candidates of a user."""
        return self.spaces.Discrete(NUM_CANDIDATES)

    def observation_space(self, params: Scenario) -> Any:
        """Space of a `SequentialObservation`, the same for every scenario."""
        per_candidate = (NUM_CANDIDATES, len(features.CANDIDATE_FEATURES))

        def real(*shape: int) -> Any:
            return self.spaces.Box(-features.LIMIT, features.LIMIT, shape)

        return self.spaces.Dict(
            {
                "candidates": real(*per_candidate),
                "context": real(len(features.CONTEXT_FEATURES)),
                "remaining": self.spaces.Box(-jnp.inf, jnp.inf, ()),
                "unit": self.spaces.Box(0.0, 1.0, ()),
                "action_mask": self.spaces.Box(0, 1, (NUM_CANDIDATES,), jnp.bool_),
            }
        )

    def reset_env(
        self, key: jax.Array, params: Scenario
    ) -> tuple[SequentialObservation, SequentialState]:
        """`reset` without jit."""
        self.check_params(params)
        slot = first_slot(key, params)
        progress = placement.turn(slot.inst, placement.begin(slot.inst), self.order)
        state = SequentialState(slot, progress)
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: jax.Array, state: SequentialState, action: ArrayLike, params: Scenario
    ) -> Step:
        """`step` without auto-reset.

        `info["value"]` is what the step adds to the objective in its own unit, `info["slot_end"]`
        whether it placed the last user of its slot.
        """
        slot = state.slot
        action = jnp.asarray(action)
        progress, value = placement.place(slot.inst, state.progress, action)
        full = placement.is_complete(slot.inst, progress)
        state = jax.lax.cond(
            full,
            lambda: self._following(hashing.named_key(key, "traffic"), params, slot, progress),
            lambda: SequentialState(slot, progress),
        )
        progress = placement.turn(state.slot.inst, state.progress, self.order)
        state = state._replace(progress=progress)
        terminated = self.is_terminated(state, params)
        obs = self.observe(key, state, action, params)
        info = {"value": value, "slot_end": full}
        return obs, state, value / slot.scale, terminated, info

    def _following(
        self, key: jax.Array, params: Scenario, slot: Slot, progress: Progress
    ) -> SequentialState:
        following = self.slot_after(key, params, slot)
        if self.ends_with_slot:
            return SequentialState(following, progress)
        return SequentialState(following, placement.begin(following.inst))

    def observe(
        self, key: jax.Array, state: SequentialState, action: ArrayLike | None, params: Scenario
    ) -> SequentialObservation:
        """The observation of `state`; key and action are not used."""
        return features.observe(state.slot.inst, state.progress)

"""Who asks and which channels are taken: two-state Markov chains per user and per channel.

`init(key, scenario)` draws the stationary state, `step(key, scenario, state)` one slot on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from lsajax.scenario import Scenario


class TrafficState(NamedTuple):
    """Requesting users [registered], occupied channels o_m [channels], slots since `init`."""

    active: Bool[Array, "registered"]
    occupied: Bool[Array, "channels"]
    slot: Int32[Array, ""]


def init(key: jax.Array, scenario: Scenario) -> TrafficState:
    """Stationary state: the number of requesting users is within the scenario's range."""
    active_key, bound_key, occupied_key = jax.random.split(key, 3)
    active = jax.random.bernoulli(active_key, _activity(scenario), (scenario.num_users,))
    occupied = jax.random.bernoulli(occupied_key, scenario.occupancy, (scenario.num_channels,))
    active = _bound_active(bound_key, scenario, active, active)
    return TrafficState(active, keep_idle(occupied, scenario.num_active), jnp.int32(0))


def step(key: jax.Array, scenario: Scenario, state: TrafficState) -> TrafficState:
    """The next slot.

    A channel's chain leaves "occupied" with probability 1 / dwell and enters it with
    pi / ((1 - pi) dwell), so its stationary occupancy is pi; a user's likewise. The number of
    requests is kept within [min_active, num_active]: beyond it new arrivals are refused first,
    below it departures are held back first. The channels that primary users take are cut to
    M - num_active for the same reason (Theorem 1 needs K_t <= idle channels).
    """
    active_key, bound_key, occupied_key = jax.random.split(key, 3)
    wanted = _markov(active_key, state.active, _activity(scenario), scenario.activity_dwell_slots)
    active = _bound_active(bound_key, scenario, wanted, state.active)
    occupied = _markov(
        occupied_key, state.occupied, scenario.occupancy, scenario.occupancy_dwell_slots
    )
    return TrafficState(active, keep_idle(occupied, scenario.num_active), state.slot + 1)


def keep_idle(occupied: Bool[Array, "channels"], num_idle: int) -> Bool[Array, "channels"]:
    """`occupied`, with channels freed until `num_idle` are idle (or all of them, if fewer exist).

    The first occupied channels are the ones freed: channels are independent and alike, so the
    choice does not change the law of anything but the index.
    """
    missing = num_idle - jnp.sum(~occupied)
    return occupied & (jnp.cumsum(occupied) > missing)


def _activity(scenario: Scenario) -> float:
    """Stationary probability that a user requests: the middle of the range over N."""
    return min(1.0, (scenario.min_active + scenario.num_active) / 2 / scenario.num_users)


def _markov(
    key: jax.Array,
    on: Bool[Array, "n"],
    stationary: float | Float[Array, ""],
    dwell: float | Float[Array, ""],
) -> Bool[Array, "n"]:
    rise = stationary / jnp.maximum(1.0 - stationary, 1e-6) / dwell
    probability = jnp.where(on, 1.0 - 1.0 / dwell, jnp.minimum(rise, 1.0))
    return jax.random.uniform(key, on.shape) < probability


def _bound_active(
    key: jax.Array,
    scenario: Scenario,
    wanted: Bool[Array, "registered"],
    before: Bool[Array, "registered"],
) -> Bool[Array, "registered"]:
    count = jnp.clip(jnp.sum(wanted), scenario.min_active, scenario.num_active)
    # Who stays requests first, then arrivals, then departures, then the idle; ties at random.
    priority = 2 * wanted + before + jax.random.uniform(key, wanted.shape)
    rank = jnp.argsort(jnp.argsort(-priority))
    return rank < count

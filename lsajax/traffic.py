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
    """Stationary state: the number of requesting users is within the scenario's range.

    Raises:
        ValueError: `scenario` is `poisson` (a chain per user needs a fixed number of users), or its
            bursts are too short for the share of users that request.
    """
    check_scenario(scenario)
    active_key, bound_key, occupied_key, idle_key = jax.random.split(key, 4)
    active = jax.random.bernoulli(active_key, _activity(scenario), (scenario.num_users,))
    occupied = jax.random.bernoulli(occupied_key, scenario.occupancy, (scenario.num_channels,))
    active = _bound_active(bound_key, scenario, active, active)
    where = jax.random.uniform(idle_key)
    return TrafficState(active, keep_idle(where, occupied, scenario.num_active), jnp.int32(0))


def step(key: jax.Array, scenario: Scenario, state: TrafficState) -> TrafficState:
    """The next slot.

    A channel's chain leaves "occupied" with probability 1 / dwell and enters it with
    pi / ((1 - pi) dwell), so its stationary occupancy is pi; a user's likewise. The number of
    requests is kept within [min_active, num_active]: beyond it new arrivals are refused first,
    below it idle users are called first and departures held back last. Primary users are kept to
    M - num_active channels (Theorem 1 needs K_t <= idle channels).
    """
    active_key, bound_key, occupied_key, idle_key = jax.random.split(key, 4)
    wanted = _markov(active_key, state.active, _activity(scenario), scenario.activity_dwell_slots)
    active = _bound_active(bound_key, scenario, wanted, state.active)
    occupied = _markov(
        occupied_key, state.occupied, scenario.occupancy, scenario.occupancy_dwell_slots
    )
    occupied = keep_idle(jax.random.uniform(idle_key), occupied, scenario.num_active)
    return TrafficState(active, occupied, state.slot + 1)


def keep_idle(
    where: Float[Array, ""], occupied: Bool[Array, "channels"], num_idle: int
) -> Bool[Array, "channels"]:
    """`occupied`, with channels freed until `num_idle` are idle (or all of them, if fewer exist).

    The ones freed follow each other among the occupied ones, from a start that `where`, uniform in
    [0, 1), decides: each is as likely as the next, and nothing is sorted.
    """
    missing = num_idle - jnp.sum(~occupied)
    count = jnp.maximum(jnp.sum(occupied), 1)
    start = jnp.minimum((where * count).astype(jnp.int32), count - 1)
    place = (jnp.cumsum(occupied) - 1 + start) % count
    return occupied & (place >= missing)


def check_scenario(scenario: Scenario) -> None:
    """Raises ValueError where the chains of `scenario` do not exist."""
    if scenario.poisson:
        raise ValueError(
            "poisson must be False for traffic over slots: a chain per user needs a fixed number"
        )
    share, dwell = _activity(scenario), scenario.activity_dwell_slots
    open_range = scenario.min_active < scenario.num_active
    if open_range and isinstance(dwell, float) and share / (1 - share) > dwell:
        raise ValueError(
            f"activity_dwell_slots must be at least {share / (1 - share):g} for a share of "
            f"{share:g} of the users to request in the mean, got {dwell:g}"
        )


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
    # Who stays requests first, then arrivals, then the idle, then departures; ties at random.
    priority = 2 * wanted + (wanted == before) + jax.random.uniform(key, wanted.shape)
    rank = jnp.argsort(jnp.argsort(-priority))
    return rank < count

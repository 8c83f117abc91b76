"""Who asks and which channels are taken: bounded two-state Markov chains per user and per channel.

`init(key, scenario)` draws the stationary state, `step(key, scenario, state)` one slot on.

Each user (channel) is on with probability p and stays on for `dwell` slots in the mean, the number
of those on is kept within bounds, and all of them are alike. The stationary law is that of
independent ones, given the bounds: the number on is binomial cut to its range, and who they are is
uniform. A slot's moves are drawn as for independent chains; where they would leave the range, as
many arrive as leave. Both kinds of moves are reversible under that law.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlog1py, xlogy
from jaxtyping import Array, Bool, Float, Int32, UInt32
from scipy.special import gammaln

from lsajax import hashing
from lsajax._numerics import one_program
from lsajax.scenario import Scenario


class TrafficState(NamedTuple):
    """The traffic of one slot.

    Attributes:
        active: requesting users.
        occupied: channels held by a primary user, o_m.
        slot: slots since `init`.
    """

    active: Bool[Array, "registered"]
    occupied: Bool[Array, "channels"]
    slot: Int32[Array, ""]


def init(key: jax.Array, scenario: Scenario) -> TrafficState:
    """The stationary state, exactly: slot 0 has the law of every later one.

    The number of requesting users is within [min_active, num_active]: binomial with the middle of
    that range as its mean, cut to it. Primary users hold each channel with probability `occupancy`,
    given that at least `num_active` channels are idle (Theorem 1 needs K_t of them; with fewer
    channels than that all are idle). Where that bound binds, the mean occupancy is lower.

    Raises:
        ValueError: `scenario` is `poisson` (a chain per user needs a fixed number of users), or its
            bursts are too short for the share of users that request.
    """
    check_scenario(scenario)
    seed = hashing.seed(key, "traffic", "init", "active")
    bounds = (scenario.min_active, scenario.num_active)
    active = _stationary(seed, scenario.num_users, _activity(scenario), *bounds)
    return TrafficState(active, occupied_channels(key, scenario), jnp.int32(0))


def step(key: jax.Array, scenario: Scenario, state: TrafficState) -> TrafficState:
    """The next slot.

    A user's burst of requests ends with probability 1 / `activity_dwell_slots` in each slot, a
    primary user's stay with 1 / `occupancy_dwell_slots`; others begin so that the state stays
    stationary, see `init`.

    Raises:
        ValueError: `state` has other sizes than `scenario`.
    """
    check_state(scenario, state)
    active = _advance(
        hashing.named_key(key, "traffic", "step", "active"),
        state.active,
        *_moves(_activity(scenario), scenario.activity_dwell_slots),
        (scenario.min_active, scenario.num_active),
    )
    occupied = _advance(
        hashing.named_key(key, "traffic", "step", "occupied"),
        state.occupied,
        *_moves(scenario.occupancy, scenario.occupancy_dwell_slots),
        (0, _most_occupied(scenario)),
    )
    return TrafficState(active, occupied, state.slot + 1)


def occupied_channels(key: jax.Array, scenario: Scenario) -> Bool[Array, "channels"]:
    """Channels held by primary users in the stationary state, see `init`."""
    seed = hashing.seed(key, "traffic", "init", "occupied")
    most = _most_occupied(scenario)
    return _stationary(seed, scenario.num_channels, scenario.occupancy, 0, most)


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


def check_state(scenario: Scenario, state: TrafficState) -> None:
    """Raises ValueError where `state` has other sizes than `scenario`."""
    for name, size in (("active", scenario.num_users), ("occupied", scenario.num_channels)):
        shape = getattr(state, name).shape
        if shape != (size,):
            raise ValueError(
                f"state.{name} must have shape ({size},) in this scenario, got {shape}; "
                "map over a batch with jax.vmap"
            )


def _most_occupied(scenario: Scenario) -> int:
    return max(scenario.num_channels - scenario.num_active, 0)


def _activity(scenario: Scenario) -> float:
    """Probability that a user requests, before bounds: the middle of the range over N."""
    return min(1.0, (scenario.min_active + scenario.num_active) / 2 / scenario.num_users)


@partial(one_program, static_argnames=("size", "low", "high"))
def _stationary(
    seed: UInt32[Array, "2"], size: int, share: float | Float[Array, ""], low: int, high: int
) -> Bool[Array, "size"]:
    """Independent draws of probability `share`, given that `low` to `high` of them are True."""
    on = np.arange(low, high + 1, dtype=float)
    log_ways = gammaln(size + 1) - gammaln(on + 1) - gammaln(size - on + 1)
    log_weight = jnp.asarray(log_ways, float) + xlogy(on, share) + xlog1py(size - on, -share)
    below = jnp.cumsum(jax.nn.softmax(log_weight))[:-1]
    count = low + jnp.sum(hashing.uniform(seed, -1) > below)
    return hashing.subset(seed, jnp.ones(size, bool), count)


def _moves(
    share: float | Float[Array, ""], dwell: float | Float[Array, ""]
) -> tuple[float | Float[Array, ""], float | Float[Array, ""]]:
    """Probabilities that a chain which is off begins in a slot, and that one which is on ends."""
    return share / jnp.maximum(1.0 - share, 1e-6) / dwell, 1.0 / dwell


@partial(one_program, static_argnames="bounds")
def _advance(
    key: jax.Array,
    on: Bool[Array, "n"],
    begin: float | Float[Array, ""],
    end: float | Float[Array, ""],
    bounds: tuple[int, int],
) -> Bool[Array, "n"]:
    """One slot on of chains whose stationary law is `_stationary`'s."""
    draw = hashing.uniform(hashing.seed(key, "moves"), jnp.arange(on.size))
    leaving = jnp.sum(on & (draw < end))
    arriving = jnp.sum(~on & (draw < begin))
    # Given their numbers, who leaves and who arrives is uniform: a swap of as many each way is its
    # own reverse, whatever decides on it.
    count = jnp.sum(on)
    after = count - leaving + arriving
    fits = (after >= bounds[0]) & (after <= bounds[1])
    leaving = jnp.where(fits, leaving, jnp.minimum(leaving, on.size - count))
    arriving = jnp.where(fits, arriving, leaving)
    left = hashing.subset(hashing.seed(key, "leaving"), on, leaving)
    arrived = hashing.subset(hashing.seed(key, "arriving"), ~on, arriving)
    return (on & ~left) | arrived

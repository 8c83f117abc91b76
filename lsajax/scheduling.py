"""Schedulers over slots: who gets which channel, given what everyone has had so far.

A scheduler is `scheduler(key, state, inst) -> assignment`; three classical ones are here, of which
`functools.partial(proportional_fair, solver=...)` makes others. `run` drives one through the
traffic of a scenario; with the same key every scheduler meets the same slots.

Where there are channels for all who ask, a scheduler decides who gets the good ones; with more
users than idle channels it decides who is served, too. All three look at rates alone: objective
and needs of an instance do not enter, priorities do in `proportional_fair`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, Integer

from lsajax import hashing, link, objective, solvers, traffic
from lsajax._numerics import argsort
from lsajax.instance import Instance
from lsajax.sampling import slot_instance
from lsajax.scenario import Scenario

WINDOW_SLOTS = 100.0
"""Time constant of the averaged rates: requests after which an old rate counts 1/e."""


class SchedulerState(NamedTuple):
    """What users have had so far.

    Attributes:
        mean_rate_bps: averaged rate R_i of each registered user [bit/s], over the slots in which
            it requested; 0 before the first.
        num_requests: slots in which it requested.
        last_served: slot in which it was last served, -1 for never.
        slot: slots since `init`.
    """

    mean_rate_bps: Float[Array, "registered"]
    num_requests: Int32[Array, "registered"]
    last_served: Int32[Array, "registered"]
    slot: Int32[Array, ""]


class History(NamedTuple):
    """What a scheduler made of some slots.

    Attributes:
        throughput_bps: sum of the rates in each slot [bit/s].
        served: users with a rate above 0 in each slot.
        jain_index: of the averaged rates after each slot, over the users that have requested.
        mean_rate_bps: rate of each user over the slots in which it requested, all weighing the
            same [bit/s]; 0 for a user that never did.
        state: after the last slot.
    """

    throughput_bps: Float[Array, "slots"]
    served: Int32[Array, "slots"]
    jain_index: Float[Array, "slots"]
    mean_rate_bps: Float[Array, "registered"]
    state: SchedulerState


Scheduler = Callable[[jax.Array, SchedulerState, Instance], Int32[Array, "users"]]


def init(scenario: Scenario) -> SchedulerState:
    """Nobody has had anything."""
    N = scenario.max_users
    nothing = jnp.zeros(N, jnp.int32)
    return SchedulerState(jnp.zeros(N), nothing, nothing - 1, jnp.int32(0))


def weights(state: SchedulerState, inst: Instance) -> Float[Array, "users"]:
    """Proportional fairness' weights w_i / (1 + R_i / (1 Mbit/s)) of an instance's rows [1].

    The slope of w_i log(1 + R_i / (1 Mbit/s)), `fair_utility` at alpha = 1: as good as the usual
    1 / R_i, and finite for a user that has had nothing. w_i is `inst.weight`, or 1.
    """
    mean = state.mean_rate_bps[inst.user_id] / objective.UTILITY_UNIT_BPS
    return (1.0 if inst.weight is None else inst.weight) / (1.0 + mean)


def update(
    state: SchedulerState,
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    window_slots: ArrayLike = WINDOW_SLOTS,
) -> SchedulerState:
    """The state after a slot: R_i <- R_i + (r_i - R_i) / min(n_i, window).

    n_i counts the slots in which user i has requested, this one included: a plain mean at first,
    which depends on no initial value, then an exponential window. Who does not request keeps R_i.

    Args:
        state: before the slot.
        inst: the slot; its ids are those of registered users.
        assignment: [users] channel of each row, raw ones included.
        window_slots: time constant [slots], at least 1.
    """
    rate = objective.user_rates(inst, assignment)
    # Padded rows carry the id of some user, and must not write to it.
    target = jnp.where(inst.user_mask, inst.user_id, state.num_requests.size)
    num_requests = state.num_requests.at[target].add(1, mode="drop")
    mean = state.mean_rate_bps[inst.user_id]
    step = (rate - mean) / jnp.minimum(num_requests[inst.user_id], window_slots)
    served = jnp.where(rate > 0, target, state.num_requests.size)
    return SchedulerState(
        state.mean_rate_bps.at[target].add(step, mode="drop"),
        num_requests,
        state.last_served.at[served].set(state.slot, mode="drop"),
        state.slot + 1,
    )


def proportional_fair(
    key: jax.Array,
    state: SchedulerState,
    inst: Instance,
    *,
    solver: Callable[[jax.Array, Instance], solvers.Solution] = solvers.hungarian,
) -> Int32[Array, "users"]:
    """Maximises sum_i w_i(t) r_i, w_i(t) of `weights`: a weighted assignment problem per slot.

    Over many slots this climbs sum_i log R_i, the proportionally fair point: nobody's rate can
    rise by a share without others' falling by more in sum.

    Args:
        key: for `solver`.
        state: what users have had.
        inst: one slot.
        solver: of the slot, exact by default.

    References:
        Kelly, Maulloo and Tan, J. Oper. Res. Soc. 49 (1998); Jalali, Padovani and Pankaj, VTC
        Spring 2000, with Tse's rule for one channel: serve the user of the largest r_i / R_i.
    """
    return solver(key, inst.of_rates(weights(state, inst))).assignment


def max_rate(
    key: jax.Array,
    state: SchedulerState,
    inst: Instance,
    *,
    solver: Callable[[jax.Array, Instance], solvers.Solution] = solvers.hungarian,
) -> Int32[Array, "users"]:
    """Maximises sum_i r_i in each slot, LSA Eq. (4), whoever gets it; `state` is not looked at."""
    del state
    return solver(key, inst.of_rates()).assignment


def round_robin(key: jax.Array, state: SchedulerState, inst: Instance) -> Int32[Array, "users"]:
    """Users in turn, the least recently served first, on the idle channels in rotating order.

    Rates are not looked at. Of users served in the same slot the first row comes first; the p-th
    user of slot t takes the idle channel of number (p + t) mod the number of idle ones.
    """
    del key
    link.check_one_slot(inst)
    last = state.last_served[inst.user_id]
    order = argsort(jnp.where(inst.user_mask, last, jnp.iinfo(jnp.int32).max))
    turn = jnp.zeros(inst.num_rows, jnp.int32).at[order].set(jnp.arange(inst.num_rows))
    num_idle = jnp.sum(~inst.occupied)
    (idle,) = jnp.nonzero(~inst.occupied, size=inst.num_channels, fill_value=0)
    channel = idle[(turn + state.slot) % jnp.maximum(num_idle, 1)].astype(jnp.int32)
    return jnp.where(inst.user_mask & (turn < num_idle), channel, -1)


def run(
    key: jax.Array,
    scenario: Scenario,
    scheduler: Scheduler,
    num_slots: int,
    *,
    window_slots: ArrayLike = WINDOW_SLOTS,
) -> History:
    """`num_slots` slots of one network's traffic under a scheduler; passes through jit and vmap.

    Args:
        key: of network, traffic, fading and scheduler; the first three do not depend on the
            scheduler, so that schedulers are compared slot by slot.
        scenario: what is simulated, without `poisson`.
        scheduler: `scheduler(key, state, inst) -> assignment`; static.
        num_slots: at least 1; static.
        window_slots: time constant of the averaged rates, see `update` [slots].

    Raises:
        ValueError: no slots, a window below 1 slot, or what `traffic.check_scenario` raises.
    """
    if num_slots < 1:
        raise ValueError(f"num_slots must be at least 1, got {num_slots}")
    if not isinstance(window_slots, jax.core.Tracer) and not np.all(np.asarray(window_slots) >= 1):
        raise ValueError(f"window_slots must be at least 1, got {window_slots}")
    traffic.check_scenario(scenario)
    return _run(key, scenario, scheduler, num_slots, jnp.asarray(window_slots, float))


@partial(jax.jit, static_argnames=("scheduler", "num_slots"))
def _run(
    key: jax.Array,
    scenario: Scenario,
    scheduler: Scheduler,
    num_slots: int,
    window_slots: Float[Array, ""],
) -> History:
    def one_slot(carry: tuple, slot_key: Array) -> tuple[tuple, tuple[Array, Array, Array]]:
        requests, state, total = carry
        inst = slot_instance(key, scenario, requests)
        assignment = scheduler(hashing.named_key(slot_key, "scheduler"), state, inst)
        rate = jnp.where(inst.user_mask, objective.user_rates(inst, assignment), 0.0)
        state = update(state, inst, assignment, window_slots)
        total = total.at[inst.user_id].add(rate)
        jain = objective.jain_index(state.mean_rate_bps, state.num_requests > 0)
        requests = traffic.step(hashing.named_key(slot_key, "traffic"), scenario, requests)
        seen = jnp.sum(rate), jnp.sum(rate > 0, dtype=jnp.int32), jain
        return (requests, state, total), seen

    start = init(scenario)
    carry = (traffic.init(key, scenario), start, jnp.zeros_like(start.mean_rate_bps))
    slot_keys = jax.random.split(hashing.named_key(key, "slots"), num_slots)
    (_, state, total), (throughput, served, jain) = jax.lax.scan(one_slot, carry, slot_keys)
    mean_rate = total / jnp.maximum(state.num_requests, 1)
    return History(throughput, served, jain, mean_rate, state)

"""Ways to schedule the slots of one network, and what they make of them, for `horizon`."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lsajax as lsa
from experiments import rows
from experiments.methods import Method, Outcome
from lsajax import hashing, scheduling
from lsajax.scheduling import SchedulerState

MAX_RATE, WARM_START = "Max rate", "Max rate, warm start"
PROPORTIONAL, ROUND_ROBIN = "Proportional fair", "Round robin"
_BUDGET_S = 0.1  # of anytime methods, of which none is here

Decide = Callable[[jax.Array, SchedulerState, lsa.Instance], Outcome]


@dataclasses.dataclass(frozen=True)
class Policy:
    """A way to assign channels slot by slot.

    Attributes:
        name: in rows and tables.
        begin: makes `(key, state, inst) -> Outcome`, which may remember slots of one network.
        skip: `(inst) -> reason` why it does not apply, or None.
        raw_name: none has a row for its raw assignments.
    """

    name: str
    begin: Callable[[], Decide]
    skip: Callable[[lsa.Instance], str | None] = lambda inst: None
    raw_name: str | None = None


class Slot(NamedTuple):
    """A slot with the scheduler's key and the value of its exact optimum [bit/s]."""

    key: jax.Array
    inst: lsa.Instance
    bound: float


def of_one_slot(method: Method) -> Policy:
    """A method of the other studies, which looks at the slot's rates alone."""

    def decide(key: jax.Array, state: SchedulerState, inst: lsa.Instance) -> Outcome:
        return method.run(key, inst.of_rates(), _BUDGET_S)

    return Policy(method.name, lambda: decide, method.skip)


def over_slots() -> list[Policy]:
    """The schedulers that know what users had, and max rate from the duals of the last slot."""

    def scheduler(name: str, schedule: scheduling.Scheduler) -> Policy:
        timed = _timed(jax.jit(schedule))
        return Policy(name, lambda: lambda key, state, inst: timed(key, state, inst)[0])

    solve = _timed(jax.jit(_solve))

    def begin_warm() -> Decide:
        memory: dict[str, Any] = {"prices": None}

        def decide(key: jax.Array, state: SchedulerState, inst: lsa.Instance) -> Outcome:
            outcome, (_, memory["prices"]) = solve(inst, memory["prices"])
            return outcome

        return decide

    return [
        Policy(WARM_START, begin_warm),
        scheduler(PROPORTIONAL, scheduling.proportional_fair),
        scheduler(ROUND_ROBIN, scheduling.round_robin),
    ]


def _solve(inst: lsa.Instance, prices: Any) -> Any:
    """Assignment of the highest rate, and its duals by channel, which the next slot starts from."""
    duals = None
    if prices is not None:
        # Who asks changes from slot to slot: a user's own dual follows from those of the channels.
        value = lsa.value_matrix(inst.of_rates())
        row = jnp.max(jnp.where(inst.occupied, -jnp.inf, value - prices), axis=1)
        duals = lsa.solvers.Duals(row, prices)
    found = lsa.solvers.hungarian(jax.random.key(0), inst.of_rates(), init_duals=duals)
    assert found.duals is not None
    return found.assignment, found.duals.column


def _timed(decide: Callable[..., Any]) -> Callable[..., tuple[Outcome, Any]]:
    """The outcome of a compiled function that returns an assignment first, and all it returns."""

    def run(*arguments: Any) -> tuple[Outcome, Any]:
        start = time.perf_counter()
        found = jax.block_until_ready(decide(*arguments))
        seconds = time.perf_counter() - start
        assignment = found[0] if isinstance(found, tuple) else found
        return Outcome(np.asarray(assignment), seconds, "feasible"), found

    return run


def slots_of(key: jax.Array, scenario: lsa.Scenario, num_slots: int) -> list[Slot]:
    """The slots of one network, the same ones that `lsajax.scheduling.run` goes through."""
    draw, start, advance = _compiled()
    requests = start(key, scenario)
    found = []
    for slot_key in jax.random.split(hashing.named_key(key, "slots"), num_slots):
        inst = draw(key, scenario, requests)
        scheduler_key = hashing.named_key(slot_key, "scheduler")
        found.append(Slot(scheduler_key, inst, rows.bound(inst.of_rates())))
        requests = advance(hashing.named_key(slot_key, "traffic"), scenario, requests)
    return found


@functools.cache
def _compiled() -> tuple[Any, Any, Any]:
    return jax.jit(lsa.slot_instance), jax.jit(lsa.traffic.init), jax.jit(lsa.traffic.step)


class History(NamedTuple):
    """What a policy made of the slots of one network.

    Attributes:
        value: of each slot [bit/s].
        seconds: of each decision [s].
        unserved: users without a channel in each slot.
        total_bps: sum of its rates, by user [bit/s].
        num_requests: slots in which it asked, by user.
    """

    value: np.ndarray
    seconds: np.ndarray
    unserved: np.ndarray
    total_bps: np.ndarray
    num_requests: np.ndarray


def history(policy: Policy, scenario: lsa.Scenario, slots: list[Slot]) -> History:
    """Runs a policy from its beginning, decision by decision.

    Raises:
        AssertionError: an answer is infeasible.
    """
    decide, state = policy.begin(), scheduling.init(scenario)
    total_bps, by_slot = np.zeros(scenario.max_users), []
    for key, inst, _ in slots:
        outcome = decide(key, state, inst)
        valued = rows.evaluate(inst.of_rates(), outcome.assignment)
        by_slot.append((valued["value"], outcome.seconds, valued["unserved"]))
        rate, state = _update()(state, inst, outcome.assignment)
        np.add.at(total_bps, np.asarray(inst.user_id), np.asarray(rate, float))
    value, seconds, unserved = np.array(by_slot).T
    return History(value, seconds, unserved, total_bps, np.asarray(state.num_requests))


@functools.cache
def _update() -> Any:
    def update(state: Any, inst: lsa.Instance, assignment: Any) -> Any:
        rate = jnp.where(inst.user_mask, lsa.user_rates(inst, assignment), 0.0)
        return rate, scheduling.update(state, inst, assignment)

    return jax.jit(update)

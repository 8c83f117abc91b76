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
BESIDE = ("warm_s", "cold_s", "prefill_s")
"""What a slot may take from the one before: duals, or a prompt's keys and values."""
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

        def decide(key: jax.Array, state: SchedulerState, inst: lsa.Instance) -> Outcome:
            seconds, assignment = timed(key, state, inst)
            return Outcome(np.asarray(assignment), seconds, "feasible")

        return Policy(name, lambda: decide)

    values, solve = _timed(jax.jit(_values)), _timed(jax.jit(_solve))

    def begin_warm() -> Decide:
        memory: dict[str, Any] = {"prices": None}

        def decide(key: jax.Array, state: SchedulerState, inst: lsa.Instance) -> Outcome:
            matrix_s, matrix = values(inst)
            problem = (matrix, inst.user_mask, ~inst.occupied)
            warm_s, (assignment, prices) = solve(*problem, memory["prices"])
            # Beside it, on the same matrix: what the memory saves.
            cold_s, _ = solve(*problem, None)
            memory["prices"] = prices
            columns = {"warm_s": warm_s, "cold_s": cold_s}
            return Outcome(np.asarray(assignment), matrix_s + warm_s, "optimal", columns=columns)

        return decide

    return [
        Policy(WARM_START, begin_warm),
        scheduler(PROPORTIONAL, scheduling.proportional_fair),
        scheduler(ROUND_ROBIN, scheduling.round_robin),
    ]


def _values(inst: lsa.Instance) -> jax.Array:
    return lsa.value_matrix(inst.of_rates())


def _solve(matrix: jax.Array, rows: jax.Array, columns: jax.Array, prices: Any) -> Any:
    """The best assignment, and its duals by channel, which the next slot may start from."""
    duals = None
    if prices is not None:
        # Who asks changes from slot to slot: a user's own dual follows from those of the channels.
        row = jnp.max(jnp.where(columns, matrix - prices, -jnp.inf), axis=1)
        duals = lsa.solvers.Duals(jnp.where(rows, row, 0.0), prices)
    found = lsa.solvers.linear_sum_assignment(
        matrix, True, row_mask=rows, col_mask=columns, init_duals=duals
    )
    assert found.duals is not None
    return found.assignment, found.duals.column


def _timed(function: Callable[..., Any]) -> Callable[..., tuple[float, Any]]:
    """Seconds of a compiled function, and what it returns."""

    def run(*arguments: Any) -> tuple[float, Any]:
        start = time.perf_counter()
        found = jax.block_until_ready(function(*arguments))
        return time.perf_counter() - start, found

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
        columns: medians over the slots, the first left out, of what the policy says beside.
    """

    value: np.ndarray
    seconds: np.ndarray
    unserved: np.ndarray
    total_bps: np.ndarray
    num_requests: np.ndarray
    columns: dict[str, float]


def history(policy: Policy, scenario: lsa.Scenario, slots: list[Slot]) -> History:
    """Runs a policy from its beginning, decision by decision.

    Raises:
        AssertionError: an answer is infeasible.
    """
    decide, state = policy.begin(), scheduling.init(scenario)
    total_bps, by_slot, beside = np.zeros(scenario.max_users), [], []
    for key, inst, _ in slots:
        outcome = decide(key, state, inst)
        valued = rows.evaluate(inst.of_rates(), outcome.assignment)
        by_slot.append((valued["value"], outcome.seconds, valued["unserved"]))
        beside.append([outcome.columns.get(name, np.nan) for name in BESIDE])
        rate, state = _update()(state, inst, outcome.assignment)
        np.add.at(total_bps, np.asarray(inst.user_id), np.asarray(rate, float))
    value, seconds, unserved = np.array(by_slot).T
    found = dict(zip(BESIDE, np.median(beside[1:] or beside, axis=0).tolist(), strict=True))
    columns = {name: x for name, x in found.items() if not np.isnan(x)}
    return History(value, seconds, unserved, total_bps, np.asarray(state.num_requests), columns)


@functools.cache
def _update() -> Any:
    def update(state: Any, inst: lsa.Instance, assignment: Any) -> Any:
        rate = jnp.where(inst.user_mask, lsa.user_rates(inst, assignment), 0.0)
        return rate, scheduling.update(state, inst, assignment)

    return jax.jit(update)

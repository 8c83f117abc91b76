"""What a study compares: a name, and a function from an instance to an outcome.

A study has a plain dict of methods by name. Each is made by one of the functions below: from a
solver or what an agent's `make_solver(params)` returns, from an anytime solver, or, in
`experiments.language_model`, from a language model.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jaxtyping import Int32

import lsajax as lsa
from lsajax.runs.cli import Unavailable

LLM = "LLM (code)"
LLM_RAW = "LLM, repair off"
LLM_TEXT = "LLM (text)"
LLM_COLD = "LLM, no prefix cache"
RANDOM = "Random"
REPAIRED = "Random, repaired"
GROUPED = "Grouped-KM"
SORTED = "Sorted matching"
GREEDY = "Greedy"
OPTIMUM = "Exact optimum"
OPTIMUM_OF_RATES = "Optimum of Eq. (4)"
LOCAL_SEARCH = "Local search"
EXHAUSTIVE = "Exhaustive"
EVOLUTION = "Differential evolution"
AGENT = "Agent, one by one"
AGENT_OF_PRICES = "Agent, prices"
ORDER = "Order alone"
"""The sequential head without a network: in its order, each user takes his best free channel."""

Solver = Callable[[jax.Array, lsa.Instance], lsa.solvers.Solution]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method did on one instance.

    Attributes:
        assignment: i32[users], feasible.
        seconds: wall time of the decision, without compilation [s].
        status: how it ended, in a word.
        raw: i32[users] before any repair, where the method repairs.
        columns: further columns of its row, see `experiments.rows.COLUMNS`.
        inst: the instance that the assignment is valued on, where the method changed it, such as by
            other powers.
    """

    assignment: Int32[np.ndarray, "users"]
    seconds: float
    status: str
    raw: Int32[np.ndarray, "users"] | None = None
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    inst: lsa.Instance | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to assign channels.

    Attributes:
        name: in rows and tables; its random draws depend on it, and not on the other methods.
        run: `(key, inst, budget_s) -> Outcome`; methods that are not anytime ignore the budget [s].
        prepare: `(inst)` compiles for the shape of an instance; no outcome's seconds have that.
        skip: `(inst) -> reason` why the method does not apply (the paper's N/A), or None.
        raw_name: of a second row, the outcome's raw assignment valued as it came.
        batch: `(keys, instances)`, both with a leading axis, decides all of them at once, where the
            method can.
        draws_as: the method whose random draws it takes, to be compared draw by draw; its own name
            if None.
    """

    name: str
    run: Callable[[jax.Array, lsa.Instance, float], Outcome]
    prepare: Callable[[lsa.Instance], None] = lambda inst: None
    skip: Callable[[lsa.Instance], str | None] = lambda inst: None
    raw_name: str | None = None
    batch: Callable[[jax.Array, lsa.Instance], Any] | None = None
    draws_as: str | None = None


def from_solver(
    name: str, solver: Solver, skip: Callable[[lsa.Instance], str | None] = lambda inst: None
) -> Method:
    """A solver that jits, as those of `lsajax.solvers` are and as an agent is."""
    solve, solve_all = jax.jit(solver), jax.jit(jax.vmap(solver))

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        start = time.perf_counter()
        solution = jax.block_until_ready(solve(key, inst))
        seconds = time.perf_counter() - start
        status = lsa.solvers.status_name(solution.status)
        return Outcome(np.asarray(solution.assignment), seconds, status)

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solve(jax.random.key(0), inst))

    def batch(keys: jax.Array, instances: lsa.Instance) -> Any:
        return jax.block_until_ready(solve_all(keys, instances))

    return Method(name, run, prepare, skip, batch=batch)


def from_anytime(name: str, solver: Callable[..., lsa.solvers.Solution]) -> Method:
    """A solver with `budget_s`, whose own clock leaves compilation out."""

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        solution = jax.block_until_ready(solver(key, inst, budget_s=budget_s))
        times = np.asarray(solution.trace.time_s) if solution.trace else np.empty(0)
        # A search that has nothing to do, on a slot without users, looks at no clock.
        seconds = float(times[-1]) if times.size else 0.0
        columns = {"budget_s": budget_s, "rounds": int(times.size)}
        status = lsa.solvers.status_name(solution.status)
        return Outcome(np.asarray(solution.assignment), seconds, status, columns=columns)

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solver(jax.random.key(0), inst, budget_s=1e-3))

    return Method(name, run, prepare)


def not_applicable(name: str, reason: str) -> Method:
    """A method that skips every instance."""

    def run(*_: object) -> NoReturn:
        raise AssertionError(f"{name} is skipped: {reason}")

    return Method(name, run, skip=lambda inst: reason)


def classical(objective: str) -> list[Method]:
    """The methods without a language model, in the order of the tables.

    Of 'coupled' no exact optimum is known: the solvers of assignment problems take its separable
    part, without the leakage, and local search alone knows of leakage. For 'fair' the optimum of
    the rates is a method beside that of the utilities.
    """
    separable = objective != "coupled"
    found = [
        from_solver(RANDOM, lsa.solvers.random),
        from_solver(GREEDY, lsa.solvers.greedy),
        from_solver(SORTED, lsa.solvers.sorted_matching),
        from_anytime(GROUPED, _without_coupling(lsa.solvers.grouped)),
    ]
    if objective != "throughput":
        found.append(from_solver(OPTIMUM_OF_RATES, optimum_of_rates))
    if separable:
        found.append(from_solver(OPTIMUM, lsa.solvers.hungarian))
    else:
        found.append(from_anytime(LOCAL_SEARCH, lsa.solvers.local_search))
    return found


def agents(objective: str) -> list[Method]:
    """The trained agents that ship with the package, none of which saw these sizes.

    PPO's sequential head, trained with fading on slots of up to 20 requests, on Eq. (8) where it is
    to be used for that; and the dual head's prices with a greedy decode, of Eq. (8) on its
    separable part.

    Raises:
        Unavailable: Flax is not installed.
    """
    try:
        from lsajax.agents import dual, sequential
    except ImportError as error:
        raise Unavailable(f"trained agents need the extra 'agents': {error}") from error

    params = sequential.load("sequential_coupled" if objective == "coupled" else "sequential")
    return [
        from_solver(AGENT, sequential.make_solver(params)),
        from_solver(AGENT_OF_PRICES, dual.make_solver(dual.load(), exact=False)),
    ]


def optimum_of_rates(key: jax.Array, inst: lsa.Instance) -> lsa.solvers.Solution:
    """Exact optimum of Eq. (4), whatever the objective: without leakage, priorities and needs."""
    return lsa.solvers.hungarian(key, inst.of_rates())


def _without_coupling(solver: Callable[..., lsa.solvers.Solution]) -> Callable[..., Any]:
    def solve(key: jax.Array, inst: lsa.Instance, **options: Any) -> lsa.solvers.Solution:
        return solver(key, inst.without_coupling(), **options)

    return solve

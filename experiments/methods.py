"""The methods that a study compares, each on a concrete instance, timed without compilation."""

import functools
import time
from typing import Any, NamedTuple

import jax
import numpy as np

import lsajax as lsa
from llm.decision.policy import Decision, decide

LLM = "LLM (code)"
LLM_RAW = "LLM, repair off"
RANDOM = "Random"
GROUPED = "Grouped-KM"
SORTED = "Sorted matching"
GREEDY = "Greedy"
OPTIMUM = "Exact optimum"
OPTIMUM_UNCOUPLED = "Optimum of Eq. (4)"
LOCAL_SEARCH = "Local search"

_SOLVERS = {
    RANDOM: lsa.solvers.random,
    SORTED: lsa.solvers.sorted_matching,
    GREEDY: lsa.solvers.greedy,
    OPTIMUM: lsa.solvers.hungarian,
    OPTIMUM_UNCOUPLED: lsa.solvers.hungarian,
}
_ANYTIME = {GROUPED: lsa.solvers.grouped, LOCAL_SEARCH: lsa.solvers.local_search}


class Outcome(NamedTuple):
    """What one method did on one instance.

    `record` has the columns that only some methods fill, `raw` a model's answer before its repair.
    """

    assignment: np.ndarray
    seconds: float
    status: str
    record: dict[str, Any]
    raw: np.ndarray | None = None


@functools.cache
def _jitted(method: str) -> Any:
    return jax.jit(_SOLVERS[method])


@functools.cache
def _objective(coupled: bool) -> Any:
    value = lsa.coupled_objective if coupled else lsa.throughput
    return jax.jit(
        lambda inst, assignment: (value(inst, assignment), lsa.violations(inst, assignment))
    )


def solve(method: str, key: jax.Array, inst: lsa.Instance) -> Outcome:
    """A solver without a budget. Call it once per shape beforehand: that compiles it."""
    start = time.perf_counter()
    solution = jax.block_until_ready(_jitted(method)(key, inst))
    seconds = time.perf_counter() - start
    status = lsa.solvers.status_name(solution.status)
    return Outcome(np.asarray(solution.assignment), seconds, status, {})


def solve_within(method: str, key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
    """An anytime solver under a wall-clock budget; its own clock leaves compilation out."""
    solution = jax.block_until_ready(_ANYTIME[method](key, inst, budget_s=budget_s))
    seconds = float(solution.trace.time_s[-1])
    record = {"budget_s": budget_s, "rounds": len(solution.trace.time_s)}
    return Outcome(
        np.asarray(solution.assignment), seconds, lsa.solvers.status_name(solution.status), record
    )


def ask(model: Any, box: Any, inst: lsa.Instance, **options: Any) -> Outcome:
    """One decision of the language model, alone in its batch: its seconds are a latency."""
    (decision,) = decide(model, box, [inst], **options)
    record = _record(decision)
    return Outcome(decision.assignment, decision.total_s, decision.status, record, decision.raw)


def _record(decision: Decision) -> dict[str, Any]:
    stages = {f"{name}_s": value for name, value in decision.seconds._asdict().items()}
    return {
        "raw_valid": decision.valid,
        "raw_served": int((decision.raw >= 0).sum()),
        "prompt_tokens": decision.prompt_tokens,
        "static_tokens": decision.prompt.static_tokens,
        "prompt_levels": " ".join(decision.prompt.levels),
        "completion_tokens": decision.completion_tokens,
        "detail": decision.detail,
        "completion": decision.completion,
        **stages,
    }


def evaluate(
    inst: lsa.Instance, assignment: np.ndarray, *, coupled: bool, raw: bool = False
) -> dict[str, Any]:
    """The objective [bit/s] of an assignment, measured the same way for every method.

    Raises:
        AssertionError: it is infeasible and not `raw`; no table may hide that.
    """
    value, broken = _objective(coupled)(inst, assignment)
    kinds = {kind: int(count) for kind, count in broken._asdict().items()}
    unserved = kinds.pop("unserved")
    if any(kinds.values()) and not raw:
        raise AssertionError(f"infeasible assignment: {kinds}")
    return {"value_bps": float(value), "unserved": unserved}

"""What a row says: the columns, and how an assignment is valued."""

import functools
from typing import Any

import jax
import numpy as np

import lsajax as lsa

COLUMNS = {
    "scale": "axis of the scaling study: I, II or III of the paper's Table V",
    "num_users": "registered users N of the scenario (its mean in the setting poisson)",
    "num_channels": "channels M",
    "num_active": "users that request a channel in this slot",
    "setting": "what rates depend on: plain, fading, wideband, interference, poisson",
    "objective": "throughput, LSA Eq. (4), or coupled, Eq. (8)",
    "seed": "the run's seed; instance = f(seed, N, M, K, realisation)",
    "method": "name of the method",
    "realization": "index of the instance within its cell; the same instance for every method",
    "value_bps": "the objective of the assignment [bit/s]; empty where the method was skipped",
    "bound_bps": "exact optimum of Eq. (4) on this instance, an upper bound of Eq. (8) [bit/s]",
    "unserved": "users without a channel",
    "seconds": "wall time of the decision, without compilation [s]",
    "status": "how the method ended: optimal, feasible, ok, error, timeout, ..., or skipped",
    "detail": "why it failed or was skipped, in a line; empty otherwise",
    "budget_s": "time given to an anytime method [s]",
    "rounds": "looks of an anytime method at its clock: one per partition or chunk of steps",
    "raw_valid": "whether the model's raw assignment was valid",
    "raw_served": "users with a channel in the model's raw assignment",
    "prompt_tokens": "tokens of the prompt",
    "static_tokens": "tokens of its prefix that all slots of a setting share",
    "prompt_levels": "levels of detail in the prompt",
    "completion_tokens": "tokens that the model wrote",
    "finish_reason": "stop, or length where the token limit cut the completion off",
    "completion": "what the model wrote",
    "serialize_s": "seconds to write the prompt [s]",
    "generate_s": "seconds of the model [s]",
    "parse_s": "seconds to read program and action [s]",
    "execute_s": "seconds of the program in the sandbox [s]",
    "repair_s": "seconds of the repair [s]",
}
"""Column -> meaning, of every study; `run.json` has it too. A run has those that apply."""

SKIPPED = "skipped"

_OBJECTIVES = {"throughput": lsa.throughput, "coupled": lsa.coupled_objective}


@functools.cache
def _valued(objective: str) -> Any:
    value = _OBJECTIVES[objective]
    return jax.jit(
        lambda inst, assignment: (value(inst, assignment), lsa.violations(inst, assignment))
    )


@jax.jit
def _optimum(inst: lsa.Instance) -> lsa.solvers.Solution:
    return lsa.solvers.hungarian(jax.random.key(0), inst)


def evaluate(
    inst: lsa.Instance, assignment: np.ndarray, *, objective: str, raw: bool = False
) -> dict[str, Any]:
    """The objective [bit/s] of an assignment, measured the same way for every method.

    Raises:
        AssertionError: it is infeasible and not `raw`; no table may hide that.
    """
    value, broken = _valued(objective)(inst, assignment)
    kinds = {kind: int(count) for kind, count in broken._asdict().items()}
    unserved = kinds.pop("unserved")
    if any(kinds.values()) and not raw:
        raise AssertionError(f"infeasible assignment: {kinds}")
    return {"value_bps": float(value), "unserved": unserved}


def bound_bps(inst: lsa.Instance) -> float:
    """Exact optimum of Eq. (4) [bit/s]: leakage only takes away, so it bounds Eq. (8) too."""
    assignment = np.asarray(_optimum(inst).assignment)
    return evaluate(inst, assignment, objective="throughput")["value_bps"]

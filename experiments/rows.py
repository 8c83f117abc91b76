"""What a row says: the columns, and how an assignment is valued."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lsajax as lsa

COLUMNS = {
    "scale": "axis of the scaling study: I, II or III of the paper's Table V, or a file's name",
    "triple": "axis of the small-scale study: (N,M,K) of the paper's Table III",
    "goal": "axis of the choice study: throughput, priorities, fair or coupled",
    "deadline_s": "axis of the choice study: when the answer is due [s]",
    "size": "axis of other studies: N,M,K of a network, or a name, such as I, II or III",
    "problem": "axis of the study of powers: alone, shared or fair",
    "tx_power_dbm": "axis of the study of powers: power per requesting user in the mean [dBm]",
    "prompt_budget": "axis of the study of prompts: the most tokens",
    "prompt_detail": "axis of the study of prompts: share of the budget for numbers",
    "prompt_level": "axis of the study of prompts: the last level of detail, or all",
    "move": "axis of the study of adaptation: what is other than at home",
    "step": "of GRPO, in the study of its dynamics",
    "num_users": "registered users N of the scenario (its mean in the setting poisson)",
    "num_channels": "channels M",
    "num_active": "users that request a channel in this slot; over slots, their mean",
    "setting": "what rates depend on: plain, fading, multipath, wideband, interference, poisson, "
    "or file",
    "objective": "throughput, LSA Eq. (4); fair, the alpha-fair utility; or coupled, Eq. (8)",
    "seed": "the run's seed; instance = f(seed, N, M, K, realisation)",
    "method": "name of the method",
    "realization": "index of the instance within its cell, or of the slot in its file; the same "
    "instance for every method",
    "value": "the objective of the assignment, in bit/s, or without unit where it is fair; "
    "empty where the method was skipped; over slots, the discounted sum of Eq. (4)",
    "value_bps": "sum of the users' rates, with coupled less what leakage costs [bit/s]; over "
    "slots, their mean",
    "bound": "exact optimum of the objective on this instance; with coupled, and with powers, an "
    "upper bound",
    "jain_index": "Jain's fairness index of the users' rates, 1 where all are alike; over slots, "
    "of their sums",
    "unserved": "users without a channel, over slots their sum",
    "slots": "slots of a realisation",
    "served_share": "share of the requests that got a channel",
    "warm_s": "seconds of the assignment problem from the last slot's duals, median [s]",
    "cold_s": "the same from scratch [s]",
    "steps": "of a method on powers: gradients, rounds or prices",
    "below_min_rate": "users below the rate that they need, where users have needs",
    "seconds": "wall time of the decision, without compilation [s]",
    "compile_s": "seconds of the first call, with tracing and compilation [s]",
    "batch_per_s": "decisions per second, many at once [1/s]",
    "status": "how the method ended: optimal, feasible, ok, error, timeout, ..., or skipped",
    "detail": "why it failed or was skipped, in a line; empty otherwise",
    "assigned_channel_id": "channel of each user in the ids of the file, -1 for none",
    "budget_s": "time given to an anytime method [s]",
    "curve_s": "seconds of an anytime method with each of several budgets [s]",
    "curve_value": "the objective of what it answered with each",
    "rounds": "looks of an anytime method at its clock: one per partition or chunk of steps",
    "agent": "algorithm and head of an agent",
    "agent_seed": "which of its seeds it was trained with",
    "training_s": "seconds of its training, its share of all seeds' side by side [s]",
    "training_flops": "floating point operations of its training, as XLA counts them",
    "decision_flops": "the same of its network in one slot at the trained size",
    "adapt_s": "seconds of the training after a move [s]",
    "adapt_samples": "steps of the environment, or prompts, that it learned from",
    "lines_changed": "lines of a program that a move changes",
    "prompt_lines": "lines of the prompt that a move changes",
    "retrained": "1 where a move took a training, else 0",
    "reward": "mean over a step's completions, weighted as in the training",
    "structure": "part R_s of the reward, without its weight",
    "performance": "part R_p of the reward, without its weight",
    "depth": "part R_d of the reward, without its weight",
    "valid": "share of a step's completions whose raw assignment is valid",
    "gain": "Eq. (13) before clipping, mean over a step's completions",
    "entropy": "of a step's tokens [nat]",
    "tokens": "mean length of a step's completions",
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
    "prefill_s": "of these, until the first token was there [s]",
    "parse_s": "seconds to read program and action [s]",
    "execute_s": "seconds of the program in the sandbox [s]",
    "repair_s": "seconds of the repair [s]",
}
"""Column -> meaning, of every study; `run.json` has it too. A run has those that apply."""

SKIPPED = "skipped"


class Unit(NamedTuple):
    """How values of an objective are shown.

    Attributes:
        name: of the unit.
        size: of the unit in what `value` is measured in.
    """

    name: str
    size: float


UNITS = {"throughput": Unit("Mbit/s", 1e6), "fair": Unit("utility", 1.0)}
UNITS["coupled"] = UNITS["throughput"]


@jax.jit
def _valued(inst: lsa.Instance, assignment: jax.Array) -> dict[str, Any]:
    rate = lsa.user_rates(inst, assignment)
    bps = jnp.sum(rate)
    if inst.objective == "coupled":
        bps = bps - lsa.coupling_loss(inst, assignment)
    return {
        "value": lsa.objective_value(inst, assignment),
        "value_bps": bps,
        "jain_index": lsa.jain_index(rate, inst.user_mask),
        "violations": lsa.violations(inst, assignment),
    }


@jax.jit
def _optimum(inst: lsa.Instance) -> lsa.solvers.Solution:
    return lsa.solvers.hungarian(jax.random.key(0), inst)


def evaluate(inst: lsa.Instance, assignment: np.ndarray, *, raw: bool = False) -> dict[str, Any]:
    """What an assignment is worth, measured the same way for every method.

    Raises:
        AssertionError: it is infeasible and not `raw`; no table may hide that.
    """
    found = _valued(inst, assignment)
    kinds = {kind: int(count) for kind, count in found.pop("violations")._asdict().items()}
    counts = {"unserved": kinds.pop("unserved")}
    needy = kinds.pop("below_min_rate")
    if inst.min_rate_bps is not None:
        counts["below_min_rate"] = needy
    if any(kinds.values()) and not raw:
        raise AssertionError(f"infeasible assignment: {kinds}")
    return {**{name: float(value) for name, value in found.items()}, **counts}


def bound(inst: lsa.Instance) -> float:
    """The exact optimum of a separable objective; an upper bound of Eq. (8)."""
    if inst.objective == "coupled":
        return float(lsa.solvers.coupled_bound(inst))
    return evaluate(inst, np.asarray(_optimum(inst).assignment))["value"]

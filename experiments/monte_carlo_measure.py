"""Methods and metrics of `experiments.monte_carlo`, as one measure of an instance.

Everything here jits and maps over realisations; anytime methods and language models, which do not,
are in the other studies.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

import lsajax as lsa
from experiments import methods
from lsajax import objective
from lsajax.hashing import named_key

MethodName = Literal["random", "repaired", "sorted", "greedy", "optimum", "optimum-of-rates"]
MetricName = Literal["throughput", "objective", "fairness", "rate", "outage", "gap", "repair"]
METHODS, METRICS = get_args(MethodName), get_args(MetricName)

SHOWN = {
    "random": methods.RANDOM,
    "repaired": methods.REPAIRED,
    "sorted": methods.SORTED,
    "greedy": methods.GREEDY,
    "optimum": methods.OPTIMUM,
    "optimum-of-rates": methods.OPTIMUM_OF_RATES,
}
"""Method -> its name in tables and figures."""

UNITS = {
    "throughput": "Mbit/s",
    "objective": "Mbit/s, or utility with --objective fair",
    "fairness": "Jain's index",
    "rate": "Mbit/s per user",
    "outage": "share of users",
    "gap": "% of the optimum",
    "repair": "share of users",
}
"""Metric -> unit."""

DIFFERENCE = "difference"
"""Under this name of the measure are the differences to the first method, by metric and method."""


class Answer(NamedTuple):
    """What a method says.

    Attributes:
        assignment: feasible.
        raw: before the repair, where the method repairs.
        rate_bps: rates of the assignment.
        value: of the assignment, by the instance's objective.
    """

    assignment: Int32[Array, "users"]
    raw: Int32[Array, "users"]
    rate_bps: Float[Array, "users"]
    value: Float[Array, ""]


def measure(
    key: jax.Array,
    inst: lsa.Instance,
    *,
    compared: Sequence[MethodName],
    metrics: Sequence[MetricName],
    outage_mbps: float,
) -> dict[str, Any]:
    """Every metric of every method on one instance, and differences to the first method.

    Returns:
        Metric -> method -> number, in `UNITS`; 'rate' is [users], NaN for padding. `DIFFERENCE` ->
        metric -> method -> number, but for 'rate' and the first method.
    """
    best: Any = jnp.nan
    answers = {name: _answer(name, named_key(key, name), inst) for name in compared}
    if "gap" in metrics:
        optimum = answers.get("optimum") or _answer("optimum", named_key(key, "optimum"), inst)
        best = optimum.value
    found: dict[str, Any] = {
        metric: {
            name: _METRICS[metric](inst, answer, best, outage_mbps)
            for name, answer in answers.items()
        }
        for metric in metrics
    }
    first, *others = compared
    found[DIFFERENCE] = {
        metric: {name: found[metric][name] - found[metric][first] for name in others}
        for metric in metrics
        if metric != "rate"
    }
    return found


def _answer(name: str, key: jax.Array, inst: lsa.Instance) -> Answer:
    if name == "repaired":
        raw = jax.random.randint(key, (inst.num_rows,), -1, inst.num_channels)
        return _valued(inst, lsa.repair(inst, raw), raw)
    solvers: dict[str, Callable[..., lsa.solvers.Solution]] = {
        "random": lsa.solvers.random,
        "sorted": lsa.solvers.sorted_matching,
        "greedy": lsa.solvers.greedy,
        "optimum": lsa.solvers.hungarian,
        "optimum-of-rates": methods.optimum_of_rates,
    }
    assignment = solvers[name](key, inst).assignment
    return _valued(inst, assignment, assignment)


def _valued(inst: lsa.Instance, assignment: Array, raw: Array) -> Answer:
    # Once for all metrics: tracing it often is what starting would cost.
    rate = lsa.user_rates(inst, assignment)
    return Answer(assignment, raw, rate, objective.value_of_rates(inst, assignment, rate))


def _share(inst: lsa.Instance, which: Array) -> Array:
    # NaN where nobody requests: such a slot has no share.
    return jnp.sum(which & inst.user_mask) / jnp.sum(inst.user_mask)


def _throughput(inst: lsa.Instance, answer: Answer, *_: Any) -> Array:
    return jnp.sum(answer.rate_bps) / 1e6


def _objective(inst: lsa.Instance, answer: Answer, *_: Any) -> Array:
    size = 1.0 if inst.objective == "fair" else 1e6
    return answer.value / size


def _fairness(inst: lsa.Instance, answer: Answer, *_: Any) -> Array:
    return lsa.jain_index(answer.rate_bps, inst.user_mask)


def _rate(inst: lsa.Instance, answer: Answer, *_: Any) -> Array:
    return jnp.where(inst.user_mask, answer.rate_bps / 1e6, jnp.nan)


def _outage(inst: lsa.Instance, answer: Answer, best: Any, outage_mbps: float) -> Array:
    return _share(inst, answer.rate_bps < 1e6 * outage_mbps)


def _gap(inst: lsa.Instance, answer: Answer, best: Array, *_: Any) -> Array:
    return 100 * (best - answer.value) / jnp.where(best > 0, best, 1.0)


def _repair(inst: lsa.Instance, answer: Answer, *_: Any) -> Array:
    return _share(inst, answer.assignment != answer.raw)


_METRICS: dict[str, Callable[..., Array]] = {
    "throughput": _throughput,
    "objective": _objective,
    "fairness": _fairness,
    "rate": _rate,
    "outage": _outage,
    "gap": _gap,
    "repair": _repair,
}

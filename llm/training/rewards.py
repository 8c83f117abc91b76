"""Rewards of Eq. (12)-(14), R = w_s R_s + w_p R_p + w_d R_d, for a whole batch at once.

`score` is plain arrays, for any trainer; `llm.training.trl_rewards` hands the same parts to TRL.
The repair is off: a raw assignment is worth what it is worth.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

import lsajax as lsa
from llm.decision.execution import UNFINISHED
from llm.decision.namespace import UNKNOWN_USER, is_valid, raw_assignment
from llm.decision.paradigm import paradigm_named
from llm.decision.slot import host_slots
from llm.sandbox import Sandbox
from llm.training.evaluator import check_counts, evaluate
from llm.training.structure import structure_score


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights and constants of Eq. (12)-(14); each part is within [-1, 1.2] before its weight.

    Attributes:
        structure: w_s, at least 0. R_s is within [0, 1.2], see `llm.training.structure`.
        performance: w_p, at least 0. R_p = kappa (eta C(a) - C_rand) / C_rand, clipped to [-1, 1],
            with C_rand the exact expectation over random valid assignments. An action that serves
            no user has -1 (before clipping -kappa). In a slot where no user can be served R_p is 0.
        depth: w_d, at least 0. R_d = -delta max(0, 1 - L / L_min) is within [-delta, 0].
        kappa: scale of R_p.
        penalty: eta where users of a duplicated channel disturb each other, within [0, 1].
        delta: depth of the penalty for short completions, within [0, 1].
        min_tokens: L_min, at least 1; None takes the paradigm's own.

    Raises:
        ValueError: a value out of range.
    """

    structure: float = 1.0
    performance: float = 1.0
    depth: float = 0.5
    kappa: float = 2.0
    penalty: float = 0.5
    delta: float = 0.5
    min_tokens: int | None = None

    def __post_init__(self) -> None:
        high = {"penalty": 1.0, "delta": 1.0}
        for name, value in dataclasses.asdict(self).items():
            low = 1 if name == "min_tokens" else 0
            if value is None and name == "min_tokens":
                continue
            if not (np.isfinite(value) and low <= value <= high.get(name, np.inf)):
                accepted = f"within [0, {high[name]}]" if name in high else f"at least {low}"
                raise ValueError(f"{name} must be finite and {accepted}, got {value!r}")


class Scores(NamedTuple):
    """One entry per completion.

    A program that the deadline cut off has no reward: its total, parts and gain are NaN.

    Attributes:
        total: Eq. (12); a part that does not apply counts 0.
        structure: R_s.
        performance: R_p.
        depth: R_d; NaN where no lengths were given.
        gain: Eq. (13) before clipping.
        valid: the action is valid, see `llm.decision.namespace.is_valid`.
        status: `ok`, `no code`, or how the program failed.
        detail: what went wrong, in a line.
        queue_s: `Execution.queue_s` of its program [s]; 0 without one.
        peak_mb: `Execution.peak_mb` of its program [MiB]; 0 without one.
        restarts: workers that the sandbox replaced meanwhile; one number for all.
    """

    total: Float[np.ndarray, "n"]
    structure: Float[np.ndarray, "n"]
    performance: Float[np.ndarray, "n"]
    depth: Float[np.ndarray, "n"]
    gain: Float[np.ndarray, "n"]
    valid: Bool[np.ndarray, "n"]
    status: list[str]
    detail: list[str]
    queue_s: Float[np.ndarray, "n"]
    peak_mb: Float[np.ndarray, "n"]
    restarts: int


def score(
    completions: Sequence[str],
    instances: Sequence[lsa.Instance],
    box: Sandbox | None,
    *,
    lengths: Sequence[int] | None = None,
    paradigm: str = "code",
    terms: Terms | None = None,
    baselines: Sequence[float] | None = None,
    device: jax.Device | None = None,
    deadline_s: float | None = None,
) -> Scores:
    """Rewards of completions, each on the instance beside it.

    Programs run in the sandbox, equal ones on one instance once; then one jitted call per shape of
    instance values all raw assignments. Call it with the whole step: what the completions of an
    instance share is computed once.

    Args:
        completions: texts as the model wrote them.
        instances: as many; the same object for the completions of one prompt.
        box: runs the programs; may be None in the text paradigm.
        lengths: tokens of each completion, for R_d; None leaves it out.
        paradigm: "code" or "text".
        terms: weights and constants.
        baselines: `random_baselines` of the instances, where the caller keeps them.
        device: where the evaluator runs; None is the first CPU device, which leaves a GPU to the
            trainer.
        deadline_s: seconds for all programs together, see `Sandbox.map`; None sets no bound.

    Raises:
        ValueError: counts of the arguments that disagree, a negative length, an unknown paradigm,
            no sandbox, a deadline that is not above 0.
        SandboxUnavailable: the sandbox broke; no reward is made up for that.
    """
    terms = terms or Terms()
    asked = paradigm_named(paradigm)
    asked.check_box(box)
    n = len(completions)
    check_counts(n, "completion", instances=instances, lengths=lengths, baselines=baselines)
    R_d = _depth(lengths, terms.delta, terms.min_tokens or asked.min_tokens, n)
    slots = host_slots(instances)
    before = box.restarts if box else 0
    results = asked.to_actions(box, completions, slots, deadline_s)
    raws = [raw_assignment(slot, r.action) for slot, r in zip(slots, results, strict=True)]
    value = evaluate(
        instances,
        [r.raw for r in raws],
        kappa=terms.kappa,
        penalty=terms.penalty,
        baselines=baselines,
        device=device,
    )
    R_s = np.zeros(n, np.float32)
    valid = np.zeros(n, bool)
    for k, (slot, result) in enumerate(zip(slots, results, strict=True)):
        violations = {kind: int(counts[k]) for kind, counts in value.violations.items()}
        violations[UNKNOWN_USER] = raws[k].unknown_users
        R_s[k] = structure_score(asked, slot, result, violations)
        valid[k] = is_valid(slot, result.action, violations)
    R_p = np.clip(value.gain, -1.0, 1.0)
    total = terms.structure * R_s + terms.performance * R_p + terms.depth * np.nan_to_num(R_d)
    unfinished = [result.status == UNFINISHED for result in results]
    for part in (total, R_s, R_p, R_d, value.gain):
        part[unfinished] = np.nan
    return Scores(
        total=total,
        structure=R_s,
        performance=R_p,
        depth=R_d,
        gain=value.gain,
        valid=valid,
        status=[result.status for result in results],
        detail=[result.detail for result in results],
        queue_s=np.array([result.queue_s for result in results]),
        peak_mb=np.array([result.peak_mb for result in results]),
        restarts=box.restarts - before if box else 0,
    )


def _depth(
    lengths: Sequence[int] | None, delta: float, min_tokens: int, count: int
) -> Float[np.ndarray, "n"]:
    """Eq. (14)."""
    if lengths is None:
        return np.full(count, np.nan, np.float32)
    tokens = np.asarray(lengths, np.float32)
    if not np.all(tokens >= 0):
        raise ValueError(f"lengths must be at least 0 tokens, got {tokens.min():g}")
    return (-delta * np.maximum(0.0, 1.0 - tokens / min_tokens)).astype(np.float32)

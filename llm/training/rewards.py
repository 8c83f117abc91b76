"""Rewards of Eq. (12)-(14), R = w_s R_s + w_p R_p + w_d R_d, for a whole batch at once.

`score` is plain arrays, for any trainer; `llm.training.trl_rewards` hands the same parts to TRL.
The repair is off: a raw assignment is worth what it is worth.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

import lsajax as lsa
from llm.decision.execution import UNFINISHED, ActionResult
from llm.decision.namespace import UNKNOWN_USER, is_valid, raw_assignment
from llm.decision.paradigm import Paradigm, paradigm_named
from llm.decision.slot import HostSlot, host_slots
from llm.sandbox import Sandbox
from llm.sandbox.limits import check_cpu
from llm.training.depth import depth_penalty, shortest_exact_tokens
from llm.training.entries import Entries, Entry
from llm.training.evaluator import best_values, check_counts, evaluate
from llm.training.structure import structure_score
from llm.training.terms import Terms, ranked_parts

__all__ = ["Scores", "Terms", "score"]


class Scores(NamedTuple):
    """One entry per completion.

    On several slots structure and gain are means over them, and queue and memory the largest. A
    program that the deadline cut off has no reward: its total, parts and gain are NaN.

    Attributes:
        total: Eq. (12); a part that does not apply counts 0.
        structure: R_s, or the structure part of `ranked_parts`.
        performance: R_p, or the performance part of `ranked_parts`.
        depth: R_d, 0 in the form ranked; NaN where no lengths were given.
        gain: Eq. (13) before clipping; in the form ranked g, anchored at random and best.
        valid: the action is valid on each slot, see `llm.decision.namespace.is_valid`.
        status: `ok`, `no code`, or how the program failed, on the first slot where it did.
        detail: what went wrong there, in a line.
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
    instances: Sequence[Entry],
    box: Sandbox | None,
    *,
    lengths: Sequence[int] | Callable[[str], int] | None = None,
    paradigm: str = "code",
    terms: Terms | None = None,
    baselines: Sequence[Any] | None = None,
    best: Sequence[Any] | None = None,
    device: jax.Device | None = None,
    deadline_s: float | None = None,
    budget_s: float | Sequence[float] | None = None,
) -> Scores:
    """Rewards of completions, each on the instance or the few instances beside it.

    Programs run in the sandbox, equal ones on one instance once; then one jitted call per shape of
    instance values all raw assignments. Call it with the whole step: what the completions of an
    instance share is computed once.

    Args:
        completions: texts as the model wrote them.
        instances: as many; the same object for the completions of one prompt. In place of one
            instance 2 to 4 of one setting: the prompt shows the first, and the program is to hold
            on all of them.
        box: runs the programs; may be None in the text paradigm.
        lengths: tokens of each completion, for R_d, or the tokenizer's count of a text without a
            chat template; padding of programs is taken off, see `llm.training.depth`. None leaves
            R_d out.
        paradigm: "code" or "text".
        terms: weights and constants.
        baselines: `random_baselines` of the instances, where the caller keeps them; a sequence for
            several slots.
        best: `best_values` of them in the same manner, for the form ranked.
        device: where the evaluator runs; None is the first CPU device, which leaves a GPU to the
            trainer.
        deadline_s: seconds for all programs together, see `Sandbox.map`; None sets no bound.
        budget_s: CPU seconds that the prompt states, one number or one per completion: the
            program's `time_budget_s`, and its limit. None is the CPU limit of the box.

    Raises:
        ValueError: counts of the arguments that disagree, a negative length, an unknown paradigm,
            no sandbox, a deadline or a budget out of range, slots of several settings, or several
            slots and no programs to run on them.
        SandboxUnavailable: the sandbox broke; no reward is made up for that.
    """
    terms = terms or Terms()
    asked = paradigm_named(paradigm)
    asked.check_box(box)
    n = len(completions)
    budgets_s = checked_budgets(budget_s, n)
    check_counts(
        n,
        "completion",
        instances=instances,
        lengths=None if callable(lengths) else lengths,
        baselines=baselines,
        best=best,
        budget_s=budgets_s,
    )
    R_d = _depth(asked, terms, completions, lengths)
    entries = Entries(instances)
    check_one_slot_each(asked, entries.split(entries.slots))
    before = box.restarts if box else 0
    slots = host_slots(entries.slots)
    results = asked.to_actions(
        box,
        entries.repeated(completions),
        slots,
        deadline_s,
        None if budgets_s is None else entries.repeated(budgets_s),
    )
    R_s, gain, valid = _worth(
        asked, terms, entries, slots, results, baselines=baselines, best=best, device=device
    )
    if terms.form == "ranked":
        structure, performance = ranked_parts(R_s, gain, valid)
    else:
        structure, performance = R_s, np.clip(gain, -1.0, 1.0)
    total = terms.structure * structure + terms.performance * performance
    total = total + terms.depth * np.nan_to_num(R_d)
    # What says most about an entry: that it was cut off, or else its first failure.
    telling = [min(own, key=_urgency) for own in entries.split(results)]
    unfinished = [result.status == UNFINISHED for result in telling]
    for part in (total, structure, performance, R_d, gain):
        part[unfinished] = np.nan
    return Scores(
        total=total,
        structure=structure,
        performance=performance,
        depth=R_d,
        gain=gain,
        valid=valid,
        status=[result.status for result in telling],
        detail=[result.detail for result in telling],
        queue_s=entries.largest([result.queue_s for result in results]),
        peak_mb=entries.largest([result.peak_mb for result in results]),
        restarts=box.restarts - before if box else 0,
    )


def _urgency(result: ActionResult) -> int:
    return {UNFINISHED: 0, "ok": 2}.get(result.status, 1)  # any failure is between


def _worth(
    asked: Paradigm,
    terms: Terms,
    entries: Entries,
    slots: Sequence[HostSlot],
    results: Sequence[ActionResult],
    *,
    baselines: Sequence[Any] | None,
    best: Sequence[Any] | None,
    device: jax.Device | None,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """R_s, gain and validity of each entry, from the results on each of its slots."""
    ranked = terms.form == "ranked"
    known_best: Sequence[float] | None = None
    if ranked and best is None:
        known_best = best_values(entries.slots, device=device).tolist()
    elif ranked and best is not None:
        known_best = entries.flat("best", best)
    raws = [raw_assignment(slot, r.action) for slot, r in zip(slots, results, strict=True)]
    value = evaluate(
        entries.slots,
        [r.raw for r in raws],
        kappa=terms.kappa,
        penalty=terms.penalty,
        baselines=None if baselines is None else entries.flat("baselines", baselines),
        best=known_best,
        device=device,
    )
    R_s = np.zeros(len(slots), np.float32)
    valid = np.zeros(len(slots), bool)
    for k, (slot, result) in enumerate(zip(slots, results, strict=True)):
        violations = {kind: int(counts[k]) for kind, counts in value.violations.items()}
        violations[UNKNOWN_USER] = raws[k].unknown_users
        R_s[k] = structure_score(asked, slot, result, violations, protect_primary=ranked)
        valid[k] = is_valid(slot, result.action, violations)
    return entries.mean(R_s), entries.mean(value.gain), entries.mean(valid) == 1


def _depth(
    asked: Paradigm,
    terms: Terms,
    completions: Sequence[str],
    lengths: Sequence[int] | Callable[[str], int] | None,
) -> Float[np.ndarray, "n"]:
    """R_d of Eq. (14); the form ranked has none."""
    n = len(completions)
    if lengths is None:
        return np.full(n, np.nan, np.float32)
    min_tokens = terms.min_tokens or asked.min_tokens
    if terms.min_tokens is None and asked.runs_programs and callable(lengths):
        # How many tokens a program needs is the tokenizer's affair.
        min_tokens = shortest_exact_tokens(lengths)
    R_d = depth_penalty(lengths, completions, delta=terms.delta, min_tokens=min_tokens)
    return np.zeros(n, np.float32) if terms.form == "ranked" else R_d


def check_one_slot_each(paradigm: Paradigm, entries: Sequence[Sequence[lsa.Instance]]) -> None:
    """Raises ValueError where mappings are asked for, that hold for one slot, for more than one."""
    most = max(map(len, entries), default=1)
    if not paradigm.runs_programs and most > 1:
        raise ValueError(
            f"an entry of instances must be one slot in the {paradigm.name} paradigm, got {most}"
        )


def checked_budgets(budget_s: float | Sequence[float] | None, n: int) -> list[float] | None:
    """Seconds per program, of one number or several. Raises ValueError on one out of range."""
    if budget_s is None:
        return None
    budgets = list(budget_s) if isinstance(budget_s, Sequence) else [budget_s] * n
    for budget in budgets:
        check_cpu("budget_s", budget)
    return [float(budget) for budget in budgets]

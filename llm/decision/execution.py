"""Completion -> program -> action: cut the program out and run it, or read the mapping."""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple, get_args

from llm.decision import namespace, parse
from llm.decision.slot import HostSlot
from llm.sandbox import Execution, Limits, Packed, Sandbox
from llm.sandbox.answer import Status
from llm.sandbox.limits import MAX_S, checked_deadline

NO_CODE = "no code"
"""Status of a completion without anything to run; the others are the sandbox's."""

UNFINISHED = "unfinished"
"""Status of a program that a deadline cut off, which says nothing about it."""

STATUSES = (*get_args(Status), NO_CODE)
"""All that `ActionResult.status` can be."""


class ActionResult(NamedTuple):
    """The action that a completion led to, or why there is none.

    Attributes:
        action: user id -> channel id where the status is `ok`, else None.
        status: `ok`, `no code`, or the sandbox's word for how the program failed.
        detail: what went wrong, in a line; empty where nothing did.
        code: the program's text, or None.
        form: how it was found: `fenced`, `unclosed fence` or `no fence`; empty without one.
        parse_s: seconds to find it.
        execute_s: seconds to pack its data and to run it, as if it ran alone.
        queue_s: see `Execution.queue_s`; 0 without a program.
        peak_mb: see `Execution.peak_mb`; 0 without a program.
    """

    action: dict[int, int] | None
    status: str
    detail: str
    code: str | None
    form: str
    parse_s: float
    execute_s: float
    queue_s: float = 0.0
    peak_mb: float = 0.0


def read_mappings(
    box: Sandbox | None,
    completions: Sequence[str],
    slots: Sequence[HostSlot],
    deadline_s: float | None = None,
    budgets_s: Sequence[float] | None = None,
) -> list[ActionResult]:
    """The text paradigm: mappings are read, nothing is executed."""
    results = []
    for completion in completions:
        start = time.perf_counter()
        action, detail = parse.mapping(completion)
        status = "invalid" if action is None else "ok"
        detail = detail if action is None else ""
        seconds = time.perf_counter() - start
        results.append(ActionResult(action, status, detail, None, "", seconds, 0.0))
    return results


def run_programs(
    box: Sandbox | None,
    completions: Sequence[str],
    slots: Sequence[HostSlot],
    deadline_s: float | None = None,
    budgets_s: Sequence[float] | None = None,
) -> list[ActionResult]:
    """The code paradigm: the program of each completion runs on the slot beside it.

    The data of a slot (the same object) is packed once, and programs that are the same to the
    letter on the same slot run once; all workers of the box are used. `deadline_s` is for
    all programs together: the status of what is not finished then is `unfinished`.

    `budgets_s` are seconds of CPU time, one per completion, which the program is told and held to;
    None is the limit of the box for all. Programs of different budgets run one budget after the
    other.
    """
    found, parse_s = [], []
    for completion in completions:
        start = time.perf_counter()
        found.append(parse.code_block(completion))
        parse_s.append(time.perf_counter() - start)
    assert box is not None, "`Paradigm.check_box` comes before"
    budgets_s = [box.limits.cpu_s] * len(found) if budgets_s is None else budgets_s
    by_budget: dict[float, dict[tuple[str, int], HostSlot]] = {}
    for program, slot, budget_s in zip(found, slots, budgets_s, strict=True):
        if program.text is not None:  # in order of first appearance, without repetitions
            by_budget.setdefault(budget_s, {})[program.text, id(slot)] = slot
    deadline_s = checked_deadline(deadline_s)
    ran, end_s = {}, None if deadline_s is None else time.monotonic() + deadline_s
    for budget_s, jobs in by_budget.items():
        left_s = None if end_s is None else max(end_s - time.monotonic(), _SOON_S)
        ran[budget_s] = _run_jobs(box, jobs, left_s, budget_s)
    results = []
    for program, slot, budget_s, seconds in zip(found, slots, budgets_s, parse_s, strict=True):
        if program.text is None:
            results.append(ActionResult(None, NO_CODE, program.detail, None, "", seconds, 0.0))
            continue
        executions, pack_s = ran[budget_s]
        execution = executions[program.text, id(slot)]
        results.append(_result(execution, program, seconds, pack_s[id(slot)]))
    return results


_SOON_S = 1e-3  # what a call with a deadline is given where nothing is left


def _run_jobs(
    box: Sandbox,
    jobs: dict[tuple[str, int], HostSlot],
    deadline_s: float | None,
    budget_s: float,
) -> tuple[dict[tuple[str, int], Execution], dict[int, float]]:
    """Executions by job, and the seconds that packing took by slot."""
    packed: dict[int, Packed] = {}
    pack_s = {}
    try:
        for slot in jobs.values():
            if id(slot) not in packed:
                start = time.perf_counter()
                packed[id(slot)] = box.pack(namespace.program_data(slot, budget_s))
                pack_s[id(slot)] = time.perf_counter() - start
        executions = box.map(
            [(namespace.program_text(code), packed[slot_id]) for code, slot_id in jobs],
            limits=_limits(box.limits, budget_s),
            deadline_s=deadline_s,
        )
    finally:
        for data in packed.values():
            data.close()
    return dict(zip(jobs, executions, strict=True)), pack_s


def _limits(limits: Limits, budget_s: float) -> Limits:
    """`limits` with a CPU time; where that is longer, the wall time is too."""
    longer = max(1.0, budget_s / limits.cpu_s)
    return dataclasses.replace(limits, cpu_s=budget_s, wall_s=min(limits.wall_s * longer, MAX_S))


def _result(ran: Execution, program: parse.Code, parse_s: float, pack_s: float) -> ActionResult:
    detail = namespace.program_detail(ran.detail)
    return ActionResult(
        action=ran.action,
        status=ran.status,
        detail=detail,
        code=program.text,
        form=program.detail,
        parse_s=parse_s,
        execute_s=ran.wall_s + pack_s,
        queue_s=ran.queue_s,
        peak_mb=ran.peak_mb,
    )

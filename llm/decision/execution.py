"""Completion -> program -> action: cut the program out and run it, or read the mapping."""

import time
from collections.abc import Sequence
from typing import NamedTuple, get_args

from llm.decision import namespace, parse
from llm.decision.slot import HostSlot
from llm.sandbox import Execution, Packed, Sandbox
from llm.sandbox.answer import Status

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
) -> list[ActionResult]:
    """The code paradigm: the program of each completion runs on the slot beside it.

    The data of a slot (the same object) is packed once, and programs that are the same to the
    letter on the same slot run once; all workers of the box are used. `deadline_s` is for
    all programs together: the status of what is not finished then is `unfinished`.
    """
    found, parse_s = [], []
    for completion in completions:
        start = time.perf_counter()
        found.append(parse.code_block(completion))
        parse_s.append(time.perf_counter() - start)
    jobs = {  # in order of first appearance, without repetitions
        (program.text, id(slot)): slot
        for program, slot in zip(found, slots, strict=True)
        if program.text is not None
    }
    ran, pack_s = _run_jobs(box, jobs, deadline_s)
    return [
        ActionResult(None, NO_CODE, program.detail, None, "", seconds, 0.0)
        if program.text is None
        else _result(ran[program.text, id(slot)], program, seconds, pack_s[id(slot)])
        for program, slot, seconds in zip(found, slots, parse_s, strict=True)
    ]


def _run_jobs(
    box: Sandbox | None, jobs: dict[tuple[str, int], HostSlot], deadline_s: float | None
) -> tuple[dict[tuple[str, int], Execution], dict[int, float]]:
    """Executions by job, and the seconds that packing took by slot."""
    assert box is not None, "`Paradigm.check_box` comes before"
    packed: dict[int, Packed] = {}
    pack_s = {}
    try:
        for slot in jobs.values():
            if id(slot) not in packed:
                start = time.perf_counter()
                packed[id(slot)] = box.pack(namespace.program_data(slot, box.limits.cpu_s))
                pack_s[id(slot)] = time.perf_counter() - start
        executions = box.map(
            [(namespace.program_text(code), packed[slot_id]) for code, slot_id in jobs],
            deadline_s=deadline_s,
        )
    finally:
        for data in packed.values():
            data.close()
    return dict(zip(jobs, executions, strict=True)), pack_s


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

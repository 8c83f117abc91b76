"""Completions -> answers: cut out the program, run it in the sandbox, or read the mapping."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import lsajax as lsa
from llm.decision import namespace, parse
from llm.sandbox import Execution, Sandbox

NO_CODE = "no code"
"""Status of a completion without anything to run; the others are the sandbox's."""


class Answer(NamedTuple):
    """What one completion came to.

    Args:
        action: user id -> channel id, or None.
        status: `ok`, `no code`, or the sandbox's word for how the program failed.
        detail: what went wrong, in a line; empty where nothing did.
        code: the program, or None.
        form: how it was found: `fenced`, `unclosed fence` or `no fence`; empty without one.
        parse_s: seconds to find it.
        execute_s: seconds to pack its data and to run it, as if it ran alone.
    """

    action: dict[int, int] | None
    status: str
    detail: str
    code: str | None
    form: str
    parse_s: float
    execute_s: float


def read_mappings(texts: Sequence[str]) -> list[Answer]:
    """The text paradigm: mappings are read, nothing is executed."""
    answers = []
    for text in texts:
        start = time.perf_counter()
        action, detail = parse.mapping(text)
        status = "invalid" if action is None else "ok"
        detail = detail if action is None else ""
        answers.append(Answer(action, status, detail, None, "", time.perf_counter() - start, 0.0))
    return answers


def run_programs(
    box: Sandbox, texts: Sequence[str], instances: Sequence[lsa.Instance]
) -> list[Answer]:
    """The code paradigm: one answer per completion, on the instance beside it.

    The data of an instance (the same object) is packed once, and programs that are the same to the
    letter on the same instance run once; all workers of the box are used.
    """
    found, parse_s = [], []
    for text in texts:
        start = time.perf_counter()
        found.append(parse.code_block(text))
        parse_s.append(time.perf_counter() - start)
    jobs = {  # in order of first appearance, without repetitions
        (block.text, id(inst)): inst
        for block, inst in zip(found, instances, strict=True)
        if block.text is not None
    }
    ran, pack_s = _run_jobs(box, jobs)
    return [
        Answer(None, NO_CODE, block.detail, None, "", seconds, 0.0)
        if block.text is None
        else _answer(ran[block.text, id(inst)], block, seconds, pack_s[id(inst)])
        for block, inst, seconds in zip(found, instances, parse_s, strict=True)
    ]


def _run_jobs(
    box: Sandbox, jobs: dict[tuple[str, int], lsa.Instance]
) -> tuple[dict[tuple[str, int], Execution], dict[int, float]]:
    """Executions by job, and the seconds that packing took by instance."""
    packed, pack_s = {}, {}
    try:
        for inst in jobs.values():
            if id(inst) not in packed:
                start = time.perf_counter()
                packed[id(inst)] = box.pack(namespace.program_data(inst, box.limits.cpu_s))
                pack_s[id(inst)] = time.perf_counter() - start
        executions = box.map(
            [(namespace.program_text(code), packed[instance]) for code, instance in jobs]
        )
    finally:
        for data in packed.values():
            data.close()
    return dict(zip(jobs, executions, strict=True)), pack_s


def _answer(ran: Execution, block: parse.Code, parse_s: float, pack_s: float) -> Answer:
    detail = namespace.program_detail(ran.detail)
    execute_s = ran.wall_s + pack_s
    return Answer(ran.action, ran.status, detail, block.text, block.detail, parse_s, execute_s)

"""Every hostile program is contained, and leaves nothing behind."""

import os

import pytest

from llm.sandbox import Limits

from .arena import SECRET, Arena, all_processes, open_arena
from .hostile_case import DEFAULT, Case
from .hostile_cases import CASES


@pytest.fixture(scope="module")
def arena(box, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSA_TEST_SECRET", SECRET)
        with open_arena(box, tmp_path_factory.mktemp("arena")) as opened:
            yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_program_is_contained(arena: Arena, case: Case):
    workers = all_processes(arena.box)
    execution = arena.box.run(case.code, arena.data, limits=case.limits)
    assert execution.status in case.statuses, execution
    assert execution.action == (case.action if execution.status == "ok" else None)
    assert execution.detail.isprintable() and len(execution.detail) <= 200
    assert SECRET not in execution.detail
    assert execution.cpu_s < case.limits.cpu_s + 0.5
    assert arena.traces(workers) == []


def test_sealed_data_cannot_be_written_by_the_host_either(arena: Arena):
    with pytest.raises(PermissionError):
        os.pwrite(arena.data.fileno(), b"x", 0)


def test_a_crowd_of_hostile_programs_at_once_leaves_nothing(arena: Arena):
    workers = all_processes(arena.box)
    quick = [case for case in CASES if case.limits == DEFAULT]
    jobs = [(case.code, arena.data) for case in quick]
    results = arena.box.map(jobs, limits=Limits(wall_s=20, cpu_s=2, memory_mb=256))
    assert [r.status in c.statuses for r, c in zip(results, quick, strict=True)] == [True] * len(
        quick
    )
    assert arena.traces(workers) == []

"""The taskset as verifiers reads and scores it; where that is installed."""

import asyncio

import pytest

from llm.training.rewards import Terms, score
from tests.llm.training.cases import PERFECT, block

pytestmark = pytest.mark.slow  # the import alone takes long
vf = pytest.importorskip("verifiers.v1", reason="verifiers is optional")


def test_tasks_are_slots_and_their_rewards_those_of_score(box):
    from llm.training.verifiers_slots import SlotConfig, SlotTaskset

    config = SlotConfig(sizes=(10, 12, 4), slots=3, seed=5)
    tasks = list(SlotTaskset(config).take(2))
    assert len({task.data.prompt for task in tasks}) == 2
    assert all("K = 4, C = " in task.data.prompt for task in tasks)
    # What travels is data alone, from which the same slot is drawn again.
    data = type(tasks[1].data).model_validate_json(tasks[1].data.model_dump_json())
    for text in (PERFECT, block("action = 7"), "No."):
        trace = vf.Trace.model_construct(root_reply=text)
        asyncio.run(type(tasks[1])(data).score(trace))
        expected = score([text], [config.instance(1)], box, terms=Terms(form="ranked")).total[0]
        assert trace.rewards["total"].value == pytest.approx(float(expected))

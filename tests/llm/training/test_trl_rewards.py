"""The reward functions as TRL calls them."""

import asyncio
import threading

import numpy as np
import pytest

from llm.decision.execution import STATUSES
from llm.training.rewards import Terms, score
from llm.training.trl_rewards import TrlRewards
from tests.llm.training.cases import PERFECT, block, instance


def trl_call(rewards_object, **step):
    """As TRL does: all parts gathered on one event loop in a thread of its own."""
    out = []

    async def gather():
        return await asyncio.gather(*(part(**step) for part in rewards_object.functions))

    thread = threading.Thread(target=lambda: out.append(asyncio.run(gather())))
    thread.start()
    thread.join()
    return out[0]


def test_trl_functions_share_one_execution(box, monkeypatch):
    insts = [instance(0), instance(1)]
    calls = []
    run = box.map
    monkeypatch.setattr(box, "map", lambda jobs, **o: calls.append(len(jobs)) or run(jobs, **o))
    parts = TrlRewards(insts, box, terms=Terms(min_tokens=20))
    texts = [PERFECT, block("action = 7"), "No.", PERFECT]
    metrics, extra = {}, {}
    step = {
        "prompts": ["p"] * 4,
        "completions": [[{"role": "assistant", "content": t}] for t in texts],
        "completion_ids": [[0] * 10] * 4,
        "instance": [0, 0, 1, None],
        "log_metric": metrics.__setitem__,
        "log_extra": extra.__setitem__,
        "trainer_state": object(),
    }
    R_s, R_p, R_d = trl_call(parts, **step)
    assert calls == [2], "one sandbox call for all three parts"
    direct = score(texts[:3], [insts[0], insts[0], insts[1]], box)
    np.testing.assert_allclose(R_s[:3], direct.structure, rtol=1e-6)
    np.testing.assert_allclose(R_p[:3], direct.performance, rtol=1e-6)
    np.testing.assert_allclose(R_d[:3], [-0.25] * 3)
    assert R_s[3] is R_p[3] is R_d[3] is None
    assert metrics["raw/valid"] == pytest.approx(1 / 3)
    assert metrics["status/no_code"] == pytest.approx(1 / 3)
    assert {m for m in metrics if m.startswith("status/")} == {
        f"status/{status.replace(' ', '_')}" for status in STATUSES
    }
    assert sum(v for m, v in metrics.items() if m.startswith("status/")) == pytest.approx(1)
    assert extra["status"] == ["ok", "invalid", "no code", None]
    # The next step is computed anew, and without token ids the depth does not apply.
    del step["completion_ids"]
    assert trl_call(parts, **step)[2] == [None] * 4
    assert calls[0] == 2 and len(calls) == 3


@pytest.mark.parametrize(
    "terms", [Terms(structure=2.0, performance=0.5, depth=1.0, min_tokens=20), Terms(form="ranked")]
)
def test_total_is_the_weighted_sum_of_the_parts(box, terms):
    rewards = TrlRewards([instance(0), instance(1)], box, terms=terms)
    metrics, extra = {}, {}
    step = {
        "completions": [PERFECT, block("action = 7"), "No.", PERFECT],
        "completion_ids": [[0] * 10] * 4,
        "instance": [0, 0, 1, None],
        "log_metric": metrics.__setitem__,
        "log_extra": extra.__setitem__,
    }
    parts = np.array([part[:3] for part in trl_call(rewards, **step)])
    # Of the form ranked, weights of `Terms` apply as well.
    expected = np.array(rewards.weights) @ parts
    by_parts = dict(metrics), dict(extra)
    metrics.clear(), extra.clear()
    total = asyncio.run(rewards.total(**step))
    np.testing.assert_allclose(total[:3], expected, rtol=1e-5)
    assert total[3] is None
    # The same is logged either way, and the parts besides.
    assert extra == by_parts[1] and by_parts[0].keys() < metrics.keys()
    for name, values in zip(("structure", "performance", "depth"), parts, strict=True):
        assert metrics[f"part/{name}"] == pytest.approx(values.mean(), abs=1e-6)


def test_a_data_set_of_prompts(box):
    rewards = TrlRewards([instance(0), instance(1)], box)
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"}]
    data = rewards.dataset(["one", chat], repeats=3)
    assert sorted(data.column_names) == ["instance", "prompt"]
    assert data["instance"][:] == [0, 1] * 3
    assert data[0]["prompt"] == [{"role": "user", "content": "one"}]
    assert data[3]["prompt"] == chat
    with pytest.raises(ValueError, match=r"prompts must have one entry per .*\(2\), got 1"):
        rewards.dataset(["one"])
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        rewards.dataset(["one", "two"], repeats=0)


def test_status_metrics_of_two_steps_average_to_one(box):
    """TRL averages over the steps that log a metric: each status is logged in each."""
    parts = TrlRewards([instance(0)], box)
    logged = {}
    for text in (PERFECT, "No.", block("1 / 0")):
        trl_call(
            parts,
            completions=[text],
            instance=[0],
            log_metric=lambda name, value: logged.setdefault(name, []).append(value),
        )
    means = [np.mean(v) for name, v in logged.items() if name.startswith("status/")]
    assert len(means) == len(STATUSES)
    assert sum(means) == pytest.approx(1)


def logged_by(rewards, *texts):
    metrics = {}
    step = {"completions": texts, "instance": [0] * len(texts)}
    trl_call(rewards, **step, log_metric=metrics.__setitem__)
    return metrics


def test_a_program_that_the_deadline_cuts_off_is_left_out_of_the_step(box):
    """TRL leaves out a completion that has None from every part."""
    parts = TrlRewards([instance(0)], box, deadline_s=3)
    metrics = {}
    step = {
        "completions": [PERFECT, block("import time\ntime.sleep(60)\naction = {}")],
        "completion_ids": [[0] * 10] * 2,
        "instance": [0, 0],
        "log_metric": metrics.__setitem__,
    }
    for (finished, cut), most in zip(trl_call(parts, **step), (1.2, 1, 0), strict=True):
        assert finished <= most + 1e-6 and cut is None
    assert metrics["raw/valid"] == 1
    assert metrics["raw/gain"] == pytest.approx(score([PERFECT], [instance(0)], box).gain[0])
    assert metrics["status/unfinished"] == 0.5


def test_counters_of_the_sandbox_are_metrics_of_every_step(box):
    rewards = TrlRewards([instance(0)], box)
    of_each = ("sandbox/restarts", "sandbox/queue_s", "sandbox/peak_mb")
    assert [logged_by(rewards, "No.")[name] for name in of_each] == [0, 0, 0]
    hungry = logged_by(rewards, block("x = np.ones(40 << 17)\naction = {}"))
    assert hungry["sandbox/restarts"] == 0 and 40 <= hungry["sandbox/peak_mb"] < 80
    for worker in box._workers:
        worker.kill()
    assert logged_by(rewards, PERFECT, block("action = {}"))["sandbox/restarts"] == 2
    text = logged_by(TrlRewards([instance(0)], None, paradigm="text"), "No.")
    assert not any(name.startswith("sandbox/") for name in text)


def test_content_may_come_in_parts():
    inst = instance(0)
    user, channel = int(inst.user_id[0]), int(np.flatnonzero(~np.asarray(inst.occupied))[0])
    parts = [
        {"type": "text", "text": f"action = {{{user}: "},
        {"type": "image", "image": None},
        {"type": "text", "text": f"{channel}}}"},
    ]
    contents = [parts, f"action = {{{user}: {channel}}}", None]
    completions = [[{"role": "assistant", "content": content}] for content in contents]
    step = {"completions": completions, "instance": [0, 0, 0]}
    R_s = trl_call(TrlRewards([inst], None, paradigm="text"), **step)[0]
    assert R_s[0] == R_s[1] > 0.9
    assert R_s[2] == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column 'instance' came with the completions: the data set must have one"),
        ({"instance": [1]}, "'instance' must hold indices from 0 to 0 or None, got 1"),
        ({"instance": [-1]}, "'instance' must hold indices from 0 to 0 or None, got -1"),
    ],
)
def test_the_column_instance_is_checked(columns, message):
    rewards = TrlRewards([instance(0)], None, paradigm="text")
    for part in rewards.functions:
        with pytest.raises(ValueError, match=message):
            asyncio.run(part(prompts=["p"], completions=["c"], **columns))


def test_arguments_are_checked_at_once():
    with pytest.raises(ValueError, match="paradigm must be one of code, text, got 'prose'"):
        TrlRewards([instance(0)], None, paradigm="prose")
    with pytest.raises(ValueError, match="deadline_s must be above 0"):
        TrlRewards([instance(0)], None, paradigm="text", deadline_s=-1)
    with pytest.raises(ValueError, match="box must be a Sandbox in the code paradigm"):
        TrlRewards([instance(0)], None)

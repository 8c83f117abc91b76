"""The training command at its smallest, its resume, and its bad inputs."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from experiments import methods, train_agent
from experiments.train_agent import CHECKPOINTS, CURVE, WEIGHTS, Config
from lsajax.agents.joint import ActionSpaceTooLarge
from lsajax.runs import checkpoints

SMALLEST = Config(
    algorithm="dqn", head="joint", triple=(5, 5, 1), seeds=2, updates=4, chunk=2, realizations=3
)


@pytest.fixture
def _few_methods(monkeypatch):
    """What others take to compile is theirs to test."""
    kept = (methods.RANDOM, methods.GREEDY, methods.OPTIMUM)
    every = methods.classical
    monkeypatch.setattr(
        methods, "classical", lambda objective: [m for m in every(objective) if m.name in kept]
    )


def run(path, **changes):
    config = dataclasses.replace(SMALLEST, out=path, **changes)
    train_agent.run(train_agent.prepare(config))
    return pd.read_parquet(path / "rows.parquet")


@pytest.mark.usefixtures("_few_methods")
def test_a_run_its_rows_and_its_resume(tmp_path, capsys):
    rows = run(tmp_path)
    assert {"DQN, joint 0", "DQN, joint 1", methods.OPTIMUM, methods.GREEDY} < set(rows["method"])
    agents = rows[rows["agent_seed"].notna()]
    assert len(agents) == 2 * 3 and (agents["training_flops"] > 0).all()
    assert (rows["value"] <= rows["bound"] * (1 + 1e-6)).all()
    curve = pd.read_parquet(tmp_path / CURVE)
    assert len(curve) == 2 * 4 and curve["steps"].max() == 4 * 256
    summary = pd.read_csv(tmp_path / "summary.csv")
    both = summary[summary["method"] == "DQN, joint"].iloc[0]
    each = summary[summary["method"].str.startswith("DQN, joint ")]
    assert both["gap_percent"] == pytest.approx(each["gap_percent"].mean())
    assert np.isfinite(both["gap_half_percent"])
    for name in (WEIGHTS, "run.json", "train_agent.png", "train_agent.pdf"):
        assert (tmp_path / name).exists()
    assert checkpoints.numbers(tmp_path / CHECKPOINTS) == [4]
    record = json.loads((tmp_path / "run.json").read_text())["training"]
    assert record["updates"] == 4 and record["compile_s"] > 0
    assert "DQN, joint" in capsys.readouterr().out
    more = run(tmp_path, resume=True, realizations=4)
    assert len(more) == len(rows) * 4 // 3
    same = more[more["realization"] < 3].reset_index(drop=True)
    pd.testing.assert_series_equal(same["value"], rows["value"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"budget_s": -1.0}, "--budget-s must be above 0"),
        ({"evaluate_at": ("III",)}, "--evaluate-at needs --head sequential"),
        ({"num_active_min": 1}, "--num-active-min needs --head sequential"),
        ({"head": "sequential", "evaluate_at": ("IV",)}, "--evaluate-at must be I, II"),
        ({"order": "strength"}, "--order must be regret or strength, with --head sequential"),
        ({"triple": (5, 5, 6)}, "num_active must be at most num_users=5"),
        ({"algorithm": "sarsa"}, "--algorithm must be one of ppo, dqn"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        run(tmp_path / "out", **changes)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_joint_head_that_does_not_fit_is_refused_before_training(tmp_path):
    with pytest.raises(ActionSpaceTooLarge, match="3603600 outputs"):
        run(tmp_path / "out", triple=(12, 15, 6), memory_bytes=2**32)
    assert not (tmp_path / "out").exists()


def test_checkpoints_that_are_there_are_not_passed_over(tmp_path):
    (tmp_path / CHECKPOINTS).mkdir()
    with pytest.raises(ValueError, match="holds checkpoints already; give --resume"):
        run(tmp_path)

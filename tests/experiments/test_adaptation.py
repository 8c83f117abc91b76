"""Moves to other places: what is counted, what is lost, and what cannot run."""

import json

import numpy as np
import pandas as pd
import pytest

import llm.models
from experiments import adaptation, adaptation_methods, methods
from experiments.adaptation import HOME, Config
from llm.models import Completion
from llm.training.programs import PROGRAMS
from tests.experiments.test_scaling import KnownModel

SORT_BOTH = f"```python\n{PROGRAMS['sort_both']}```"


class Sorts(KnownModel):
    """Sorts both sides, whatever it is asked."""

    def generate(self, prompts, **_):
        return [Completion(SORT_BOTH, 100, 20, 0.02) for _ in prompts]


def run(path, **options):
    options = {"moves": ("fading", "larger, coupled"), "train_s": 0.0, "realizations": 2, **options}
    adaptation.run(adaptation.prepare(Config(model="known", budget_s=0.02, out=path, **options)))
    return pd.read_csv(path / "summary.csv").set_index(["move", "method"])


@pytest.mark.slow
def test_moves_without_agents(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Sorts())
    summary = run(tmp_path)
    gap = summary["gap_percent"]
    for name in ("Sort both", "LAP on rates", "LAP on values", methods.LLM_RAW):
        assert gap[HOME, name] == pytest.approx(0, abs=1e-3)
    # With fading sorting loses, which a model loses too that goes on sorting; a LAP does not.
    lost = summary["lost_percent"]
    assert lost["fading", "Sort both"] > 1
    assert lost["fading", methods.LLM_RAW] == pytest.approx(lost["fading", "Sort both"], abs=1e-4)
    assert lost["fading", "LAP on values"] == pytest.approx(0, abs=1)
    assert summary.loc[("fading", "Sort both"), "made_gap_percent"] == pytest.approx(
        gap["fading", adaptation_methods.BEST]
    )
    lines = summary["lines_changed"]
    assert lines[HOME, "Sort both"] == 0 < lines["fading", "Sort both"]
    assert lines["larger, coupled", "LAP on values"] >= 5
    assert summary.loc[("larger, coupled", methods.LLM), "prompt_lines"] >= 1
    coupled = summary.xs("larger, coupled", level="move")
    assert (coupled["home_gap_percent"].drop(methods.RANDOM) < 5).all()
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    both = rows[rows["method"].isin([methods.LLM, "Sort both"])]
    value = both.pivot(index=["move", "realization"], columns="method", values="value")
    np.testing.assert_allclose(value[methods.LLM], value["Sort both"], rtol=1e-6)
    printed = capsys.readouterr().out
    assert "Best program" in printed and (tmp_path / "adaptation.png").stat().st_size > 10_000
    same = ["gap_percent", "lost_percent", "lines_changed"]
    pd.testing.assert_frame_equal(run(tmp_path, resume=True)[same], summary[same])
    with pytest.raises(ValueError, match=r"seed was 0, now 1"):
        run(tmp_path, resume=True, seed=1)


def test_lines_of_a_diff():
    changed = adaptation_methods.lines_changed
    assert changed("a\nb\nc\n", "a\nb\nc\n") == 0
    assert changed("a\nb\nc\n", "a\nx\nc\n") == 1
    assert changed("a\nb\nc\n", "a\nx\ny\nc\n") == 2
    assert changed("a\n", "a\nb\n") == changed("a\nb\n", "a\n") == 1
    assert changed(PROGRAMS["assign_rates"], PROGRAMS["assign_values"]) == 1


@pytest.mark.slow
def test_agents_that_are_moved_and_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Sorts())
    moves = ("larger", "fading", "coupled")
    summary = run(tmp_path, moves=moves, train_s=2.0, realizations=2)
    joint = summary.xs("PPO, joint", level="method")
    assert joint["gap_percent"].isna().to_dict() == {
        HOME: False,
        "larger": True,
        "fading": False,
        "coupled": True,
    }
    reason = joint["skipped"]["larger"]
    assert "90 outputs, and 8 users on 20 channels need 5079110400" in reason
    assert "; trained there: a joint head for (15,20,8) has 5079110400 outputs" in reason
    assert "does not take what it is shown there" in joint["skipped"]["coupled"]
    assert joint["adapt_samples"]["fading"] > 0 and joint["retrained"]["fading"] == 1
    sequential = summary.xs("PPO, sequential", level="method")
    assert sequential["gap_percent"].notna().all()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["config"]["train_s"] == 2.0
    same = ["gap_percent", "made_gap_percent", "adapt_s", "adapt_samples"]
    again = run(tmp_path, moves=moves, train_s=2.0, realizations=2, resume=True)
    pd.testing.assert_frame_equal(again[same], summary[same])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "none"}, "--model must be a language model, got 'none'"),
        ({"moves": ("faded",)}, "--moves must name one or more of larger"),
        ({"train_s": -1.0}, "--train-s must be at least 0 seconds"),
        ({"budget_s": 0.0}, "--budget-s must be above 0"),
        ({"temperature": -1.0}, "--temperature must be at least 0"),
        ({"realizations": 0}, "--realizations must be at least 1"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        adaptation.check(Config(**options))


def test_every_move_differs_from_home():
    home = adaptation.place_of(HOME)
    for move in adaptation.MOVES:
        assert adaptation.place_of(move) != home
        _ = adaptation.place_of(move).scenario

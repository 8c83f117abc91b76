"""A code model before and after training: options, and the rows that are shown."""

import dataclasses

import pandas as pd
import pytest

from experiments import code_curves, code_model, pages


@pytest.fixture
def config(tmp_path):
    return code_model.Config(models=("zero-shot=embedded",), out=tmp_path / "rows.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ()}, "--models must name a model"),
        ({"models": ("a=embedded", "a=b")}, "--models must have each NAME once"),
        ({"models": ("embedded",)}, "--models must be NAME=MODEL each, got 'embedded'"),
        ({"cells": ("plain",)}, "--cells must be setting/objective/size/seconds"),
        ({"samples": 0}, "must be at least 1, got 2, 8 and 0"),
        ({"temperature": 0.0}, "--temperature must be above 0, got 0"),
    ],
)
def test_bad_options(config, changes, message):
    with pytest.raises(ValueError, match=message):
        code_model.check(dataclasses.replace(config, **changes))


def test_rows_per_cell_and_together(config):
    """Two cells of two instances: all valid in one, in the other one of two."""
    answers = pd.DataFrame(
        {"setting": setting, "objective": "throughput", "size": "15,20,8", "time_budget_s": 1.0}
        | {"realization": r, "temperature": 0.8, "sample": k, "family": family, "right": False}
        | {"valid": valid, "gap": gap if valid else None, "program": f"{setting} {r}"}
        | {"total": 1.0, "structure": 0.4, "performance": 0.6, "completion_tokens": 9}
        | {"truncated": False}
        for setting, r, family, valid, gap in (
            ("plain", 0, "random", True, 0.1),
            ("plain", 1, "random", True, 0.3),
            ("fading", 0, "greedy", True, 0.2),
            ("fading", 1, "greedy", False, 0.0),
        )
        for k in range(2)
    )
    found = code_model.rows("before", answers)
    together, plain, fading = found.to_dict("records")
    assert (together["setting"], together["valid"], together["instances"]) == ("all", 0.75, 4)
    assert (plain["valid"], fading["valid"]) == (1.0, 0.5)
    assert together["gap"] == pytest.approx(0.2)
    assert together["families"] == "random 4, greedy 2"
    assert fading["families"] == "greedy 2"
    line = code_model.markdown(found).splitlines()[2]
    assert line == (
        "| before | 0.8 | 8 | 75 (30 to 95) | 20.0 ± 24.8 | 0 (0 to 49) | 0 | random 4, greedy 2 |"
    )


def test_what_is_measured_is_not_measured_again(config, monkeypatch, capsys):
    head = "model,setting,objective,size,time_budget_s,temperature,instances,samples"
    lines = [
        f'zero-shot,{setting},throughput,"15,20,8",1.0,{temperature},8,{samples}'
        for setting in ("plain", "fading")
        for temperature, samples in ((0.0, 8), (0.8, 32))
    ]
    config.out.write_text("\n".join([head, *lines]) + "\n")
    for changes in ({"samples": 5}, {"realizations": 9}, {"temperature": 0.7}):
        with pytest.raises(ValueError, match="has rows of other cells"):
            code_model.check(dataclasses.replace(config, **changes))
    monkeypatch.setattr("llm.training.evaluation.right_families", lambda *_, **__: {})
    code_model.run(code_model.check(config))
    assert "zero-shot is in" in capsys.readouterr().out


def test_forms_of_the_prompt_as_a_table():
    row = {"order": "example last", "example": "random", "begun": "fence", "temperature": 0.8}
    row |= {"valid": 0.25, "valid_low": 0.13, "valid_high": 0.42, "mapped": 0.5}
    row |= {"cut_off": 0.125, "detail": "none", "template": "its own", "gain_of_valid": -0.01}
    shown = pages.forms_table(pd.DataFrame([row, row | {"template": "shipped"}]))
    assert shown.splitlines()[2:] == [
        "| example last | random | none | fence | 0.8 | 25 (13 to 42) | 50 | 12 | -0.01 |",
        "| chat template of this package | – | – | – | 0.8 | 25 (13 to 42) | 50 | 12 | -0.01 |",
    ]


@pytest.fixture
def grpo(tmp_path):
    """A run that stopped after three steps of two answers."""
    run = tmp_path / "run"
    for folder in ("parts", "completions"):
        (run / folder).mkdir(parents=True)
    program = "rows = np.arange(len(users))\ncols = np.argsort(-bandwidth_hz)\n"
    program += "action = {int(users[i]): int(channels[j]) for i, j in zip(rows, cols)}"
    for step in (1, 2, 3):
        row = {"step": step, "reward": 0.5, "raw/valid": 0.5, "entropy": 0.1, "step_time": 2.0}
        row |= {"completions/mean_length": 50.0, "completions/clipped_ratio": 0.0}
        pd.DataFrame([row]).to_parquet(run / "parts" / f"{step}.parquet")
        pd.DataFrame(
            {
                "step": step,
                "completion": [[{"role": "assistant", "content": f"{program}\n```"}]] * 2,
                "valid": [1.0, float(step > 2)],
                "gain": [0.5, 0.7],
                "setting": "plain",
                "objective": "throughput",
                "size": "15,20,8",
                "instance": 0,
            }
        ).to_parquet(run / "completions" / f"completions_{step:05d}.parquet")
    return run


def test_curves_and_answers_of_a_run_that_is_not_finished(grpo, tmp_path):
    files = {name: tmp_path / name for name in ("out", "steps", "figure")}
    config = code_curves.Config(runs=(f"GRPO={grpo}",), block=2, **files)
    code_curves.run(code_curves.check(config))
    found = pd.read_csv(files["out"])
    assert found["valid"].tolist() == [0.5, 1.0]
    assert found["families"].tolist() == ["sort_channels 2", "sort_channels 2"]
    lines = code_curves.markdown(found).splitlines()[2:]
    assert lines == [
        # The trials are the prompts, two and one.
        "| GRPO | 1 to 2 | 2 | 4 | 50 (9 to 91) | 0.50 ± 0.00 | 1 | sort channels 2 |",
        "| GRPO | 3 to 3 | 1 | 2 | 100 (21 to 100) | 0.60 | 1 | sort channels 2 |",
    ]
    steps = pd.read_csv(files["steps"])
    assert steps["gain of valid"].round(6).tolist() == [0.5, 0.5, 0.6]
    assert steps["train_s"].tolist() == [2.0, 4.0, 6.0]
    assert files["figure"].read_bytes()[1:4] == b"PNG"


def test_runs_that_are_none(grpo, tmp_path):
    for runs, message in (
        ((), "--runs must name a run"),
        ((f"GRPO={tmp_path}",), "--runs must be NAME=FOLDER of python -m llm.grpo"),
        ((f"GRPO={grpo}", f"GRPO={grpo}"), "--runs must have each NAME once"),
    ):
        with pytest.raises(ValueError, match=message):
            code_curves.check(code_curves.Config(runs=runs))

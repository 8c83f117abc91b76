"""Recipes beside each other: what is read from runs, what the table says, bad input."""

import pandas as pd
import pytest

from experiments import recipes


def a_run(folder, *, after):
    """A finished run whose answers are half valid before, and `after` valid after."""
    (folder / "evaluation").mkdir(parents=True)
    for step, share in ((0, 0.5), (10, 0.25), (20, after)):
        answers = pd.DataFrame(
            {"step": step, "temperature": [0.0] * 4 + [1.0] * 4, "gap": [0.1, 0.2, 0.3, 0.4] * 2}
        )
        answers["valid"] = [k % 4 < 4 * share for k in range(8)]
        answers["family"] = ["sort_both"] * 3 + ["greedy"] + ["sort_both"] * 3 + ["greedy"]
        answers["right"] = answers["valid"] & (answers["gap"] < 0.15)
        answers.to_parquet(folder / "evaluation" / f"step-{step:06d}.parquet")
    rows = {"step": [1, 2, 20], "raw/valid": [0.0, 0.5, 1.0], "entropy": 1.0}
    rows |= {"completions/mean_length": 40.0}
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    return folder


def test_before_and_after_of_each_recipe(tmp_path):
    of = {k: a_run(tmp_path / str(k), after=share) for k, share in enumerate((1.0, 0.5, 0.5))}
    config = recipes.Config(
        runs=(f"paper={of[0]}", f"paper={of[1]}", f"other={of[2]}"),
        out=tmp_path / "recipes.csv",
        figure=tmp_path / "recipes.png",
    )
    recipes.run(recipes.check(config))
    assert config.figure.read_bytes().startswith(b"\x89PNG")
    rows = pd.read_csv(config.out)
    assert set(rows["step"]) == {0, 20}
    assert set(rows["count"]) == {4}
    last = rows[(rows["step"] == 20) & (rows["answers"] == "greedy")]
    assert last["valid"].tolist() == [1.0, 0.5, 0.5]
    assert last["right"].tolist() == [0.25, 0.25, 0.25]
    assert last["gap"].tolist() == pytest.approx([0.25, 0.15, 0.15])
    lines = recipes.markdown(rows).splitlines()
    assert lines[2] == (
        "| paper | greedy | 2 | 20 | 50 → 75 (0 to 100) | 25 → 25 | 15 → 20 (0 to 84) "
        "| sort_both 75 % → sort_both 75 % |"
    )
    assert lines[-1].startswith("| other | sampled | 1 | 20 | 50 → 50 | 25 → 25 | 15.0 → 15.0 |")


def test_runs_that_cannot_be_read_are_one_sentence(tmp_path):
    whole = a_run(tmp_path / "whole", after=1.0)
    for named in ("", "paper", f"={whole}", "paper=", f"paper={tmp_path / 'none'}"):
        with pytest.raises(ValueError, match=r"--runs must be RECIPE=FOLDER each, .* got '"):
            recipes.check(recipes.Config(runs=(named,)))
    with pytest.raises(ValueError, match="--runs must name a run"):
        recipes.check(recipes.Config(runs=()))
    (whole / "evaluation" / "step-000020.parquet").unlink()  # killed after the one before
    with pytest.raises(ValueError, match="finished runs"):
        recipes.check(recipes.Config(runs=(f"paper={whole}",)))
    again = a_run(tmp_path / "again", after=1.0)
    with pytest.raises(ValueError, match="--figure must be a file in a folder that exists"):
        recipes.check(recipes.Config(runs=(f"p={again}",), figure=tmp_path / "no" / "f.png"))

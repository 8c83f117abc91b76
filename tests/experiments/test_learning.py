"""Before and after GRPO: which cells are asked, and what the table says."""

import dataclasses
import json

import pandas as pd
import pytest
import yaml

from experiments import learning
from llm.embedded import corpus
from llm.training.prompts import Cell, cell_named


@pytest.fixture
def run(tmp_path):
    with open("configs/embedded.yaml") as file:
        named = yaml.safe_load(file)["cells"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "run.json").write_text(json.dumps({"config": {"cells": named}}))
    return tmp_path


def test_groups_of_cells(run):
    trained = learning.trained_cells(run)
    groups = learning.cells(trained)
    assert [cell for cell, group in groups.items() if group == "trained"] == trained
    kinds = {f"{cell.setting}, {cell.objective}" for cell in trained}
    assert kinds <= set(corpus.KINDS)
    others = [cell for cell, group in groups.items() if group == "other combination"]
    assert {f"{cell.setting}, {cell.objective}" for cell in others} == set(corpus.HELD_OUT)
    assert not {cell.size for cell in trained} & {
        cell.size for cell, group in groups.items() if group == "other size"
    }
    for cell in groups:
        _ = cell.scenario


def test_the_table_shows_before_and_after():
    before = {"run": "base", "group": "trained", **Cell("fading", "fair", "15,20,8", 1.0)._asdict()}
    before |= {"temperature": 0.0, "valid": 0.5, "right": 0.0, "gap": 0.2, "family": "random"}
    before |= {"search_gap": 0.0123, "programs": 3}
    after = [
        before | {"run": str(k), "valid": 1.0, "right": right, "gap": 0.0, "family": "greedy"}
        for k, right in enumerate((1.0, 0.5))
    ]
    rows = [row | {"temperature": t} for row in (before, *after) for t in (0.0, 1.0)]
    line = learning.markdown(pd.DataFrame(rows)).splitlines()[2]
    assert line == (
        "| fading, fair | 15, 20, 8 | 1 | 0 → 75 (50–100) | 20.00 → 0.00 | 1.23 | random → greedy "
        "| 50 → 100 | 0 → 75 (50–100) | 20.00 → 0.00 | 3 → 3 |"
    )
    by_group = learning.group_markdown(pd.DataFrame(rows), ways=["sampled"]).splitlines()
    # Where the runs agree there is no interval, and none leaves what a share can be.
    shown = "| trained (1) | sampled | 50 → 100 | 0 → 75 (0 to 100) | 20 → 0 |"
    assert by_group[2] == shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": ()}, "--runs must name a run"),
        ({"realizations": 0}, "must be at least 1, got 0 and 8"),
    ],
)
def test_bad_options(run, changes, message):
    config = learning.Config(runs=(run,))
    with pytest.raises(ValueError, match=message):
        learning.check(dataclasses.replace(config, **changes))


def test_a_folder_without_a_model_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="--runs must be finished runs"):
        learning.check(learning.Config(runs=(tmp_path,)))


def test_cells_by_name():
    assert cell_named("fading/fair/15,20,8/0.5") == Cell("fading", "fair", "15,20,8", 0.5)
    for text in ("fading/fair/15,20,8", "fading/fair/15,20,8/soon"):
        with pytest.raises(ValueError, match="--cells must be setting/objective/size/seconds"):
            cell_named(text)
    with pytest.raises(ValueError, match="--settings must be of"):
        cell_named("windy/fair/15,20,8/1")

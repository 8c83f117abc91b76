"""The table of rewards: what the form ranked promises, on real cells of it."""

import numpy as np
import pandas as pd
import pytest

from experiments import pages, rewards
from experiments.reward_programs import HONEST, LITERAL, RANDOM
from llm.sandbox import Limits, Sandbox

SMALL = next(iter(rewards.SIZES))
CELLS = [cell for cell in rewards.cells() if cell[0]["size"] == SMALL]


@pytest.fixture(scope="module")
def table():
    found = []
    with Sandbox(workers=2, limits=Limits(wall_s=20.0, cpu_s=5.0)) as box:
        for cell, scenario in CELLS:
            found += rewards.rows(cell, scenario, box, seed=0, budget_s=0.5)
    return pd.DataFrame(found)


def test_every_cell_has_every_program(table):
    assert len(CELLS) == len(rewards.SETTINGS) * len(rewards.OBJECTIVES)
    counts = table.groupby(rewards.CELL)["program"].nunique()
    assert len(counts) == len(CELLS) and (counts == len(HONEST) + 7).all()
    assert table[table["honest"]]["ranked_valid"].all()


def test_valid_programs_rank_as_the_objective_does(table):
    for cell, own in table[table["ranked_valid"]].groupby(rewards.CELL):
        own = own.sort_values("ranked_value_share")
        assert (np.diff(own["ranked_total"]) >= -1e-5).all(), cell
        apart = np.diff(own["ranked_value_share"]) > 1e-4
        assert (np.diff(own["ranked_total"])[apart] > 0).all(), cell


def test_no_degenerate_program_beats_an_honest_random_one(table):
    for cell, own in table.groupby(rewards.CELL):
        random = own.loc[own["program"] == RANDOM, "ranked_total"].item()
        assert own.loc[~own["honest"], "ranked_total"].max() <= random + 1e-6, cell
        assert random > 0.7


def test_the_weaknesses_of_the_papers_form_are_in_the_table(table):
    """What docs/rewards.md says of it: else the text must be changed."""
    total = table.pivot_table(index=rewards.CELL, columns="program", values="paper_total")
    assert (total[LITERAL] > total[RANDOM]).mean() > 0.5


def test_the_markdown_has_every_row(table):
    text = rewards.markdown(table)
    assert text.count("\n### ") + text.startswith("### ") == len(CELLS)
    assert text.count(f"| {RANDOM} |") == len(CELLS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "--seed must be within"),
        ({"budget_s": 0.0}, "--budget-s must be within 0.1..3600 seconds, got 0.0"),
        ({"out": "/nowhere/at/all.csv"}, "--out must be a file in a folder that exists"),
    ],
)
def test_options_that_are_refused(tmp_path, options, message):
    import pathlib

    options = {"out": tmp_path / "a.csv", **options}
    options["out"] = pathlib.Path(options["out"])
    with pytest.raises(ValueError, match=message):
        rewards.check(rewards.Config(**options))


def test_pages_use_the_table_that_belongs_to_the_file():
    page = "<!-- table: rewards_forms.csv -->\n<!-- end of table -->"
    assert f"| {RANDOM} |" in pages.filled(page)

"""The table of rewards: what the form ranked promises, on real cells of it."""

import pathlib

import numpy as np
import pandas as pd
import pytest

from experiments import pages, rewards
from experiments.reward_programs import HONEST, RANDOM
from llm.sandbox import Limits, Sandbox

PAPER, ONE, SEVERAL = "paper", "ranked", f"ranked, {rewards.SLOTS} slots"
SMALL = next(iter(rewards.SIZES))
# Each setting and each objective once; the command's own table has all of their pairs.
PAIRS = set(zip(rewards.SETTINGS, 2 * rewards.OBJECTIVES, strict=False))
CELLS = [
    cell
    for cell in rewards.cells()
    if cell[0]["size"] == SMALL and (cell[0]["setting"], cell[0]["objective"]) in PAIRS
]


def made(cells):
    found = []
    with Sandbox(workers=2, limits=Limits(wall_s=20.0, cpu_s=5.0)) as box:
        for cell, scenario in cells:
            found += rewards.rows(cell, scenario, box, seed=0, budget_s=0.5)
    return pd.DataFrame(found)


@pytest.fixture(scope="module")
def table():
    return made(CELLS)


def of(table, form):
    return table[table["form"] == form]


def test_every_cell_has_every_program(table):
    assert len(CELLS) == len(rewards.SETTINGS) > len(rewards.OBJECTIVES)
    assert list(table["form"].unique()) == [PAPER, ONE, SEVERAL]
    counts = of(table, SEVERAL).groupby(rewards.CELL)["program"].nunique()
    assert len(counts) == len(CELLS) and (counts == len(HONEST) + 7).all()
    assert table[table["honest"]]["valid"].all()


def assert_ranked_by_the_objective(table):
    one = of(table, ONE)
    for cell, own in one[one["valid"]].groupby(rewards.CELL):
        own = own.sort_values("objective_over_random")
        assert own["objective_over_random"].notna().all() and len(own) >= len(HONEST)
        apart = np.diff(own["objective_over_random"]) > 1e-5
        steps = np.diff(own["total"])
        assert apart.any() and (steps[apart] > 0).all() and (steps > -1e-4).all(), cell
    invalid = of(table, ONE)[~one["valid"]]
    assert invalid["total"].max() < 0.4 < 0.7 < one[one["valid"]]["total"].min()


def assert_degenerate_below_random(table):
    for cell, own in of(table, SEVERAL).groupby(rewards.CELL):
        random = own.loc[own["program"] == RANDOM, "total"].item()
        assert own.loc[~own["honest"], "total"].max() <= random + 1e-6, cell
        assert random > 0.7


def test_valid_programs_rank_as_the_objective_does(table):
    assert_ranked_by_the_objective(table)


def test_no_degenerate_program_beats_an_honest_random_one(table):
    assert_degenerate_below_random(table)


@pytest.mark.slow
def test_both_hold_in_every_cell():
    table = made(rewards.cells())
    assert table.groupby(rewards.CELL).ngroups == len(list(rewards.cells())) == 24
    assert_ranked_by_the_objective(table)
    assert_degenerate_below_random(table)


def test_in_every_cell_of_the_committed_table_rewards_rank_as_the_objective_does():
    """All settings, objectives and both sizes, from the file that the command wrote."""
    committed = pd.read_csv(pages.ROOT / "docs" / "results" / "rewards_forms.csv")
    one = of(committed, ONE)
    cells = one.groupby(rewards.CELL)
    assert len(cells) == len(list(rewards.cells())) > len(CELLS)
    for cell, own in cells:
        valid = own[own["valid"]].sort_values("objective_over_random")
        apart = np.diff(valid["objective_over_random"]) > 1e-5
        assert (np.diff(valid["total"])[apart] > 0).all(), cell
        assert own.loc[~own["valid"], "total"].max() < valid["total"].min(), cell
    for cell, own in of(committed, SEVERAL).groupby(rewards.CELL):
        random = own.loc[own["program"] == RANDOM, "total"].item()
        assert own.loc[~own["honest"], "total"].max() <= random + 1e-6, cell


def test_the_markdown_has_every_row(table):
    text = rewards.markdown(table)
    assert text.startswith("### ") and text.count("\n### ") == len(CELLS) - 1
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
    options = {"out": tmp_path / "a.csv", **options}
    options["out"] = pathlib.Path(options["out"])
    with pytest.raises(ValueError, match=message):
        rewards.check(rewards.Config(**options))


def test_pages_use_the_table_that_belongs_to_the_file():
    page = "<!-- table: rewards_forms.csv -->\n<!-- end of table -->"
    assert f"| {RANDOM} |" in pages.filled(page)

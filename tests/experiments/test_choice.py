"""Which method is best where: a small run, and the rule on numbers that are known."""

import math
import os
import pathlib
import subprocess
import sys

import pandas as pd
import pytest

from experiments import choice, methods
from experiments.choice import LAP_ON_RATES, LAP_ON_VALUES, Config
from experiments.study import Study
from tests.experiments.commands import refused

SIZES = {"num_users": 24, "num_channels": 24, "num_active": 18}


def run(path, **options):
    options = {**SIZES, "realizations": 2, **options}
    choice.run(choice.prepare(Config(out=path, **options)))
    return pd.read_csv(path / "summary.csv").set_index([*choice.AXES, "method"])


def test_the_choice_depends_on_setting_goal_and_time(tmp_path, capsys):
    options = {
        "settings": ("plain", "fading"),
        "realizations": 1,
        "goals": ("throughput", "priorities"),
        "deadlines_s": (1e-9, 60.0),
    }
    summary = run(tmp_path, **options)
    best = summary[summary["best"]].reset_index().set_index(list(choice.AXES))["method"]
    # Nothing ends in a nanosecond.
    assert set(best.index.get_level_values("deadline_s")) == {60.0}
    assert not summary.xs(1e-9, level="deadline_s")["in_time"].any()
    # Sorting is optimal in the plain setting, where the matching finds nothing better.
    assert best["plain", "throughput", 60.0] == methods.SORTED
    assert best["fading", "throughput", 60.0] == LAP_ON_RATES
    assert best["plain", "priorities", 60.0] == LAP_ON_VALUES
    assert best["fading", "priorities", 60.0] == LAP_ON_VALUES
    gap = summary["gap_percent"]
    assert (gap.dropna() > -1e-3).all()
    assert gap["fading", "priorities", 60.0, LAP_ON_RATES] > 0.1
    assert gap["fading", "throughput", 60.0, methods.SORTED] > 1
    # A separable objective has no row of local search, and the reason is there.
    assert "exact" in summary.loc["plain", "priorities", 60.0, methods.LOCAL_SEARCH]["skipped"]
    printed = capsys.readouterr().out
    assert "0.00*" in printed and "N/A" in printed and "–" in printed
    for name in ("choice.png", "choice.pdf", "rows.parquet", "run.json"):
        assert (tmp_path / name).stat().st_size > 0
    again = run(tmp_path, resume=True, **options)
    pd.testing.assert_frame_equal(again, summary)


def rows_of(value, seconds, objective="coupled", deadline_s=1.0):
    """Rows of one instance by method; the bound is far above all."""
    return [
        {
            "setting": "plain",
            "goal": objective,
            "objective": objective,
            "deadline_s": deadline_s,
            "method": name,
            "realization": 0,
            "value": value[name],
            "bound": 2e8,
            "seconds": seconds[name],
            "status": "ok",
            "detail": "",
        }
        for name in value
    ]


def table_of(rows):
    study = Study(
        cells=choice.cells(Config(settings=("plain",), goals=("coupled",), **SIZES)),
        seed=0,
        reference="a",
    )
    return choice.table(study, pd.DataFrame(rows)).set_index(["deadline_s", "method"])


def test_a_late_method_is_not_there_and_a_tie_goes_to_the_first():
    value = {"a": 1.0e8, "b": 1.4e8, "c": 1.4e8, "d": 1.5e8}
    rows = rows_of(value, {"a": 0.1, "b": 0.2, "c": 0.1, "d": 1.1})
    # By a later deadline more is found: gaps of the earlier one are to that.
    rows += rows_of({**value, "d": 1.6e8}, dict.fromkeys(value, 2.0), deadline_s=3.0)
    table = table_of(rows)
    assert list(table["best"][1.0]) == [False, True, False, False]
    assert list(table["in_time"][1.0]) == [True, True, True, False]
    assert list(table["best"][3.0]) == [False, False, False, True]
    assert table.loc[(1.0, "b"), "gap_percent"] == pytest.approx(100 * 0.2 / 1.6)
    assert table.loc[(3.0, "d"), "gap_percent"] == pytest.approx(0, abs=1e-9)


def test_gaps_of_a_separable_objective_are_to_its_optimum():
    table = table_of(rows_of({"a": 1.5e8}, {"a": 0.1}, objective="throughput"))
    assert table.loc[(1.0, "a"), "gap_percent"] == pytest.approx(25)


@pytest.mark.parametrize(
    ("gap", "best", "in_time", "skipped", "text"),
    [
        (0.001, True, True, None, "0.00*"),
        (0.001, False, True, None, "0.00"),
        (1.25, False, True, None, "1.25"),
        (1.25, False, False, None, "–"),
        (math.nan, False, False, "why", "N/A"),
        (math.nan, False, False, math.nan, "–"),
        (-1e-6, False, True, None, "0.00"),
    ],
)
def test_cells_of_the_table(gap, best, in_time, skipped, text):
    row = {"gap_percent": gap, "best": best, "in_time": in_time, "skipped": skipped}
    assert choice.cell_text(row) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--settings", "fair"], "--settings must name one or more of plain, fading"),
        (["--settings", "plain", "plain"], "each once"),
        (["--goals", "fair", "fair"], "--goals must name one or more of throughput, priorities"),
        (["--deadlines-s", "0"], "--deadlines-s must be seconds above 0"),
        (["--num-active", "2000"], "num_active must be at most num_users=1000, got 2000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    assert refused(choice, arguments, tmp_path) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.strip().count("\n") == 0 and list(tmp_path.iterdir()) == []


def test_bad_input_of_a_process_is_one_line_and_exit_code_2(tmp_path):
    root = str(pathlib.Path(choice.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "experiments.choice", "--realizations", "0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 2 and "--realizations must be at least 1, got 0" in done.stderr
    assert done.stderr.strip().count("\n") == 0 and list(tmp_path.iterdir()) == []

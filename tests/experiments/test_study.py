"""The loop that runs any study, on instances small enough to run in milliseconds."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import config as options
from experiments import methods, rows, scaling, study
from experiments.methods import Method, Outcome
from experiments.study import Cell, Study
from lsajax.runs.folder import RunFolder

SMALL = lsa.SMALL_SCALES[8, 10, 4]
AXES = ("triple", "prompt_tokens")


def fixed(name, **options):
    """A method that does nothing, at once."""

    def run(key, inst, budget_s):
        nothing = np.full(inst.num_rows, -1, np.int32)
        return Outcome(nothing, 0.25, "ok", columns={"budget_s": budget_s})

    return Method(name, run, **options)


def draw_of(name):
    def run(key, inst, budget_s):
        nothing = np.full(inst.num_rows, -1, np.int32)
        return Outcome(nothing, 0.0, "ok", columns={"draw": float(jax.random.uniform(key))})

    return Method(name, run)


def study_of(*compared, scenario=SMALL, setting="plain", **options):
    named = {method.name: method for method in compared}
    cells = [
        Cell({"triple": "a", "prompt_tokens": n}, scenario, named, setting) for n in (512, 1024)
    ]
    return Study(cells, reference=compared[0].name, **{"seed": 0, **options})


def run(what, path, realizations=2, resume=False):
    identity = (*AXES, "method", "realization")
    with RunFolder(path, {}, identity=identity, resume=resume) as folder:
        return study.run(what, folder, realizations)


SETTINGS = sorted(set(lsa.SETTINGS) - {"fair"})  # which is an objective
# Each setting and each objective once; all other pairs are slow.
QUICK = {"fading": "fair", "poisson": "coupled"}
COMBINATIONS = [
    pytest.param(
        setting,
        objective,
        marks=() if QUICK.get(setting, "throughput") == objective else pytest.mark.slow,
    )
    for setting in SETTINGS
    for objective in lsa.OBJECTIVES
]


@pytest.mark.parametrize(("setting", "objective"), COMBINATIONS)
def test_every_setting_with_every_objective(tmp_path, setting, objective):
    switches = {**lsa.SETTINGS[setting], "objective": objective}
    scenario = lsa.SMALL_SCALES[5, 5, 2].replace(**switches)
    compared = methods.classical(objective)
    what = study_of(*compared, scenario=scenario, setting=setting, budget_s=0.01)
    what = dataclasses.replace(what, cells=what.cells[:1])
    # With poisson some slots have no user: realisations 0..11 of seed 0 do.
    found = run(what, tmp_path, 12 if setting == "poisson" else 2)
    value = found.pivot(index="realization", columns="method", values="value")
    assert (found["value"] <= found["bound"] * (1 + 1e-6)).all()
    assert set(found["objective"]) == {objective} and set(found["setting"]) == {setting}
    if objective != "coupled":
        assert (value[methods.OPTIMUM] >= value.max(axis=1) * (1 - 1e-6)).all()
    else:
        assert (value[methods.LOCAL_SEARCH] >= value[methods.OPTIMUM_OF_RATES] * (1 - 1e-6)).all()
    if objective != "fair":
        np.testing.assert_allclose(found["value"], found["value_bps"], rtol=1e-6)
    if setting == "poisson":
        empty = found[found["num_active"] == 0]
        assert len(empty) and (empty["value"] == 0).all() and (empty["unserved"] == 0).all()
    known = {*rows.COLUMNS, *AXES}
    assert set(found.columns) <= known, "a column is not documented"


def test_an_unknown_setting_raises():
    with pytest.raises(KeyError):
        lsa.SETTINGS["coupled"]


def test_cells_that_differ_in_one_axis_alone(tmp_path):
    found = run(study_of(fixed("a")), tmp_path)
    assert list(found["prompt_tokens"]) == [512, 512, 1024, 1024]
    # And their instances are the same ones.
    assert found.groupby("realization")["bound"].nunique().eq(1).all()


def test_instances_are_a_function_of_seed_sizes_and_realization():
    def leaves(*arguments):
        _, inst = study.instance(*arguments)
        return np.asarray(inst.bandwidth_hz), np.asarray(inst.mean_power_w)

    one, two = lsa.SMALL_SCALES[5, 5, 1], lsa.SMALL_SCALES[5, 5, 2]
    base = leaves(0, one, 3)
    for other in ((0, two, 3), (1, one, 3), (0, one, 4)):
        assert not np.any(leaves(*other)[0] == base[0])
    for again in ((0, one, 3), (0, one, np.int64(3))):
        np.testing.assert_array_equal(leaves(*again)[0], base[0])
    # Settings have the rest in common, so that their differences are paired.
    for setting in ("fading", "multipath", "wideband", "interference", "fair"):
        other = leaves(0, one.replace(**lsa.SETTINGS[setting]), 3)
        np.testing.assert_array_equal(other[0], base[0])
        np.testing.assert_array_equal(other[1], base[1])


def test_a_method_draws_by_its_name(tmp_path):
    alone = run(study_of(draw_of("b")), tmp_path / "1")
    beside = run(study_of(draw_of("a"), draw_of("b"), draw_of("c")), tmp_path / "2")
    own = beside[beside["method"] == "b"]
    np.testing.assert_array_equal(own["draw"], alone["draw"])
    assert beside[beside["prompt_tokens"] == 512]["draw"].nunique() == 6


def test_the_budget_is_the_time_of_the_model(tmp_path):
    what = study_of(fixed("first"), fixed("second"), budget_from="first")
    found = run(what, tmp_path).set_index("method")
    assert set(found.loc["second", "budget_s"]) == {0.25}
    what = dataclasses.replace(what, budget_s=0.5)
    assert set(run(what, tmp_path / "2")["budget_s"]) == {0.5}
    what = study_of(fixed("second"), budget_from="first")
    assert set(run(what, tmp_path / "3")["budget_s"]) == {study.DEFAULT_BUDGET_S}


def test_a_skipped_method_has_rows_with_the_reason(tmp_path):
    def too_large(inst):
        return f"needs {inst.num_channels} GiB"

    found = run(study_of(fixed("a"), fixed("b", skip=too_large, raw_name="b, raw")), tmp_path)
    skipped = found[found["status"] == rows.SKIPPED]
    assert set(skipped["method"]) == {"b", "b, raw"}
    assert set(skipped["detail"]) == {"needs 10 GiB"} and skipped["value"].isna().all()


def test_an_infeasible_assignment_raises_unless_it_is_raw(tmp_path):
    def collide(key, inst, budget_s):
        _, idle = np.unique(np.asarray(inst.occupied), return_index=True)
        raw = np.full(inst.num_rows, idle[0], np.int32)
        good = np.full(inst.num_rows, -1, np.int32)
        return Outcome(good, 0.0, "ok", raw, {"raw_valid": False})

    found = run(study_of(Method("m", collide, raw_name="m, raw")), tmp_path)
    raw = found[found["method"] == "m, raw"]
    assert (raw["value_bps"] > 0).all() and not raw["raw_valid"].any()

    def infeasible(key, inst, budget_s):
        outcome = collide(key, inst, budget_s)
        return dataclasses.replace(outcome, assignment=outcome.raw)

    with pytest.raises(AssertionError, match="infeasible assignment"):
        run(study_of(Method("m", infeasible)), tmp_path / "2")


def test_a_method_added_later_gets_its_rows(tmp_path):
    run(study_of(fixed("a")), tmp_path)
    found = run(study_of(fixed("a"), fixed("b")), tmp_path, resume=True)
    assert len(found) == 8 and not found.duplicated([*AXES, "method", "realization"]).any()


def test_a_thousand_million_realizations_start_at_once(tmp_path):
    class Enough(Exception):  # noqa: N818
        pass

    calls = []

    def count(key, inst, budget_s):
        calls.append(1)
        if len(calls) > 3:
            raise Enough
        return fixed("a").run(key, inst, budget_s)

    with pytest.raises(Enough):
        run(study_of(Method("a", count)), tmp_path, 10**9)
    resumed = run(study_of(fixed("a")), tmp_path, 3, resume=True)
    assert list(resumed["realization"]) == [0, 1, 2] * 2


def test_a_finished_run_asked_again_says_so_in_one_line(tmp_path, capsys):
    run(study_of(fixed("a")), tmp_path)
    capsys.readouterr()
    found = run(study_of(fixed("a")), tmp_path, resume=True)
    assert len(found) == 4
    errors = capsys.readouterr().err
    assert errors.startswith("all 4 instances are in") and "0/0" not in errors


KILLED = """
import os, signal, sys
import lsajax as lsa
from experiments import methods, study
from lsajax.runs.folder import RunFolder

quick = (methods.RANDOM, methods.SORTED)
compared = {m.name: m for m in methods.classical("throughput") if m.name in quick}
cells = [study.Cell({"triple": "a"}, lsa.SMALL_SCALES[8, 10, 4], compared)]
what = study.Study(cells, seed=0, reference=methods.RANDOM)
kill_after, resume = int(sys.argv[2]), len(sys.argv) > 3
with RunFolder(sys.argv[1], {}, identity=("triple", "method", "realization"), resume=resume) as f:
    real = f.append
    def append(rows):
        real(rows)
        if rows[0]["realization"] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    f.append = append
    study.run(what, f, 4)
"""


def test_kill_9_in_the_middle_resumes_to_the_same_rows(tmp_path):
    def started(*arguments):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    assert started(tmp_path / "whole", 99).returncode == 0
    assert started(tmp_path / "killed", 1).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path / "killed" / "parts")) == 2
    assert started(tmp_path / "killed", 99, "resume").returncode == 0
    whole, killed = (pd.read_parquet(tmp_path / n / "rows.parquet") for n in ("whole", "killed"))
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), killed.drop(columns="seconds"))
    record = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert len(record["sessions"]) == 2 and record["columns"] == rows.COLUMNS


def test_quick_lowers_what_is_not_given():
    config = scaling.Config(quick=True, realizations=5)
    small = options.quickened(config, realizations=3, scales=("I",))
    assert (small.realizations, small.scales) == (5, ("I",))
    given = scaling.Config(realizations=5)
    assert options.quickened(given, realizations=3, scales=("I",)) == given
    full = options.record("scaling", scaling.Config(), without=())
    assert options.record("scaling", scaling.Config(quick=True), without=()) == full
    assert str(options.out_folder("scaling", config)).endswith("throughput-plain-quick")
    assert options.folder_of("choice", config).name == "choice-quick"

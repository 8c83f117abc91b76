"""The Monte Carlo command: beside NumPy, sweeps, adaptive runs, status, and one-line refusals."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import lsajax as lsa
from experiments import monte_carlo, sweeps
from experiments.monte_carlo import Config
from experiments.monte_carlo_measure import METHODS, METRICS, measure
from lsajax import montecarlo

SCENARIO = lsa.Scenario(num_users=16, num_channels=12, num_active=8, fading=True)
COMPARED = ("random", "repaired", "greedy", "optimum")
SMALL = {"scenario": SCENARIO, "workers": 1, "realizations": 60, "chunk": 16}


def run(out, **options):
    monte_carlo.run(monte_carlo.prepare(Config(out=out, **{**SMALL, **options})))
    return pd.read_parquet(out / "results.parquet")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    options = {"methods": COMPARED, "metrics": METRICS, "sweep": ("occupancy=0,0.3",), "rows": True}
    return out, run(out, **options)


@pytest.mark.parametrize("occupancy", [0.0, 0.3])
def test_results_are_those_of_the_rates_in_numpy(swept, occupancy):
    out, results = swept
    assert len(results) == 2 * len(COMPARED) * len(METRICS)
    shown = results[results["occupancy"] == occupancy].set_index(["metric", "method"])
    rows = pq.read_table(out / "cells" / f"occupancy={occupancy}" / "rows").to_pandas()
    rows = rows.sort_values("realization", ignore_index=True)
    rate = {m: np.stack(rows[f"rate.{m}"].to_list()).astype(float) for m in COMPARED}
    best = np.max([r.sum(axis=1) for r in rate.values()], axis=0)
    for method in COMPARED:
        r = rate[method]
        expected = {
            "throughput": r.sum(axis=1),
            "objective": r.sum(axis=1),
            "fairness": r.sum(axis=1) ** 2 / (8 * (r**2).sum(axis=1)),
            "outage": (r < 100).mean(axis=1),
            "gap": 100 * (1 - r.sum(axis=1) / best),
        }
        for metric, values in expected.items():
            column = rows[f"{metric}.{method}"]
            np.testing.assert_allclose(column, values, rtol=1e-4, atol=2e-3, err_msg=metric)
    paired = rows["throughput.greedy"] - rows["throughput.random"]
    greedy = shown.loc["throughput", "Greedy"]
    assert greedy["mean"] == pytest.approx(rows["throughput.greedy"].mean())
    assert greedy["difference"] == pytest.approx(paired.mean(), rel=1e-5)
    half = 2.0009953780882688 * paired.std() / np.sqrt(60)  # t of 59 degrees of freedom
    assert greedy["difference_half"] == pytest.approx(half, rel=1e-4)
    assert shown.loc["gap", "Exact optimum"]["largest"] < 1e-3
    assert shown.loc["repair", "Random, repaired"]["mean"] > 0.05
    assert (shown.loc["repair"].drop("Random, repaired")["mean"] == 0).all()
    assert shown.loc["rate", "Greedy"]["mean"] == pytest.approx(greedy["mean"] / 8)


def test_figures_and_files_are_there(swept):
    out, _ = swept
    for name in ("sweep_occupancy.png", "sweep_occupancy.pdf", "rates.png"):
        assert (out / name).stat().st_size > 10_000
    assert {p.name for p in (out / "cells").iterdir()} == {"occupancy=0.0", "occupancy=0.3"}


def test_again_is_the_same_at_no_work_and_another_question_is_refused(swept, capsys, monkeypatch):
    from lsajax.runs.montecarlo import record

    out, results = swept
    options = {"methods": COMPARED, "metrics": METRICS, "sweep": ("occupancy=0,0.3",), "rows": True}
    with monkeypatch.context() as nothing_to_do:
        nothing_to_do.setattr(record, "compute", None)
        pd.testing.assert_frame_equal(run(out, **options), results)
    monte_carlo.run(monte_carlo.prepare(Config(out=out, status=True, **{**SMALL, **options})))
    printed = capsys.readouterr().out
    assert "occupancy=0.3: 60 of 60 realisations; the last part came" in printed
    with pytest.raises(ValueError, match="is the folder of another study: its measure"):
        run(out, **{**options, "methods": ("random", "greedy")})
    with pytest.raises(ValueError, match=r"key was .*, now "):
        run(out, **{**options, "seed": 1})


def test_status_of_what_has_not_begun(tmp_path, capsys):
    monte_carlo.run(monte_carlo.prepare(Config(out=tmp_path, status=True, **SMALL)))
    assert capsys.readouterr().out == "all: not begun\n"


def test_adaptive_goes_on_until_the_paired_interval_is_narrow(tmp_path, capsys):
    options = {"methods": ("random", "sorted"), "realizations": 32}
    first = run(tmp_path / "first", **options).set_index("method")
    target = float(first.loc["Sorted matching", "difference_half"]) / 2
    results = run(tmp_path / "on", adaptive=target, **options).set_index("method")
    assert results.loc["Sorted matching", "difference_half"] <= target
    count = results.loc["Sorted matching", "realizations"]
    assert 64 < count < 1000
    # The same numbers as a run that was asked for so many.
    asked = run(tmp_path / "asked", **{**options, "realizations": int(count)}).set_index("method")
    pd.testing.assert_frame_equal(asked, results)
    run(tmp_path / "few", adaptive=target / 100, most=64, **options)
    assert "--adaptive gave up after --most 64 realisations" in capsys.readouterr().err


def test_shards_by_option_and_by_the_variables_of_an_array(tmp_path, monkeypatch, capsys):
    options = {"methods": ("random",), "realizations": 200}
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    prepared = monte_carlo.prepare(Config(out=tmp_path, **{**SMALL, **options}))
    assert prepared.shard == (0, 2)
    monte_carlo.run(prepared)
    assert "parts of others are missing in 1 of 1 cells" in capsys.readouterr().out
    assert not (tmp_path / "results.parquet").exists()
    results = run(tmp_path, shard="1/2", **options)
    assert results["realizations"].item() == 200
    step = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "2"}
    assert monte_carlo.shard_of(Config(), {**step, "SLURM_ARRAY_TASK_MIN": "1"}) == (3, 4)
    assert monte_carlo.shard_of(Config(), {}) is None


def test_a_slot_without_users_is_missing_where_it_has_no_share():
    scenario = lsa.Scenario(num_users=4, num_channels=4, num_active=2, poisson=True)
    inst = lsa.sample_instance(jax.random.key(0), scenario)
    inst = inst.replace(user_mask=jnp.zeros_like(inst.user_mask))
    asked = functools.partial(measure, compared=("sorted",), metrics=METRICS, outage_mbps=1.0)
    found = jax.jit(asked)(jax.random.key(1), inst)
    assert np.isnan(found["outage"]["sorted"]) and np.isnan(found["rate"]["sorted"]).all()
    assert found["throughput"]["sorted"] == found["gap"]["sorted"] == 0


def test_the_optimum_is_that_of_the_objective():
    others = ("sorted", "optimum-of-rates", "optimum")
    assert set(METHODS) == {*COMPARED, *others, "greedy"}
    scenario = SCENARIO.replace(objective="fair", alpha=2.0)
    asked = functools.partial(measure, compared=others, metrics=("objective",), outage_mbps=1.0)
    found = montecarlo.study(jax.random.key(2), scenario, asked, 40, chunk=20, rows=True)
    values = found.rows["objective"]
    for method in others:
        assert (values[method] <= values["optimum"] * (1 + 1e-5)).all()
        assert (values[method] > 0).all()
    assert (values["optimum"] > values["optimum-of-rates"] * (1 + 1e-6)).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_active=100,200", ("num_active", [100, 200])),
        ("num-active=100:300:3", ("num_active", [100, 200, 300])),
        ("occupancy=0:0.5:6", ("occupancy", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])),
        ("fading=true,false", ("fading", [True, False])),
        ("rician_factor_db=none,-3", ("rician_factor_db", [None, -3.0])),
        ("objective=throughput,fair", ("objective", ["throughput", "fair"])),
        ("radius_m=1e3", ("radius_m", [1000.0])),
        ("num_active_min=none,3", ("num_active_min", [None, 3])),
    ],
)
def test_sweeps(text, expected):
    found = sweeps.parse(text)
    assert found == expected and [type(v) for v in found[1]] == [type(v) for v in expected[1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep", "num_actve=1,2"], "a Scenario has no such field; did you mean num_active?"),
        (["--sweep", "num_active"], "--sweep must be name=a,b,c or name=lo:hi:n"),
        (["--sweep", "num_active=1,x"], "must have values of type int, got 'x'"),
        (["--sweep", "num_active=1:2:4"], "--sweep num_active must have whole numbers"),
        (["--sweep", "occupancy=0:1"], "must be lo:hi:n with n of at least 1, got '0:1'"),
        (["--sweep", "fading=0:1:2"], "must be a list a,b,c, got the range '0:1:2'"),
        (["--sweep", "occupancy=0.1,0.1"], "must have each value once"),
        (["--sweep", "alpha=1", "--sweep", "alpha=2"], "must name each field once"),
        (["--sweep", "num_active=10,1000"], "num_active must be at most num_users=200, got 1000"),
        (["--num-active", "1000"], "num_active must be at most num_users=200, got 1000"),
        (["--objective", "coupled"], "--objective coupled has no exact optimum"),
        (["--metrics", "rate", "--adaptive", "1"], "needs a first metric with one value"),
        (["--adaptive", "0"], "--adaptive must be a half width above 0"),
        (["--adaptive", "1", "--shard", "0/2"], "--adaptive and --shard exclude each other"),
        (["--shard", "2/2"], "--shard must be i/n with 0 <= i < n, got '2/2'"),
        (["--chunk", "0"], "--chunk must be at least 1, got 0"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--realizations", "0"], "--realizations must be at least 1, got 0"),
        (["--methods", "random", "random"], "--methods must name one or more of random, "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    from lsajax.runs import cli

    monkeypatch.setattr(sys, "argv", ["monte_carlo", *arguments])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        cli.main(Config, monte_carlo.prepare, monte_carlo.run, None)
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and error.startswith("error: ")
    assert error.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_on_two_processes(tmp_path):
    root = str(pathlib.Path(monte_carlo.__file__).parents[1])
    arguments = "--num-users 16 --num-channels 12 --num-active 8 --fading --methods random sorted"
    arguments += " --realizations 60 --chunk 16 --workers 2 --out run"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.monte_carlo", *arguments.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert "Sorted matching" in done.stdout and "wrote results.parquet" in done.stdout
    here = run(tmp_path / "here", methods=("random", "sorted"))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "results.parquet"), here)

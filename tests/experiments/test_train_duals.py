"""Training the dual head by command: what is refused, the table, a run and its resuming."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import train_duals
from lsajax.agents import dual
from lsajax.runs.folder import BadRun


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"held_out": ("desert",)}, r"--held-out must name some of plain, fading.*: .'desert'"),
        ({"steps": 30}, "steps must be a multiple of measurements=20, got 30"),
        ({"realizations": 0}, "--realizations must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_duals.prepare(train_duals.Config(out=tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_the_table_has_the_spread_of_seeds():
    cell = {"setting": "fading", "num_channels": 9, "num_active": 4}
    rows = pd.DataFrame(
        [
            {**cell, "method": name, "training_seed": seed, "realization": r, "gap_percent": gap,
             "dual_gap_percent": np.nan if seed is None else gap / 2}
            for name, seed, gaps in (
                (train_duals.GREEDY, None, (1.0, 3.0)),
                (train_duals.DUAL, 0, (0.1, 0.3)),
                (train_duals.DUAL, 1, (0.5, 0.7)),
            )
            for r, gap in enumerate(gaps)
        ]
    )  # fmt: skip
    table = train_duals.table(rows).set_index("method")
    assert table.loc[train_duals.GREEDY, "gap_percent"] == pytest.approx(2.0)
    assert np.isnan(table.loc[train_duals.GREEDY, "gap_percent_half"])
    own = table.loc[train_duals.DUAL]
    assert own["gap_percent"] == pytest.approx(0.4) and own["seeds"] == 2
    half = stats.t.ppf(0.975, 1) * np.std([0.2, 0.6], ddof=1) / np.sqrt(2)
    assert own["gap_percent_half"] == pytest.approx(half)
    assert own["dual_gap_percent"] == pytest.approx(0.2)


@pytest.mark.slow
def test_a_run_is_resumed_to_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(train_duals, "SIZES", ((8, 10),))
    monkeypatch.setattr(train_duals, "TRAINED_ON", ("fading", "fair"))
    monkeypatch.setattr(train_duals, "HELD_OUT", ((10, 12), (12, 12)))
    config = train_duals.Config(
        seeds=2, steps=20, held_out=("fading",), realizations=2, out=tmp_path / "run",
        ship=tmp_path / "best.npz",
    )  # fmt: skip
    train_duals.run(train_duals.prepare(config))
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert len(rows) == 2 * 2 * (2 + config.seeds)
    assert (rows["gap_percent"] > -1e-4).all()
    assert (rows.loc[rows["method"] == train_duals.DUAL, "dual_gap_percent"] > -1e-4).all()
    with np.load(tmp_path / "best.npz") as stored:
        dual.unflatten(dict(stored))
    other = train_duals.prepare(dataclasses.replace(config, out=tmp_path / "other", steps=40))
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "run" / "seed-0.npz", tmp_path / "other")
    with pytest.raises(BadRun, match="was trained with other options"):
        train_duals.run(other)
    assert (tmp_path / "run" / "curves.png").exists()
    with pytest.raises(BadRun, match="holds results already"):
        train_duals.prepare(config)
    (tmp_path / "run" / "rows.parquet").unlink()  # weights are kept, rows are computed again
    (tmp_path / "run" / "seed-1.npz").unlink()
    train_duals.run(train_duals.prepare(dataclasses.replace(config, resume=True)))
    again = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    pd.testing.assert_frame_equal(rows, again)

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.results import BadRun, RunFolder
from experiments.summary import mean_interval, summarise

CONFIG = {"seed": 0, "scales": ("I", "II")}


def test_rows_survive_a_kill_after_every_append(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG, resume=False)
    folder.append([{"scale": "I", "realization": 0, "value_bps": 1.5}])
    # No farewell: the object is dropped as a killed process would drop it.
    again = RunFolder(tmp_path / "run", CONFIG, resume=True)
    assert again.has(scale="I", realization=0) and not again.has(scale="I", realization=1)
    again.append([{"scale": "I", "realization": 1, "value_bps": 2.5}])
    on_disk = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert list(on_disk["value_bps"]) == [1.5, 2.5]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"] == {"seed": 0, "scales": ["I", "II"]}
    assert record["versions"]["jax"] and record["device"]["jax"] and record["wall_s"] >= 0


def test_another_configuration_is_not_resumed(tmp_path):
    RunFolder(tmp_path, CONFIG, resume=False).append([{"a": 1}])
    with pytest.raises(BadRun, match="seed was 0, now 1"):
        RunFolder(tmp_path, {**CONFIG, "seed": 1}, resume=True)


@pytest.mark.parametrize("text", ["{}", '{"config": ', "[1]"])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadRun, match=r"run\.json cannot be read as the record of a run"):
        RunFolder(tmp_path, CONFIG, resume=True)


def test_no_row_twice(tmp_path):
    folder = RunFolder(tmp_path, CONFIG, resume=False)
    row = {"scale": "I", "method": "a", "realization": 0}
    folder.append([row])
    with pytest.raises(ValueError, match="a row is there already"):
        folder.append([row])


def test_results_are_not_overwritten_unasked(tmp_path):
    RunFolder(tmp_path, CONFIG, resume=False).append([{"a": 1}])
    with pytest.raises(BadRun, match="holds results already; give --resume"):
        RunFolder(tmp_path, CONFIG, resume=False)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRun, match="--out must be a folder that can be written"):
        RunFolder(tmp_path / "file" / "run", CONFIG, resume=False)


def test_interval_covers_at_its_rate():
    """95 % intervals of 2000 samples of 8 normals: a false alarm in 1e-4 of all keys."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        mean, half = mean_interval(pd.Series(rng.normal(3.0, 2.0, 8)))
        hits += abs(mean - 3.0) <= half
    assert stats.binomtest(hits, 2000, 0.95).pvalue > 1e-4
    assert np.isnan(mean_interval(pd.Series([1.0]))[1])


def test_summary_is_paired_by_instance():
    """Instances differ by far more than methods do: only pairing sees the difference."""
    rows = [
        {
            "scale": "I",
            "method": method,
            "realization": r,
            "value_bps": (100.0 * r + gain) * 1e6,
            "bound_bps": (100.0 * r + 10.0) * 1e6,
            "seconds": 0.1 * (r + 1),
            "raw_valid": valid,
        }
        for r in (2, 0, 1)
        for method, gain, valid in (("LLM", 8.0, r != 1), ("best", 10.0, None))
    ]
    rows[0]["value_bps"] += 0.3e6
    table = summarise(pd.DataFrame(rows), reference="LLM", paper={("I", "LLM"): 5.0}).set_index(
        "method"
    )
    difference = np.array([2.0 - 0.3, 2.0, 2.0])
    expected_half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) / np.sqrt(3)
    assert table.loc["best", "difference_mbps"] == pytest.approx(difference.mean())
    assert table.loc["best", "difference_half_mbps"] == pytest.approx(expected_half)
    gaps = 100 * difference / np.array([210.0, 10.0, 110.0])
    assert table.loc["LLM", "gap_percent"] == pytest.approx(gaps.mean())
    assert table.loc["best", "gap_percent"] == 0
    assert table.loc["LLM", "raw_valid_percent"] == pytest.approx(200 / 3)
    assert np.isnan(table.loc["best", "raw_valid_percent"])
    assert table.loc["LLM", "paper_mbps"] == 5.0
    assert table.loc["LLM", "seconds"] == pytest.approx(0.2)

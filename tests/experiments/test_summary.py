import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import tables
from experiments.summary import mean_interval, summarise


def test_interval_covers_at_its_rate():
    """95 % intervals of 2000 samples of 8 normals: a false alarm in 1e-4 of all keys."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        mean, half = mean_interval(pd.Series(rng.normal(3.0, 2.0, 8)))
        hits += abs(mean - 3.0) <= half
    assert stats.binomtest(hits, 2000, 0.95).pvalue > 1e-4
    assert np.isnan(mean_interval(pd.Series([1.0]))[1])


def rows_of(realizations=(2, 0, 1), scales=("I",), methods=("LLM", "best"), objective="throughput"):
    """Instances differ by far more than methods do: only pairing sees the difference."""
    return [
        {
            "scale": scale,
            "objective": objective,
            "method": method,
            "realization": r,
            "value": (100.0 * r + 8 + 2 * i) * 1e6,
            "bound": (100.0 * r + 10.0) * 1e6,
            "seconds": 0.1 * (r + 1),
            "status": "ok",
            "detail": "",
            "raw_valid": r != 1 if method == "LLM" else None,
        }
        for scale in scales
        for r in realizations
        for i, method in enumerate(methods)
    ]


def summary_of(rows, **options):
    options = {"reference": "LLM", "paper": {}, **options}
    return summarise(pd.DataFrame(rows), axes=["scale"], **options)


def test_summary_is_paired_by_instance():
    rows = rows_of()
    rows[0]["value"] += 0.3e6
    table = summary_of(rows, paper={("I", "LLM"): 5.0}).set_index("method")
    difference = np.array([2.0 - 0.3, 2.0, 2.0])
    expected_half = stats.t.ppf(0.975, 2) * difference.std(ddof=1) / np.sqrt(3)
    assert table.loc["best", "difference"] == pytest.approx(difference.mean())
    assert table.loc["best", "difference_half"] == pytest.approx(expected_half)
    gaps = 100 * difference / np.array([210.0, 10.0, 110.0])
    assert table.loc["LLM", "gap_percent"] == pytest.approx(gaps.mean())
    assert table.loc["best", "gap_percent"] == 0
    assert table.loc["LLM", "raw_valid_percent"] == pytest.approx(200 / 3)
    assert np.isnan(table.loc["best", "raw_valid_percent"])
    assert table.loc["LLM", "paper_mean"] == 5.0
    assert table.loc["LLM", "seconds"] == pytest.approx(0.2)


def test_a_slot_without_users_has_no_gap():
    rows = rows_of()
    for row in rows[:2]:
        row["value"] = row["bound"] = 0.0
    table = summary_of(rows).set_index("method")
    assert table.loc["best", "gap_percent"] == 0 and table.loc["best", "realizations"] == 3


def test_a_skipped_method_is_not_a_zero(capsys):
    rows = rows_of(methods=("LLM", "DQN"))
    for row in rows:
        if row["method"] == "DQN":
            row |= {"value": None, "seconds": None, "status": "skipped", "detail": "12 GiB"}
    table = summary_of(rows)
    own = table.set_index("method").loc["DQN"]
    assert np.isnan(own["mean"]) and own["skipped"] == "12 GiB"
    tables.print_table(table, axes=["scale"], title="t", reference="LLM")
    printed = capsys.readouterr().out
    assert re.search(r"DQN +N/A", printed) and "N/A: DQN: 12 GiB" in printed


def test_nothing_is_cut_at_80_columns(monkeypatch, capsys):
    names = ("LLM (code)", "LLM, repair off", "Optimum of Eq. (4)", "Sorted matching")
    table = summary_of(
        rows_of(methods=names, scales=("I", "II")),
        reference="LLM (code)",
        paper={("I", names[0]): 26545.0},
    )
    table[["mean", "mean_half"]] = 26490.0, 2543.0
    table[["difference", "difference_half"]] = -11255.0, 12000.0
    table[["gap_percent", "gap_half_percent"]] = 29.5, 33.1
    real = tables.Console
    monkeypatch.setattr(tables, "Console", lambda **_: real(width=80))
    tables.print_table(table, axes=["scale"], title="t", reference="LLM (code)", best="bound")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for word in (*names, "26490", "2543", "-11255", "12000", "29.5", "33.1", "26545"):
        assert word in printed
    assert "…" not in printed

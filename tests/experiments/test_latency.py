"""Seconds per decision, compilation and batches apart; what of them the table shows."""

import re

import numpy as np
import pandas as pd
import pytest

import llm.models
from experiments import latency, methods, small_scale
from experiments.latency import Config
from experiments.pages_latency import latency_table
from experiments.report import SHIPPED
from tests.experiments.test_scaling import KnownModel


@pytest.fixture(autouse=True)
def _few_methods(monkeypatch):
    """One of each kind: what others take to compile is theirs to test."""
    kept = (methods.RANDOM, methods.GROUPED, methods.OPTIMUM, methods.EXHAUSTIVE)
    every = small_scale.compared_methods

    def few(objective, max_assignments):
        return [m for m in every(objective, max_assignments) if m.name in kept]

    monkeypatch.setattr(small_scale, "compared_methods", few)


def run(path, **options):
    latency.run(latency.prepare(Config(sizes=("(5,5,1)",), out=path, **options)))
    return pd.read_parquet(path / "rows.parquet"), pd.read_csv(path / "summary.csv")


def test_a_run_its_stages_and_its_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llm.models, "load_model", lambda name: KnownModel())
    options = {"model": "known", "realizations": 3, "batch": 4, "train_s": 0}
    rows, summary = run(tmp_path, **options)
    by_method = summary.set_index("method")
    own = rows[rows["method"] == methods.OPTIMUM]
    # Not ==: a number may lose its last bit on the way through a CSV file.
    found = by_method.loc[methods.OPTIMUM]
    assert found["seconds"] == pytest.approx(own["seconds"].median(), rel=1e-12)
    assert found["p95_s"] == pytest.approx(own["seconds"].quantile(0.95), rel=1e-12)
    # A first call compiles: it takes longer than what it compiled. No model compiles.
    assert np.isnan(by_method.loc[methods.LLM, "compile_s"])
    solvers = by_method.drop([methods.LLM, methods.GROUPED])
    assert (solvers["compile_s"] > solvers["seconds"]).all()
    assert (solvers["batch_per_s"] > 0).all() and np.isnan(
        by_method.loc[methods.GROUPED, "batch_per_s"]
    )
    assert rows["batch_per_s"].notna().sum() == len(solvers) + 1  # of the first instance alone
    own = by_method.loc[methods.LLM]
    stages = [own[f"{stage}_s"] for stage in latency.STAGES]
    # This model does not say when its first token came.
    assert np.isnan(stages[1]) and own["decode_s"] == pytest.approx(0.02)
    assert np.nanmin(stages) >= 0
    assert methods.LLM_RAW not in by_method.index
    assert by_method.loc[methods.EXHAUSTIVE, "paper_s"] == 0.0001
    printed = capsys.readouterr().out
    assert "Stages of the language model" in printed and "4 at once" in printed
    assert (tmp_path / "latency.png").stat().st_size > 10_000
    _, again = run(tmp_path, resume=True, **options)
    pd.testing.assert_frame_equal(again, summary)


def test_stages_with_and_without_the_cache_of_prefixes(tmp_path):
    options = {"realizations": 3, "batch": 0, "train_s": 0}
    rows, summary = run(tmp_path, **options)
    assert {methods.LLM, methods.LLM_COLD} <= set(summary["method"])
    warm, cold = (rows[rows["method"] == name] for name in (methods.LLM, methods.LLM_COLD))
    # The same network and draws: only seconds may differ.
    assert list(warm["completion"]) == list(cold["completion"])
    for own in (warm, cold):
        assert (own["prefill_s"] < own["generate_s"]).all() and (own["prefill_s"] > 0).all()
        whole = sum(
            own[f"{stage}_s"] for stage in ("serialize", "generate", "parse", "execute", "repair")
        )
        np.testing.assert_allclose(own["seconds"], whole)
    by_method = summary.set_index("method")
    median = (warm["generate_s"] - warm["prefill_s"]).median()
    assert by_method.loc[methods.LLM, "decode_s"] == pytest.approx(median)


@pytest.mark.slow
def test_agents_are_trained_where_they_fit(tmp_path):
    _, summary = run(tmp_path, model="none", realizations=1, batch=4, train_s=1.0)
    own = summary.set_index("method").loc[["DQN, joint", "PPO, joint"]]
    assert (own["seconds"] > 0).all() and (own["batch_per_s"] > 0).all()
    assert list(own["paper_s"]) == [0.0012, 0.0007]


def test_what_is_too_slow_for_a_batch_is_left_out(tmp_path):
    rows, summary = run(tmp_path, model="none", realizations=1, batch=4, slowest_s=1e-9, train_s=0)
    assert "batch_per_s" not in rows or rows["batch_per_s"].isna().all()
    assert (summary["seconds"] > 0).all()


def test_the_paper_has_its_triples():
    assert latency.PAPER_S["(15,20,8)", methods.OPTIMUM] == 0.0155
    assert latency.PAPER_S["(15,20,4)", "DQN, joint"] == 0.018
    assert latency.PAPER_S["(5,5,1)", "PPO, joint"] == 0.0007
    # Exhaustive, DQN and PPO are N/A at the largest triple.
    assert len(latency.PAPER_S) == 5 * 4 - 3
    shipped = pd.read_csv(SHIPPED / "latency.csv").set_index(["size", "method"])
    own = shipped["paper_s"].dropna()
    assert own.to_dict() == latency.PAPER_S


def test_the_table_of_the_pages_has_the_papers_numbers_and_the_stages():
    table = latency_table(pd.read_csv(SHIPPED / "latency.csv"))
    by_name = {line.split(" | ")[0]: line for line in table.splitlines()}
    head = by_name["| ms"]
    assert head == "| ms | stage | (5,5,1) | (10,15,3) | (15,20,4) | (15,20,8) | I | II | III |"
    assert re.fullmatch(
        r"\| DQN, joint \| \S+ \(1.2\) \| \S+ \(10.8\) \|.*", by_name["| DQN, joint"]
    )
    assert "| N/A (1.5) | N/A |" in by_name["| PPO, joint"]
    assert re.search(r"\(7\u202f830\)", table) and "(0.1)" in by_name["| Exhaustive"]
    for stage in latency.STAGES:
        assert table.count(f" | {stage} | ") == 2  # with and without the cache of prefixes
    assert "- PPO, joint, (15,20,4): budget_s must be at least" in table


def test_the_table_of_the_pages_without_a_model():
    shipped = pd.read_csv(SHIPPED / "latency.csv")
    own = shipped[shipped["method"] == methods.OPTIMUM]
    without = own.drop(columns=[f"{stage}_s" for stage in latency.STAGES])
    assert latency_table(without) == latency_table(own)
    assert "Stages" not in latency_table(own) and "N/A" not in latency_table(own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ("IV",)}, r"--sizes must name one or more of \(5,5,1\)"),
        ({"batch": -1}, "--batch must be at least 0, got -1"),
        ({"slowest_s": 0.0}, "--slowest-s must be above 0"),
        ({"train_s": -1.0}, "--train-s must be at least 0 seconds, finite, got -1.0"),
        ({"max_assignments": 0}, "--max-assignments must be at least 1, got 0"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        latency.check(Config(**options))

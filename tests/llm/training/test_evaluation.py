"""What evaluation says of models whose answers are known."""

import types

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linear_sum_assignment

from llm.decision.helpers import bind
from llm.decision.namespace import program_data
from llm.models import Completion
from llm.training import evaluation, programs
from llm.training.evaluation import Cell

CELLS = [
    Cell("plain", "throughput", "15,20,8"),
    Cell("fading", "fair", "15,20,8"),
    Cell("fading", "coupled", "30,40,20", 2.0),
]


class Says:
    """Answers every prompt with the same programs, one per sample."""

    name, prompt_budget, max_new_tokens = "says", 4000, 1

    def __init__(self, *codes):
        self.codes, self.prompts = codes, []

    def count_tokens(self, text):
        return len(text) // 4

    def generate(self, prompts, *, num_samples, temperature, **_):
        self.prompts += prompts if temperature else []
        texts = [f"```python\n{code}```" for _ in prompts for code in self.codes[:num_samples]]
        return [Completion(text, 1, len(text), 0.0) for text in texts]


@pytest.fixture(scope="module")
def model():
    said = [programs.PROGRAMS[f] for f in ("sort_both", "assign_values", "random")]
    return Says(*said, "action = {users[0]: -5}\n")


@pytest.fixture(scope="module")
def table(box, model):
    return evaluation.evaluate(model, box, CELLS, realizations=3, num_samples=4, seed=1)


@pytest.fixture(scope="module")
def samples(table):
    return table[table["temperature"] == 1].reset_index(drop=True)


def test_rows_and_prompts(model, table, samples):
    assert len(samples) == len(model.prompts) * 4 == 3 * 3 * 4
    greedy = table[table["temperature"] == 0]
    assert len(greedy) == 9 and set(greedy["family"]) == {"sort_both"}
    assert "Time budget: 2 s" in model.prompts[-1]
    assert len(set(model.prompts)) == 9
    assert list(samples["sample"][:4]) == [0, 1, 2, 3]
    assert list(samples["family"][:3]) == ["sort_both", "assign_values", "random"]


def test_validity_and_quality_are_apart(samples):
    table = samples
    assert table.groupby("sample")["valid"].mean().tolist() == [1, 1, 1, 0]
    assert table["gap"].isna().equals(~table["valid"])
    assert not table[~table["valid"]]["right"].any()
    assert (table["total"] > 0.7).equals(table["valid"])


def test_the_gap_is_to_the_optimum(samples):
    slots = evaluation.held_out(CELLS[1], 3, 1)
    of_cell = samples[samples["setting"] == "fading"].query("objective == 'fair'")
    for r, inst in enumerate(slots):
        data = program_data(inst)
        worth = bind(data)["values"]()
        best = worth[linear_sum_assignment(worth, maximize=True)].sum()
        rows, cols = np.argsort(-data["power_w"].mean(1)), np.argsort(-data["bandwidth_hz"])
        sort = worth[rows, cols[: len(rows)]].sum()
        own = of_cell[of_cell["realization"] == r]
        assert own["gap"].iloc[0] == pytest.approx(1 - sort / best, abs=1e-5)
        assert own["gap"].iloc[1] == pytest.approx(0, abs=1e-5)


def test_what_is_right_is_measured(box, samples):
    right = evaluation.right_families(box, CELLS, realizations=3, seed=1)
    assert set(right[CELLS[0]]) == {"sort_both", "greedy", "assign_rates", "assign_values"}
    assert "assign_values" in right[CELLS[1]] and "sort_both" not in right[CELLS[1]]
    assert "improve" in right[CELLS[2]] and "sort_both" not in right[CELLS[2]]
    for cell, own in zip(CELLS, (samples[k : k + 12] for k in (0, 12, 24)), strict=True):
        expected = own["valid"] & own["family"].isin(right[cell])
        assert own["right"].equals(expected)


@pytest.mark.slow
def test_a_short_budget_makes_the_cheap_program_right(box):
    """At 1200 users a LAP on all pairs takes longer than that; sorting does not."""
    found = [
        evaluation.right_families(
            box, [Cell("fading", "throughput", "1500,1500,1200", seconds)], realizations=1
        ).popitem()[1]
        for seconds in (0.04, 5.0)
    ]
    assert found == [("sort_both",), ("assign_rates", "assign_values")]


def test_held_out_instances_depend_on_the_cell_but_not_on_its_time(box):
    short = Cell("plain", "throughput", "15,20,8", 0.5)
    a, b = evaluation.held_out(CELLS[0], 2, 1), evaluation.held_out(short, 2, 1)
    assert all(np.array_equal(x.position_m, y.position_m) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0].position_m, a[1].position_m)


def test_summary(samples):
    summary = evaluation.summarise(samples)
    assert list(summary["samples"]) == [12, 12, 12]
    assert list(summary["instances"]) == [3, 3, 3]
    assert summary["valid"].tolist() == [0.75] * 3
    first = summary.iloc[0]
    own = samples[:12].dropna(subset="gap").groupby("realization")["gap"].mean()
    low, high = stats.t.interval(0.95, 2, own.mean(), own.sem())
    assert first["gap"] == pytest.approx(own.mean())
    assert first["gap_half"] == pytest.approx((high - low) / 2)
    assert first["programs"] == 4


@pytest.mark.parametrize(("share", "trials"), [(0.0, 5), (0.3, 10), (1.0, 40)])
def test_wilson(share, trials):
    interval = stats.binomtest(round(share * trials), trials).proportion_ci(method="wilson")
    assert evaluation.wilson(share, trials) == pytest.approx((interval.low, interval.high))


def test_wilsons_interval_holds_the_share_at_both_ends():
    for trials in range(1, 100):
        assert evaluation.wilson(0.0, trials)[0] == 0.0 and evaluation.wilson(1.0, trials)[1] == 1.0


def test_bad_counts(box, model):
    with pytest.raises(ValueError, match="realizations must be at least 1"):
        evaluation.evaluate(model, box, CELLS, realizations=0)


def test_where_no_program_ends_in_time_none_is_right(box, monkeypatch):
    def score(texts, *_, **__):
        return types.SimpleNamespace(valid=np.zeros(len(texts), bool), gain=np.ones(len(texts)))

    monkeypatch.setattr(evaluation, "score", score)
    assert evaluation.right_families(box, CELLS[:1], realizations=1) == {CELLS[0]: ()}

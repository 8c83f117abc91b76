"""Intervals of shares stay within 0 and 100 %, and none has no width."""

import math

import pandas as pd
import pytest

from experiments import ablation_tables, pages_sentences, pages_training, report_leads, shares
from experiments.findings_rows import RESULTS


def row(percent, half=math.nan, seeds=1, answers=8):
    return {
        "raw_valid_percent": percent,
        "raw_valid_half_percent": half,
        "seeds": seeds,
        "realizations": answers,
    }


@pytest.mark.parametrize(
    ("of", "text", "counted"),
    [
        (row(87.5, 53.8, seeds=3), "87.5 (34 to 100)", "3 seeds"),
        (row(10.0, 30.0, seeds=3), "10 (0 to 40)", "3 seeds"),
        (row(62.5), "62.5 (31 to 86)", "8 answers"),
        (row(100.0, 0.0, seeds=3), "100 (86 to 100)", "24 answers"),
        (row(0.0, seeds=1, answers=4), "0 (0 to 49)", "4 answers"),
        (row(math.nan, seeds=math.nan), "–", "–"),
    ],
)
def test_a_share_with_its_interval(of, text, counted):
    found = shares.valid(of)
    assert found.text() == text and found.counted == counted


def test_a_summary_without_seeds_has_no_half_widths():
    own = row(62.5)
    del own["raw_valid_half_percent"]
    assert shares.valid(own).text(" %") == "62.5 % (31 to 86)"


def test_every_share_of_the_ablation_has_an_interval_of_possible_shares(tmp_path):
    summary = pd.read_csv(RESULTS / "ablation.csv")
    own = summary[summary["raw_valid_percent"].notna()]
    for found in map(shares.valid, own.to_dict("records")):
        assert 0 <= found.low <= found.percent <= found.high <= 100 and found.low < found.high
    table = pages_training.ablation_table(summary)
    assert "| Before GRPO | 81.2 (57 to 93) | 16 answers |" in table
    assert "| 87.5 (34 to 100) | 3 seeds |" in table
    summary = summary.assign(place=summary["setting"] + ", " + summary["size"])
    lead = report_leads.of_ablation(summary)
    assert "Before GRPO 81.2 % (57 to 93), 16 answers" in lead
    ablation_tables.figure(summary, tmp_path / "ablation")
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


def test_what_is_lost_and_the_lines_of_a_prompt_are_told():
    lines = pages_training.adaptation_table(pd.read_csv(RESULTS / "adaptation.csv")).splitlines()
    head = [name.strip() for name in lines[0].strip("|").split("|")]

    def cell(move, method, column):
        (found,) = [line for line in lines if line.startswith(f"| {move} | {method} |")]
        return found.strip("|").split("|")[head.index(column)].strip()

    assert cell("all at once", "LLM (code)", "prompt lines") == "4"
    assert cell("all at once", "LLM (code)", "lines") == "–"
    assert cell("all at once", "Sort both", "lines") == "15"
    assert cell("all at once", "Sort both", "prompt lines") == "–"
    assert cell("fading", "Sort both", "lost, %") == "15.9 ± 6.2"
    assert cell("scale I", "PPO, sequential", "lost, %") == "-0.321 ± 0.014"
    assert cell("larger", "PPO, joint", "lost, %") == "–"


def test_the_share_that_local_search_wins_back():
    gaps = {"Optimum of Eq. (4)": (2.0, 4.0), "Local search": (0.5, 1.0), "Random": (20.0, 20.0)}
    made = [
        {"scale": scale, "method": name, "gap_percent": gap}
        for name, both in gaps.items()
        for scale, gap in zip(("I", "II"), both, strict=True)
    ]
    assert "share of the gap: 75 % (I), 75 % (II)" in pages_sentences.won_back(pd.DataFrame(made))

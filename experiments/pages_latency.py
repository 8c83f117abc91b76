"""Tables IV and VI in docs/results.md: seconds per decision; what prompts and levels are worth."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from experiments.context import ALL
from experiments.context_tables import of_all
from experiments.latency import STAGES
from experiments.methods import LLM, LLM_RAW
from experiments.report_numbers import interval, number


def latency_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the study of latency: methods, then the model's stages, by size."""
    places = list(summary["size"].unique())
    names = list(summary["method"].unique())
    cells = {(row["size"], row["method"]): row for row in summary.to_dict("records")}
    found = [[name, *(_median(cells.get((place, name))) for place in places)] for name in names]
    text = _table(["ms", *places], found)
    last = summary[(summary["size"] == places[-1]) & summary["seconds"].notna()]
    text += f"\nAt {places[-1]}, with compilation apart, and many decisions at once:\n\n"
    text += _table(
        ["", "median, ms", "95 %, ms", "compilation, s", "per s, at once"],
        [
            [
                row["method"],
                _ms(row["seconds"]),
                _ms(row["p95_s"]),
                _or_dash(row["compile_s"], ".2f"),
                _or_dash(row["batch_per_s"], ".2g" if row["batch_per_s"] < 10 else ".0f"),
            ]
            for row in last.to_dict("records")
        ],
    )
    stages = [stage for stage in STAGES if f"{stage}_s" in summary]
    asked = summary[summary[[f"{stage}_s" for stage in stages]].notna().any(axis=1)]
    if len(asked):
        rows = [
            [method, stage, *map(_ms, own[f"{stage}_s"].reindex(places))]
            for method, own in asked.set_index("size").groupby("method", sort=False)
            for stage in stages
        ]
        text += "\nStages of the language model, medians:\n\n"
        text += _table(["ms", "stage", *places], rows)
    return text + _reasons(summary, lambda row: f"{row['method']}, {row['size']}")


def context_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the study of prompts: budgets and details, repaired and not."""
    summary = summary[summary["prompt_level"] == ALL]
    head = ["budget", "detail", "tokens", "shared, %", summary["unit"].iloc[0], "gap, %"]
    head += ["gap, repair off, %", "ms"]
    axes = ["prompt_budget", "prompt_detail"]
    raw = summary[summary["method"] == LLM_RAW].set_index(axes)
    own = summary[summary["method"] == LLM]
    rows = []
    for row in own.to_dict("records"):
        other = raw.loc[(row["prompt_budget"], row["prompt_detail"])]
        rows.append(
            [
                str(row["prompt_budget"]),
                f"{row['prompt_detail']:.2g}{of_all(row, summary)}",
                _or_dash(row["prompt_tokens"], ".0f"),
                _or_dash(row["shared_percent"], ".0f"),
                _beside(_or_na(row["mean"], ".0f"), row["paper_mean"], ".0f"),
                interval(row["gap_percent"], row["gap_half_percent"]),
                interval(other["gap_percent"], other["gap_half_percent"]),
                _beside(_or_na(1e3 * row["seconds"], ".0f"), 1e3 * row["paper_s"], ".0f"),
            ]
        )
    where = "budget {prompt_budget}, detail {prompt_detail:.2g}"
    return _table(head, rows) + _reasons(own, lambda row: where.format(**row) + _some(row, summary))


def levels_table(summary: pd.DataFrame) -> str:
    """Markdown of the same: prompts that end after each level of detail, and what it adds."""
    summary = summary[summary["prompt_level"] != ALL]
    own = summary[summary["method"] == LLM]
    raw = summary[summary["method"] == LLM_RAW].set_index("prompt_level")
    head = [f"{own['prompt_budget'].iloc[0]} tokens at most, up to", "tokens", "shared, %"]
    head += ["gap, %", "gap, repair off, %", "adds, repair off, %", "valid, %", "ms"]
    rows = []
    for row in own.to_dict("records"):
        other = raw.loc[row["prompt_level"]]
        rows.append(
            [
                row["prompt_level"] + of_all(row, summary),
                _or_dash(row["prompt_tokens"], ".0f"),
                _or_dash(row["shared_percent"], ".0f"),
                interval(row["gap_percent"], row["gap_half_percent"]),
                interval(other["gap_percent"], other["gap_half_percent"]),
                interval(other["level_percent"], other["level_half_percent"]),
                _or_dash(row["raw_valid_percent"], ".0f"),
                _or_na(1e3 * row["seconds"], ".0f"),
            ]
        )
    return _table(head, rows) + _reasons(own, lambda row: row["prompt_level"] + _some(row, summary))


def _some(row: dict[str, Any], summary: pd.DataFrame) -> str:
    return ", the others" if of_all(row, summary) else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]]) + "\n"


def _reasons(summary: pd.DataFrame, where: Callable[[dict[str, Any]], str]) -> str:
    """Why a method has no number, a line each."""
    listed = [
        f"- {where(row)}: {row['skipped']}\n"
        for row in summary.dropna(subset="skipped").to_dict("records")
    ]
    return "\nN/A:\n\n" + "".join(listed) if listed else ""


def _ms(seconds: float) -> str:
    return number(1e3 * seconds, 3 if seconds >= 1e-2 else 2)


def _median(row: dict[str, Any] | None) -> str:
    """Milliseconds of a method at a size, the paper's in brackets; N/A where it was skipped."""
    if row is None:
        return "–"
    own = "N/A" if pd.isna(row["seconds"]) else _ms(row["seconds"])
    return own if pd.isna(row["paper_s"]) else f"{own} ({_ms(row['paper_s'])})"


def _beside(shown: str, paper: float, form: str) -> str:
    return shown if pd.isna(paper) else f"{shown} ({paper:{form}})"


def _or_na(value: float, form: str) -> str:
    return "N/A" if pd.isna(value) else f"{value:{form}}"


def _or_dash(value: float, form: str) -> str:
    return "–" if pd.isna(value) else f"{value:{form}}"

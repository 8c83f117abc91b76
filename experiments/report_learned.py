"""What trainings of models taught, in the report: answers before and after, from docs/results."""

import math
from typing import Any

import pandas as pd

from experiments import code_model, learning
from experiments.report_charts import dots
from experiments.report_numbers import number
from experiments.report_parts import Figure, View
from experiments.summary import span

_WHAT = {
    "valid": ("Validity", "Valid answers [%]"),
    "right": ("Choice", "Answers of a right family [%]"),
    "valid_gap": ("Value, repair off", "Gap of valid answers [%]"),
}
_RIGHT = (
    "Right: valid, and of a family that comes within 1 % of the way from random to best. "
    "Repair is off, instances are held out; in brackets are 95 % intervals"
)


def _measured(name: str, percent: float, ends: tuple[float, float] | None) -> dict[str, Any]:
    """A value in percent, where its interval ends, and both as a text."""
    value = round(max(percent, 0.0), 4)  # an optimum but for rounding
    low, high = (round(end, 4) for end in ends or (value, value))
    text = number(value, 3)
    if high > low:
        text += f" ({number(low, 2)} to {number(high, 2)})"
    found = {"": value, "_low": low, "_high": high, "_label": text}
    return {f"{name}_percent{part}": what for part, what in found.items()}


def of_groups(table: pd.DataFrame) -> pd.DataFrame:
    """A row per group of cells, way to answer, and before or after, of learning_embedded.csv."""
    rows = []
    for cells, way, means in learning.by_group(table):
        runs = means.drop(learning.BASE)
        for method, own in (("before GRPO", means.loc[[learning.BASE]]), ("after GRPO", runs)):
            row: dict[str, Any] = {"cells": cells, "answers": way, "method": method}
            for name, most in learning.MOST.items():
                shown = "valid_gap" if name == "gap" else name
                row |= _measured(shown, own[name].mean(), span(own[name], most))
            rows.append(row)
    return pd.DataFrame(rows)


def of_models(table: pd.DataFrame) -> pd.DataFrame:
    """A row per way to answer and model, over all cells, of code_model.csv."""
    own = table[table["setting"] == code_model.ALL].sort_values("temperature", kind="stable")
    rows = []
    for found in own.to_dict("records"):
        way = "sampled" if found["temperature"] > 0 else "greedy"
        row: dict[str, Any] = {"answers": way, "method": found["model"]}
        for name in ("valid", "right"):
            ends = 100 * found[f"{name}_low"], 100 * found[f"{name}_high"]
            row |= _measured(name, 100 * found[name], ends)
        gap, half = 100 * found["gap"], 100 * found["gap_half"]
        row |= _measured(
            "valid_gap", gap, None if math.isnan(half) else (max(gap - half, 0.0), gap + half)
        )
        rows.append({**row, "cut_off_percent": 100 * found["truncated"]})
    return pd.DataFrame(rows)


def _groups_lead(table: pd.DataFrame) -> str:
    parts = []
    count = table["run"].nunique() - 1
    for cells, _, means in learning.by_group(table, ["sampled"]):
        right = means["right"]
        after = right.drop(learning.BASE)
        parts.append(f"{cells} {learning.change(right.loc[learning.BASE], after, 100.0)} %")
    return (
        f"Sampled answers of a right family, before → after GRPO, {count} runs: {'; '.join(parts)}."
    )


def _models_lead(table: pd.DataFrame) -> str:
    own = of_models(table)
    own = own[own["answers"] == "sampled"]
    parts = [
        f"{row['method']} {row['valid_percent_label']} and {row['right_percent_label']} %"
        for row in own.to_dict("records")
    ]
    return f"Sampled answers that are valid, and of a right family: {'; '.join(parts)}."


def _figures(own: pd.DataFrame, of: str) -> list[Figure]:
    """Validity, choice and gap; a menu over the ways to answer, which are their places."""
    own = own.assign(place=own["answers"])
    return [
        dots(
            own,
            title=title,
            what=what,
            value=f"{name}_percent",
            low=f"{name}_percent_low",
            high=f"{name}_percent_high",
            label=f"{name}_percent_label",
            where="Answers",
            of=of,
        )
        for name, (title, what) in _WHAT.items()
    ]


def _groups_figures(table: pd.DataFrame) -> list[Figure]:
    own = of_groups(table)
    when = own["method"].str.removesuffix(" GRPO")
    return _figures(own.assign(method=when + ", " + own["cells"]), "Group")


_SHARES = ("temperature", "valid", "right", "gap")

LEARNED: dict[str, View] = {
    "learning_embedded": View(
        "What is learned",
        "The embedded model, which is no code model, before and after GRPO; means over groups of "
        f"cells, sampled at temperature 1. {_RIGHT} over the runs; before them there is one model.",
        _groups_lead,
        _groups_figures,
        of_groups,
        axes=(),
        own=("group", "run", *_SHARES),
    ),
    "code_model": View(
        "A real code model",
        "Qwen2.5-Coder-0.5B-Instruct before and after training, one seed of each kind. "
        f"{_RIGHT} with instances as trials.",
        _models_lead,
        lambda table: _figures(of_models(table), "Model"),
        of_models,
        axes=(),
        own=("model", "setting", *_SHARES, "valid_low", "right_low", "gap_half", "truncated"),
    ),
}
"""File of docs/results -> how it is shown."""

"""Figures of the studies in the report: what of a summary is drawn, and how it is labelled."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from experiments import context, latency
from experiments import report_leads as leads
from experiments.report_charts import dots, grid, stack
from experiments.report_lines import against_time, lines
from experiments.report_numbers import number
from experiments.report_parts import Figure
from experiments.report_tables import SPELLED, axes_of, of_axis


def values_and_time(table: pd.DataFrame) -> list[Figure]:
    """Mean by method beside the paper's, and the gap against seconds."""
    axis = axes_of(table)[0]
    unit = table["unit"].iloc[0]
    found = [
        dots(
            table,
            title="Value and the paper's number"
            if table["paper_mean"].notna().any()
            else "Value by method",
            what=f"Mean [{unit}]",
            value="mean",
            low="mean_low",
            high="mean_high",
            label="mean_label",
            where=axis.capitalize(),
            paper="paper_mean",
        )
    ]
    if table["gap_percent"].notna().any():
        shown = table.assign(gap_label=table["gap_percent_label"])
        found.append(against_time(shown, best=leads.best(table), where=axis.capitalize()))
    return found


def choice_figures(table: pd.DataFrame) -> list[Figure]:
    """The gaps of what is there in time, goals and settings by methods."""
    table = table.copy()
    in_time = table["in_time"].astype(bool) & table["skipped"].isna()
    gap = table["gap_percent"].clip(lower=0)
    late = table["skipped"].notna().map({True: "N/A", False: "late"})
    table["text"] = gap.map(lambda g: f"{g:.2f}" if g < 10 else f"{g:.0f}").where(in_time, late)
    table["gap"] = gap.where(in_time)
    table["line"] = table["goal"] + ", " + table["setting"]
    table["place"] = table["deadline_s"].map("{:g} s".format)
    ordered = table.sort_values(
        "goal", key=lambda g: g.map(_order_of(table["goal"])), kind="stable"
    )
    return [grid(ordered, title="Gap by goal and setting", where="Due in")]


def _order_of(column: pd.Series) -> Mapping[Any, int]:
    return {name: i for i, name in enumerate(column.unique())}


def _gaps(shown: pd.DataFrame, best: str, *, title: str, where: str) -> Figure:
    """Gaps to what is best, with their intervals, by place and method."""
    return dots(
        shown,
        title=title,
        what=f"Gap to {best} [%]",
        value="gap_percent",
        low="gap_percent_low",
        high="gap_percent_high",
        label="gap_percent_label",
        where=where,
    )


def agents_figures(table: pd.DataFrame) -> list[Figure]:
    """The gaps of agents, their seeds taken together, and of what they are compared with."""
    own = leads.over_seeds(table)
    shown = own[~own["method"].isin(("Random", "Sorted matching", "Exact optimum"))]
    return [_gaps(shown, leads.best(table), title="Gap by method", where="Size")]


def latency_figures(table: pd.DataFrame) -> list[Figure]:
    """Seconds of each method; where a language model was asked, its stages."""
    shown = table.assign(label=[f"{number(s, 3)} s" for s in table["seconds"]])
    found = [
        dots(
            shown,
            title="Seconds per decision, up to the 95 % quantile",
            what="Median [s]",
            value="seconds",
            low="seconds",
            high="p95_s",
            label="label",
            where="Size",
            paper="paper_s",
            log=True,
            spread="with rules up to the 95 % quantile",
        )
    ]
    stages = {f"{stage}_s": stage.capitalize() for stage in latency.STAGES}
    stages = {column: name for column, name in stages.items() if column in table}
    if stages and table[[*stages]].notna().any(axis=None):
        found.append(
            stack(
                table,
                title="Stages of the language model",
                what="Median of each stage",
                stages=stages,
                where="Size",
            )
        )
    return found


def sweep(
    x: str, x_title: str, what: str, value: str, half: str, *, over_time: bool = False
) -> Callable[..., list[Figure]]:
    """Figures of a study whose axis `x` is a number; the menu is over the others.

    Args:
        x: the axis.
        x_title: what it is, with its unit.
        what: is measured, with its unit.
        value: column of the values.
        half: column of half the interval's width.
        over_time: see `report_lines.lines`.
    """

    def figures(table: pd.DataFrame) -> list[Figure]:
        rest = [name for name in axes_of(table) if name != x]
        place = [", ".join(of_axis(a, row[a]) for a in rest) for row in table.to_dict("records")]
        return [
            lines(
                table.assign(place=place),
                title=what,
                x=x,
                x_title=x_title,
                what=what,
                value=value,
                half=half,
                label=f"{value}_label",
                where=", ".join(SPELLED.get(a, a) for a in rest).capitalize() or "All",
                over_time=over_time,
            )
        ]

    return figures


def context_figures(table: pd.DataFrame) -> list[Figure]:
    """Gap over the budget by detail; where prompts were cut after levels, gap by level."""
    levels = table["prompt_level"] != context.ALL
    over_budget = sweep(
        "prompt_budget", "Prompt budget [tokens]", "Gap [%]", "gap_percent", "gap_half_percent"
    )
    found = over_budget(table[~levels])
    own = table[levels & table["gap_percent"].notna()]
    if len(own):
        found.append(
            _gaps(
                own.assign(place=own["prompt_level"]),
                leads.best(table),
                title="Gap by level",
                where="Last level of the prompt",
            )
        )
    return found

"""What the study of prompts makes of its rows: summary, printed tables, figure."""

import itertools
import math
import pathlib
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments import methods, tables
from experiments.context import ALL, AXES
from experiments.summary import mean_interval, summarise
from experiments.tables import Column

if TYPE_CHECKING:
    from experiments.context import Config
    from experiments.study import Study

PAPER_MBPS = {1024: 36254.0, 2048: 41891.0, 4096: 37158.0}
PAPER_S = {1024: 4.63, 2048: 7.46, 4096: 16.32}
"""Table VI of the paper, by budget; its prompts use all of it, as detail 1 does here."""

_ASKED = (methods.LLM, methods.LLM_RAW)
_MORE = (
    "detail_percent",
    "detail_half_percent",
    "level_percent",
    "level_half_percent",
    "paper_mean",
    "paper_s",
)


def table(config: "Config", study: "Study", rows: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and method: of `summarise`, with the prompt's tokens and what detail adds.

    `detail_percent` is the paired difference to the least detail of the same budget, in percent of
    the exact optimum or bound; `level_percent` that to the level before, of those in the prompts.
    """
    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    share = rows.set_index([*AXES, "method", "realization"]).sort_index()
    share = share.eval("100 * value / bound")
    bases = _bases(config, summary)
    shown = (config.setting, config.objective, config.size) == ("plain", "throughput", "II")
    more = []
    for row in summary.to_dict("records"):
        budget, detail, level = place = tuple(row[name] for name in AXES)
        found = dict.fromkeys(_MORE, math.nan)
        if place in bases:
            own, base = (share[(*at, row["method"])] for at in (place, bases[place]))
            worth = mean_interval((own - base).dropna())
            of = "detail" if level == ALL else "level"
            found |= zip((f"{of}_percent", f"{of}_half_percent"), worth, strict=True)
        whole = level == ALL and detail == max(config.details)
        if shown and whole and row["method"] == methods.LLM and budget in PAPER_S:
            found |= {"paper_mean": PAPER_MBPS[budget], "paper_s": PAPER_S[budget]}
        more.append(found)
    summary = summary.assign(**{name: [found[name] for found in more] for name in _MORE})
    return _with_tokens(summary, rows)


def _bases(config: "Config", summary: pd.DataFrame) -> dict[tuple, tuple]:
    """Place -> the one that it is compared with, as far as the model answered there."""
    asked = summary[(summary["method"] == methods.LLM) & (summary["realizations"] > 0)]
    places = [tuple(place) for place in asked[list(AXES)].itertuples(index=False)]
    least = min(config.details)
    found = {}
    for budget, detail, level in places:
        base = (budget, least, ALL)
        if level == ALL and detail != least and base in places:
            found[budget, detail, level] = base
    levels = [place for place in places if place[-1] != ALL]
    return found | {own: before for before, own in itertools.pairwise(levels)}


def _with_tokens(summary: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """With medians of the prompt's tokens, and the share of them that slots have in common."""
    names = ["prompt_tokens", "static_tokens"]
    if names[0] not in rows:  # no prompt fitted
        return summary.assign(prompt_tokens=math.nan, shared_percent=math.nan)
    about = rows[rows["method"] == methods.LLM].groupby(list(AXES))[names].median()
    found = summary[list(AXES)].join(about, on=list(AXES))[names]
    found = found.where(summary["method"].isin(_ASKED))
    shared = 100 * found["static_tokens"] / found["prompt_tokens"]
    return summary.assign(prompt_tokens=found["prompt_tokens"], shared_percent=shared)


def print_tables(config: "Config", summary: pd.DataFrame) -> None:
    """Value, gap, latency and tokens by budget and detail, then by level."""
    best = "bound" if config.objective == "coupled" else "optimum"
    others = summary[~summary["method"].isin(_ASKED)]
    gaps = others.groupby("method", sort=False)["gap_percent"].first()
    without = ", ".join(f"{name} {gap:.2f} %" for name, gap in gaps.items())
    what = f"at size {config.size}, setting {config.setting}, model {config.model}"
    adds = (
        "Repair off: the gap of the model's own answers, where one that fails is worth nothing. "
        "{} adds: what it adds to their value beside {}, in percent of the "
        f"{best}, on the same instances."
    )
    _print(
        config,
        summary[summary["prompt_level"] == ALL],
        ("Detail", "detail_percent", "detail_half_percent"),
        title=f"Prompts {what}",
        named="detail {prompt_detail:.3g}",
        notes=[
            adds.format("Detail", "the least detail of the same budget")
            + " Shared: of the prompt's tokens, by all slots of the setting.",
            f"Gaps without a model: {without}.",
        ],
    )
    levels = summary[summary["prompt_level"] != ALL]
    if len(levels):
        _print(
            config,
            levels,
            ("Level", "level_percent", "level_half_percent"),
            title=f"Levels of detail {what}",
            named="up to {prompt_level}",
            notes=[adds.format("Level", "the level before it")],
        )


def of_all(row: dict[str, Any], summary: pd.DataFrame) -> str:
    """How many of the instances a row is of, where some had no answer; else nothing."""
    own, every = row["realizations"], summary["realizations"].max()
    return f", {own} of {every}" if 0 < own < every else ""


def _print(
    config: "Config",
    summary: pd.DataFrame,
    adds: tuple[str, str, str],
    *,
    title: str,
    named: str,
    notes: list[str],
) -> None:
    raw = summary[summary["method"] == methods.LLM_RAW].reset_index(drop=True)
    own = summary[summary["method"] == methods.LLM].reset_index(drop=True)
    what, value, half = adds
    shown = own.assign(
        method=[named.format(**row) + of_all(row, summary) for row in own.to_dict("records")],
        raw_gap=raw["gap_percent"],
        raw_gap_half=raw["gap_half_percent"],
        adds=raw[value],
        adds_half=raw[half],
        ms=1e3 * own["seconds"],
        paper_ms=1e3 * own["paper_s"],
    )
    places = 2 if config.objective == "fair" else 0
    best = "bound" if config.objective == "coupled" else "optimum"
    tables.print_columns(
        shown,
        axes=AXES[:1],
        title=title,
        columns=[
            Column("Mean", "mean", None, f".{places}f", f".{places or 1}f"),
            Column(f"Gap to\n{best}, %", "gap_percent", None, ".1f", ".2f"),
            Column("Repair\noff, %", "raw_gap", "raw_gap_half", ".1f", ".2f"),
            Column(f"{what}\nadds, %", "adds", "adds_half", "+.1f", "+.2f"),
            Column("Valid,\n%", "raw_valid_percent", None, ".0f", ".0f"),
            Column("ms", "ms", None, ".0f", ".2g"),
            Column("Tokens", "prompt_tokens", None, ".0f", ".0f"),
            Column("Shared,\n%", "shared_percent", None, ".0f", ".0f"),
            Column("Paper", "paper_mean", None, ".0f", ".0f"),
            Column("Paper,\nms", "paper_ms", None, ".0f", ".0f"),
        ],
        notes=notes,
    )


def figure(summary: pd.DataFrame, stem: pathlib.Path) -> None:
    """Gap of the model's own answers and seconds by budget, a line per detail; gap by level."""
    from experiments import plotting

    # A mean of few is of other instances than those beside it.
    there = summary[2 * summary["realizations"] > summary["realizations"].max()]
    grid = there[(there["method"] == methods.LLM_RAW) & (there["prompt_level"] == ALL)]
    grid = grid.assign(method=grid["prompt_detail"].map("detail {:.3g}".format))
    names = list(grid["method"].unique())
    levels = there[there["method"].isin(_ASKED) & (there["prompt_level"] != ALL)]
    budgets = list(summary.loc[summary["prompt_level"] == ALL, "prompt_budget"].unique())
    with plotting.figure(stem, columns=3 if len(levels) else 2) as (left, right, *more):
        shown = grid.assign(mean=grid["gap_percent"], half=grid["gap_half_percent"])
        plotting.sweep_panel(left, shown, "prompt_budget", "Gap, repair off [%]", order=names)
        shown = grid.assign(mean=grid["seconds"], half=float("nan"))
        plotting.sweep_panel(
            right, shown, "prompt_budget", "Seconds per decision (median)", order=names
        )
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(budgets, budgets)
            axes.set_xlabel("Prompt budget [tokens]")
            axes.set_ylim(bottom=0)
        left.set_ylim(top=105)
        for axes in more:
            shown = levels.assign(mean=levels["gap_percent"], half=levels["gap_half_percent"])
            plotting.sweep_panel(axes, shown, "prompt_level", "Gap [%]", order=[*names, *_ASKED])
            axes.set_xlabel(f"Last level, {levels['prompt_budget'].iloc[0]} tokens at most")
            axes.set_ylim(0, 105)

"""Summary, printed table and figure of the study of adaptation."""

import math
import pathlib
from collections.abc import Iterator

import pandas as pd

from experiments import methods, plotting, tables
from experiments.adaptation import HOME, Config
from experiments.adaptation_methods import BEST, RETRAINED, SOURCES, lines_changed
from experiments.study import Study
from experiments.summary import mean_interval, summarise
from experiments.tables import Column
from llm.training.programs import PROGRAMS

_NOTHING = 0.01  # percent of the best that are no loss
_COSTS = ("adapt_s", "adapt_samples", "lines_changed", "prompt_lines", "retrained")


def table(study: Study, rows: pd.DataFrame) -> pd.DataFrame:
    """A row per move and method, as it came from home: what it loses, and what adapting it costs.

    `home_gap_percent` is that before the move; `made_gap_percent` that of the method once it is
    adapted: of a program and of a language model the best program, of an agent the one that was
    trained there, of a search itself. `lost_percent` is the paired difference of the two, in
    percent of the exact optimum or bound.
    """
    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    share = rows.set_index(["move", "method", "realization"]).eval("100 * value / bound")
    share = share.sort_index()
    by_method = rows.groupby(["move", "method"])
    costs = {name: by_method[name].first() for name in _COSTS if name in rows}
    gaps = summary.set_index(["move", "method"])["gap_percent"]
    why = summary.set_index(["move", "method"])["skipped"]
    best = rows[rows["method"] == BEST].groupby("move")["completion"].first()
    own_way = {methods.LLM, methods.LLM_RAW, *SOURCES}
    made = []
    for row in summary.to_dict("records"):
        move, method = row["move"], row["method"]
        if method.endswith(RETRAINED):
            continue  # it stands beside the one from home
        retrained = f"{method}{RETRAINED}"
        adapted = BEST if method in own_way else method
        adapted = retrained if (move, retrained) in gaps else adapted
        lost = (share[move, adapted] - share[move, method]).dropna()
        found = {name: values.get((move, method)) for name, values in costs.items()}
        mean, half = mean_interval(lost) if len(lost) else (math.nan, math.nan)
        if method in SOURCES:
            # A program that is as good as the best one stays as it is.
            lines = lines_changed(PROGRAMS[SOURCES[method]], best[move])
            found["lines_changed"] = lines if mean > _NOTHING else 0
        if adapted == retrained:
            found = {name: values.get((move, retrained)) for name, values in costs.items()}
            if isinstance(why[move, retrained], str) and isinstance(row["skipped"], str):
                row["skipped"] = f"{row['skipped']}; trained there: {why[move, retrained]}"
        row |= {
            "home_gap_percent": gaps.get((HOME, method), math.nan),
            "made_gap_percent": gaps[move, adapted],
            "lost_percent": mean,
            "lost_half_percent": half,
        }
        made.append(row | found)
    return pd.DataFrame(made).drop(columns=["difference", "difference_half", "paper_mean"])


def print_table(config: Config, summary: pd.DataFrame) -> None:
    """Gaps at home, moved and adapted, and what adapting cost."""
    for name in _COSTS:
        if name not in summary:
            summary = summary.assign(**{name: math.nan})
    shown = summary.assign(
        mean=summary["gap_percent"],  # where N/A stands for a method that was skipped
        mean_half=summary["gap_half_percent"],
        ms=1e3 * summary["seconds"],
        lines_changed=summary["lines_changed"].astype(float),
        prompt_lines=summary["prompt_lines"].astype(float),
        adapt_samples=summary["adapt_samples"].astype(float),
    )
    tables.print_columns(
        shown,
        axes=["move"],
        title=f"Moved from home, {config.model}, seed {config.seed}",
        columns=[
            Column("Home,\n%", "home_gap_percent", None, ".1f", ".2f"),
            Column("Moved, %", "mean", "mean_half", ".1f", ".2f"),
            Column("Adapted,\n%", "made_gap_percent", None, ".1f", ".2f"),
            Column("Lost, %", "lost_percent", "lost_half_percent", "+.1f", "+.2f"),
            Column("Lines", "lines_changed", None, ".0f", ".0f"),
            Column("Prompt\nlines", "prompt_lines", None, ".0f", ".0f"),
            Column("Train,\ns", "adapt_s", None, ".0f", ".1f"),
            Column("Samples", "adapt_samples", None, ".0f", ".0f"),
            Column("ms", "ms", None, ".0f", ".2g"),
        ],
        caption="gaps to the exact optimum, in coupled to an upper bound; ± half width of the "
        f"95 % t interval, n = {int(summary['realizations'].max())}",
        notes=_notes(),
    )


def _notes() -> Iterator[str]:
    yield (
        "Home: before the move. Moved: as it came from home. Adapted: a program replaced by the "
        "best one there, an agent trained there; beside the language model, whose "
        "prompt alone is another, stands that program too. Lost: adapted minus moved."
    )
    yield (
        "Lines: of the program, in a diff to the best one there. Prompt lines: in which the prompt "
        "differs from home's; the program that writes prompts knew every objective beforehand."
    )


def figure(summary: pd.DataFrame, stem: pathlib.Path) -> None:
    """Gap as it came and gap once adapted, by move."""
    own = summary[(summary["method"] != methods.RANDOM) & (summary["move"] != HOME)]
    names = list(own["method"].unique())
    with plotting.figure(stem, columns=2) as axes:
        for ax, value, half, title in (
            (axes[0], "gap_percent", "gap_half_percent", "Gap as it came from home [%]"),
            (axes[1], "made_gap_percent", None, "Gap once adapted [%]"),
        ):
            halves = own[half] if half else math.nan
            shown = own.assign(mean=own[value].clip(lower=0), half=halves)
            plotting.points_panel(ax, shown[shown["mean"].notna()], "move", title, order=names)
            ax.set_yscale("symlog", linthresh=0.01)
            ax.set_ylim(bottom=-0.002)
            ax.tick_params(axis="x", rotation=40)

"""Tables of the report, and what a section shows of a study."""

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import markupsafe
import pandas as pd

from experiments.context import ALL
from experiments.latency import STAGES
from experiments.report_numbers import interval, number
from experiments.report_parts import Figure, View

if TYPE_CHECKING:
    from experiments.report import Source

# Column -> heading, half width of its interval, factor: what tables of summaries show, in order.
NUMBERS: dict[str, tuple[str, str | None, float]] = {
    "mean": ("Mean", "mean_half", 1),
    "difference": ("Minus the reference", "difference_half", 1),
    "gain_percent": ("Gain over equal power, %", "gain_half_percent", 1),
    "home_gap_percent": ("Gap at home, %", None, 1),
    "gap_percent": ("Gap, %", "gap_half_percent", 1),
    "made_gap_percent": ("Once adapted, %", None, 1),
    "lost_percent": ("Lost unadapted, %", "lost_half_percent", 1),
    "repaired_gap_percent": ("Gap repaired, %", "repaired_gap_half_percent", 1),
    "detail_percent": ("Detail adds, %", "detail_half_percent", 1),
    "level_percent": ("Level adds, %", "level_half_percent", 1),
    "raw_valid_percent": ("Valid answers, %", "raw_valid_half_percent", 1),
    "valid_percent": ("Valid, %", None, 1),
    "right_percent": ("Right, %", None, 1),
    "valid_gap_percent": ("Gap of valid, %", None, 1),
    "cut_off_percent": ("Cut off, %", None, 1),
    "lines_changed": ("Lines changed", None, 1),
    "prompt_lines": ("Lines of the prompt", None, 1),
    "adapt_s": ("Training there, s", None, 1),
    "adapt_samples": ("Samples", None, 1),
    "throughput_mbps": ("Mbit/s a slot", "throughput_mbps_half", 1),
    "jain_index": ("Jain", "jain_index_half", 1),
    "served_share": ("Served, %", "served_share_half", 100),
    "seconds": ("ms", None, 1e3),
    "p95_s": ("95 % quantile, ms", None, 1e3),
    **{f"{stage}_s": (f"{stage.capitalize()}, ms", None, 1e3) for stage in STAGES},
    "compile_s": ("Compilation, s", None, 1),
    "batch_per_s": ("Per second in a batch", None, 1),
    "prompt_tokens": ("Prompt, tokens", None, 1),
    "shared_percent": ("Shared by slots, %", None, 1),
    "steps": ("Steps", None, 1),
    "training_s": ("Training of a seed, s", None, 1),
    "worst_ratio": ("Worst ratio", None, 1),
    "mean_ratio": ("Mean ratio", None, 1),
    "locally_optimal_percent": ("Locally optimal, %", None, 1),
    "paper_mean": ("Paper", None, 1),
    "paper_valid_percent": ("Paper, valid, %", None, 1),
    "paper_s": ("Paper, ms", None, 1e3),
}
HALVES = tuple(half for _, half, _ in NUMBERS.values() if half is not None)
_UNITS = {
    "prompt_budget": ("", " tokens"),
    "prompt_detail": ("detail ", ""),
    "deadline_s": ("due in ", " s"),
    "tx_power_dbm": ("", " dBm"),
}
SPELLED = {
    "prompt_budget": "budget",
    "prompt_detail": "detail",
    "prompt_level": "up to level",
    "tx_power_dbm": "power, dBm",
    "deadline_s": "due in, s",
    "by_s": "by, s",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        key: what it is sorted by.
        reason: of an N/A.
        more: what is shown once the text is opened.
    """

    text: str
    key: str | float
    reason: str = ""
    more: str = ""


def axes_of(table: pd.DataFrame) -> list[str]:
    """The columns that name a cell: those before `method`."""
    columns = list(table.columns)
    return columns[: columns.index("method")] if "method" in columns else []


def prepared(table: pd.DataFrame, *, coupled: bool = False) -> pd.DataFrame:
    """With `place`, the cell's name, what gaps are to, and the texts that are shown on hover."""
    table = table.copy()
    places = [[of_axis(a, row[a]) for a in axes_of(table)] for row in table.to_dict("records")]
    table["place"] = [", ".join(parts) for parts in places]
    for name, half, _ in [(n, h, f) for n, (_, h, f) in NUMBERS.items() if h is not None]:
        if name in table and half in table:
            pairs = zip(table[name].astype(float), table[half].astype(float), strict=True)
            table[f"{name}_label"] = [interval(*pair) for pair in pairs]
            table[f"{name}_low"] = table[name] - table[half].fillna(0)
            table[f"{name}_high"] = table[name] + table[half].fillna(0)
    table["gaps_to"] = "an upper bound" if coupled else "the exact optimum"
    return table


def of_axis(name: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if name in _UNITS:
        return f"{_UNITS[name][0]}{shown}{_UNITS[name][1]}"
    if name == "prompt_level":
        return "all levels" if shown == ALL else f"up to {shown}"
    return f"scale {shown}" if name == "scale" else shown


def cells(table: pd.DataFrame) -> tuple[list[str], list[list[Cell]], list[str]]:
    """Headings, rows, and the reasons of what is N/A."""
    axes = axes_of(table)
    names = [n for n in NUMBERS if n in table and table[n].notna().any()]
    others = [c for c in table.columns if not axes and c not in names]
    headings = [SPELLED.get(a, a).capitalize() for a in axes] + others
    headings += ["Method"] * ("method" in table) + [NUMBERS[n][0] for n in names]
    if "unit" in table and table["unit"].nunique() == 1 and "Mean" in headings:
        headings[headings.index("Mean")] = f"Mean, {table['unit'].iloc[0]}"
    if "difference" in names and (reference := _reference(table)):
        headings[headings.index(NUMBERS["difference"][0])] = f"Minus {reference}"
    rows: list[list[Cell]] = []
    why: dict[tuple[str, str], list[str]] = {}
    for row in table.to_dict("records"):
        reason = row.get("skipped") if isinstance(row.get("skipped"), str) else ""
        shown = [_plain(row[name]) for name in axes + others]
        if "method" in row:
            shown.append(Cell(str(row["method"]), str(row["method"])))
        if reason:
            there = why.setdefault((str(row["method"]), str(reason)), [])
            there.append(str(row.get("place", "")))
        shown += [_number(row, name, str(reason)) for name in names]
        rows.append(shown)
    reasons = [
        f"{method}, {'; '.join(there) if len(there) < 4 else f'{len(there)} places'}: {reason}"
        for (method, reason), there in why.items()
    ]
    return headings, rows, reasons


def _reference(table: pd.DataFrame) -> str | None:
    """The method that others are subtracted from: its own differences are none."""
    zero = table.groupby("method", sort=False)["difference"].apply(
        lambda own: bool((own == 0).all())
    )
    names = [name for name, none in zero.items() if none]
    return str(names[0]) if len(names) == 1 else None


def _plain(value: Any) -> Cell:
    if isinstance(value, bool | str) or value is None:
        return Cell(str(value), str(value))
    if math.isnan(value):
        return Cell("", "")
    return Cell(f"{value:g}", float(value))


def _number(row: dict[str, Any], name: str, reason: str) -> Cell:
    _, half, factor = NUMBERS[name]
    value = float(row[name]) * factor
    if math.isnan(value):
        skipped = bool(reason) and name in ("mean", "seconds", "gap_percent")
        return Cell("N/A" if skipped else "–", "", reason if skipped else "")
    width = float(row.get(half, math.nan)) * factor if half else math.nan
    # Shares, whose intervals are not symmetric, come with their text.
    shown = interval(value, width) if half else row.get(f"{name}_label", number(value, 3))
    return Cell(shown, value)


def readable(text: str) -> str:
    """A file's or a folder's name as words."""
    return re.sub(r"[_\s-]+", " ", text).strip()


def section(source: "Source", view: View, anchor: str) -> dict[str, Any]:
    """What the template shows of a source.

    Raises:
        KeyError, IndexError, ValueError, TypeError: its table is not one of its study.
    """
    table = prepared(source.table, coupled="coupled" in source.name)
    headings, rows, reasons = cells(view.table(table))
    figures = [_figure(figure, f"{anchor}-f{i}") for i, figure in enumerate(view.figures(table))]
    return {
        "anchor": anchor,
        "title": ": ".join(filter(None, (view.title or readable(source.study), source.name))),
        "about": view.about,
        "lead": view.lead(table),
        "figures": figures,
        "headings": headings,
        "rows": rows,
        "reasons": reasons,
        "caption": _caption(table),
        "record": _record(source),
    }


def _figure(figure: Figure, name: str) -> dict[str, Any]:
    shown = figure.data[[*figure.columns]].to_dict("records")
    # JSON in a script element: `<` alone could end it.
    spec = figure.chart.to_json(indent=None).replace("<", "\\u003c")
    return {
        "id": name,
        "title": figure.title,
        "alt": figure.alt,
        "note": figure.note,
        "spec": markupsafe.Markup(spec),
        "headings": list(figure.columns.values()),
        "rows": [[_plain(row[column]) for column in figure.columns] for row in shown],
    }


def _caption(table: pd.DataFrame) -> str:
    if "realizations" not in table or "mean_half" not in table:
        return ""
    counts = sorted({int(n) for n in table["realizations"] if n > 0})
    instances = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"± is half the width of a 95 % t interval; n = {instances} instances or seeds. "
        "Differences and gaps are paired by instance."
    )


def _record(source: "Source") -> list[tuple[str, str]]:
    run = source.run
    if not run:
        return [("file", f"{source.path.name} of docs/results, a summary that ships")]
    config, versions = run.get("config", {}), run.get("versions", {})
    shown = {
        "command": run.get("command"),
        "written": run.get("written"),
        "commit": run.get("commit"),
        "wall time": f"{run['wall_s']:.0f} s" if "wall_s" in run else None,
        "configuration": ", ".join(f"{name} {value}" for name, value in config.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
        "device": ", ".join(f"{name} {value}" for name, value in run.get("device", {}).items()),
    }
    return [(name, str(value)) for name, value in shown.items() if value]

"""Tables for people: the summary of a study on the terminal, at 80 columns too."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

_WIDTH = 100
"""Of what is printed to a file or a pipe."""
_STYLE: Any = {"box": box.SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0)}


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
        heading: above it.
        name: in the summary.
        half: name of the half width of its interval, where it has one.
        large: format from 10 on.
        small: format below.
    """

    heading: str
    name: str
    half: str | None
    large: str
    small: str


def print_table(
    table: pd.DataFrame,
    *,
    axes: Sequence[str],
    title: str,
    reference: str,
    best: str = "optimum",
    more: Sequence[Column] = (),
    notes: Iterable[str] = (),
) -> None:
    """Prints a summary of `experiments.summary.summarise`, a block per cell.

    N/A: the method was skipped, a note says why. A dash: does not apply, or too few realisations
    for an interval. Columns without any number are left out.

    Args:
        table: the summary.
        axes: columns that name a cell.
        title: of the table.
        reference: what differences are measured to.
        best: what gaps are measured to.
        more: columns of this study, behind those of all.
        notes: printed below.
    """
    table = table.assign(milliseconds=1e3 * table["seconds"])
    # Utilities are small numbers, of which the decimals matter.
    places = 0 if set(table["unit"]) == {"Mbit/s"} else 2
    minus, gap = f"Minus\n{reference}", f"Gap to\n{best}, %"
    columns = [
        Column("Mean", "mean", "mean_half", f".{places}f", f".{places or 1}f"),
        Column(minus, "difference", "difference_half", f"+.{places}f", f"+.{places}f"),
        Column(gap, "gap_percent", "gap_half_percent", ".1f", ".3f"),
        Column("Valid,\n%", "raw_valid_percent", None, ".0f", ".0f"),
        Column("ms", "milliseconds", None, ".0f", ".2g"),
        *more,
        Column("Paper", "paper_mean", None, ".0f", ".0f"),
    ]
    print_columns(table, axes=axes, title=title, columns=columns, notes=notes)


def print_columns(
    table: pd.DataFrame,
    *,
    axes: Sequence[str],
    title: str,
    columns: Sequence[Column],
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> None:
    """Prints columns of a summary, a block per cell; those without any number are left out.

    Args:
        table: the summary.
        axes: columns that name a cell.
        title: of the table.
        columns: to print.
        caption: below it; what the intervals are if not given.
        notes: printed below.
    """
    columns = [column for column in columns if table[column.name].notna().any()]
    caption = _caption(table) if caption is None else caption
    shown = Table(title=title, caption=caption, **_STYLE)
    shown.add_column("Method", no_wrap=True, overflow="fold")
    for column in columns:
        # Where the terminal is narrow, an interval goes below its number; nothing is cut.
        folds = column.half is not None
        shown.add_column(column.heading, justify="right", no_wrap=not folds, overflow="fold")
    for place, block in table.groupby(list(axes), sort=False):
        where = ", ".join(f"{name} {value}" for name, value in zip(axes, place, strict=True))
        shown.add_row(f"[bold]{where[0].upper()}{where[1:]}[/]")
        for row in block.to_dict("records"):
            shown.add_row(str(row["method"]), *(_cell(row, column) for column in columns))
        shown.add_section()
    _print(shown, (*_skipped(table), *notes))


def print_grid(
    table: pd.DataFrame,
    *,
    axes: Mapping[str, str],
    title: str,
    text: Callable[[dict[str, Any]], str],
    notes: Iterable[str] = (),
) -> None:
    """Prints a summary with a row per cell and a column per method.

    Args:
        table: the summary; a method may be missing in a cell.
        axes: column of the summary -> its heading.
        title: of the table.
        text: a row of the summary -> what stands in its place.
        notes: printed below.
    """
    names = list(table["method"].unique())
    shown = Table(title=title, **_STYLE)
    for heading in axes.values():
        shown.add_column(heading, no_wrap=True)
    for name in names:
        shown.add_column(name.replace(" ", "\n", 1), justify="right")
    for place, own in table.groupby(list(axes), sort=False):
        by_method = {row["method"]: row for row in own.to_dict("records")}
        cells = [text(by_method[name]) if name in by_method else "" for name in names]
        shown.add_row(*map(str, place), *cells)
    _print(shown, notes)


def _print(shown: Table, notes: Iterable[str]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(shown)
    for note in notes:
        console.print(note, highlight=False)


def _caption(table: pd.DataFrame) -> str:
    count = int(table["realizations"].max())
    unit = ", ".join(table["unit"].unique())
    return f"{unit}; ± half width of the 95 % t interval, n = {count}"


def _cell(row: dict[str, Any], column: Column) -> str:
    value, half = row[column.name], column.half
    if math.isnan(value):
        return "N/A" if column.name == "mean" and row["skipped"] else "–"
    form = column.large if abs(value) >= 10 else column.small
    # "-0" and "-0.000" are noise of a paired difference that is zero.
    text = format(0.0 if float(format(value, form)) == 0 else value, form)
    if half is None or math.isnan(row[half]):
        return text
    return f"{text} ±\N{NO-BREAK SPACE}{format(row[half], form.lstrip('+'))}"


def _skipped(table: pd.DataFrame) -> Iterable[str]:
    for method, own in table[table["skipped"].notna()].groupby("method", sort=False):
        yield f"N/A: {method}: {own['skipped'].iloc[0]}"

"""Tables for people: the summary of a study on the terminal, at 80 columns too."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

_WIDTH = 100
"""Of what is printed to a file or a pipe."""


def print_table(
    table: pd.DataFrame,
    *,
    axes: Sequence[str],
    title: str,
    reference: str,
    best: str = "optimum",
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
        notes: printed below.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = table.assign(milliseconds=1e3 * table["seconds"])
    # Utilities are small numbers, of which the decimals matter.
    places = 0 if set(table["unit"]) == {"Mbit/s"} else 2
    columns = [  # heading, column, its interval, format from 10 on, format below
        ("Mean", "mean", "mean_half", f".{places}f", f".{places or 1}f"),
        (
            f"Minus\n{reference}",
            "difference",
            "difference_half",
            f"+.{places}f",
            f"+.{places}f",
        ),
        (f"Gap to\n{best}, %", "gap_percent", "gap_half_percent", ".1f", ".3f"),
        ("Valid,\n%", "raw_valid_percent", None, ".0f", ".0f"),
        ("ms", "milliseconds", None, ".0f", ".2g"),
        ("Paper", "paper_mean", None, ".0f", ".0f"),
    ]
    columns = [column for column in columns if table[column[1]].notna().any()]
    shown = Table(
        title=title,
        caption=_caption(table),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("Method", no_wrap=True, overflow="fold")
    for heading, _, half, *_ in columns:
        # Where the terminal is narrow, an interval goes below its number; nothing is cut.
        shown.add_column(heading, justify="right", no_wrap=half is None, overflow="fold")
    for place, block in table.groupby(list(axes), sort=False):
        where = ", ".join(f"{name} {value}" for name, value in zip(axes, place, strict=True))
        shown.add_row(f"[bold]{where[0].upper()}{where[1:]}[/]")
        for row in block.to_dict("records"):
            shown.add_row(str(row["method"]), *(_cell(row, *column[1:]) for column in columns))
        shown.add_section()
    console.print(shown)
    for note in (*_skipped(table), *notes):
        console.print(note, highlight=False)


def _caption(table: pd.DataFrame) -> str:
    count = int(table["realizations"].max())
    unit = ", ".join(table["unit"].unique())
    return f"{unit}; ± half width of the 95 % t interval, n = {count}"


def _cell(row: dict[str, Any], name: str, half: str | None, large: str, small: str) -> str:
    value = row[name]
    if math.isnan(value):
        return "N/A" if name == "mean" and row["skipped"] else "–"
    form = large if abs(value) >= 10 else small
    # "-0" and "-0.000" are noise of a paired difference that is zero.
    text = format(0.0 if float(format(value, form)) == 0 else value, form)
    if half is None or math.isnan(row[half]):
        return text
    return f"{text} ±\N{NO-BREAK SPACE}{format(row[half], form.lstrip('+'))}"


def _skipped(table: pd.DataFrame) -> Iterable[str]:
    for method, own in table[table["skipped"].notna()].groupby("method", sort=False):
        yield f"N/A: {method}: {own['skipped'].iloc[0]}"

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
    columns = [
        ("Mean", "mean_mbps", "mean_half_mbps", "{:.0f}"),
        (f"Minus {reference},\npaired", "difference_mbps", "difference_half_mbps", "{:+.0f}"),
        (f"Gap to\n{best}, %", "gap_percent", "gap_half_percent", None),
        ("Raw\nvalid, %", "raw_valid_percent", None, "{:.0f}"),
        ("ms", "milliseconds", None, "{:.2g}"),
        ("Paper", "paper_mbps", None, "{:.0f}"),
    ]
    table = table.assign(milliseconds=1e3 * table["seconds"])
    columns = [column for column in columns if table[column[1]].notna().any()]
    shown = Table(title=title, caption=_caption(table), box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("Method", no_wrap=True, overflow="fold")
    for heading, *_ in columns:
        shown.add_column(heading, justify="right", no_wrap=True, overflow="fold")
    for place, block in table.groupby(list(axes), sort=False):
        where = ", ".join(f"{name} {value}" for name, value in zip(axes, place, strict=True))
        shown.add_row(f"[bold]{where[0].upper()}{where[1:]}[/]")
        for row in block.to_dict("records"):
            cells = [_cell(row, *column[1:]) for column in columns]
            shown.add_row(f"  {row['method']}", *cells)
        shown.add_section()
    console.print(shown)
    for note in (*_skipped(table), *notes):
        console.print(note, highlight=False)


def _caption(table: pd.DataFrame) -> str:
    count = int(table["realizations"].max())
    return f"Mbit/s; ± half width of the 95 % t interval, n = {count}"


def _cell(row: dict[str, Any], name: str, half: str | None, form: str | None) -> str:
    value = row[name]
    if math.isnan(value):
        return "N/A" if name == "mean_mbps" and row["skipped"] else "–"
    form = form or ("{:.1f}" if abs(value) >= 10 else "{:.3f}")
    # "-0" and "-0.000" are noise of a paired difference that is zero.
    text = form.format(0.0 if float(form.format(value)) == 0 else value)
    if half is None or math.isnan(row[half]):
        return text
    return f"{text} ± {form.replace('+', '').format(row[half])}"


def _skipped(table: pd.DataFrame) -> Iterable[str]:
    for method, own in table[table["skipped"].notna()].groupby("method", sort=False):
        yield f"N/A: {method}: {own['skipped'].iloc[0]}"

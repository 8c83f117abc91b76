"""Tables for people: the summary of a study on the terminal."""

import math
from collections.abc import Iterable

import pandas as pd
from rich.console import Console
from rich.table import Table

_WIDTH = 118
"""Where the output is no terminal (a file, a pipe), a table must not be cut to 80 columns."""


def print_table(
    table: pd.DataFrame, *, title: str, best: str = "optimum", notes: Iterable[str] = ()
) -> None:
    """Prints a summary of `experiments.summary.summarise`, a block per scale.

    `best` names what gaps are measured to. A dash means: does not apply, or too few realisations
    for an interval.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    count = int(table["realizations"].min())
    shown = Table(title=title, caption=f"± half width of the 95 % t interval, n = {count}")
    shown.add_column("Scale")
    shown.add_column("Method")
    for name in (
        "Mean",
        "Minus LLM (paired)",
        f"Gap to {best}, %",
        "Raw valid, %",
        "Seconds",
        "Paper",
    ):
        shown.add_column(name, justify="right")
    for scale, block in table.groupby("scale", sort=False):
        for row in block.itertuples():
            shown.add_row(
                str(scale),
                str(row.method),
                _with_interval(row.mean_mbps, row.mean_half_mbps, "{:.0f}"),
                _with_interval(row.difference_mbps, row.difference_half_mbps, "{:+.0f}"),
                _with_interval(row.gap_percent, row.gap_half_percent, "{:.3f}"),
                _plain(row.raw_valid_percent, "{:.0f}"),
                _plain(row.seconds, "{:.2g}"),
                _plain(row.paper_mbps, "{:.0f}"),
            )
        shown.add_section()
    console.print(shown)
    for note in notes:
        console.print(note)


def _plain(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value)


def _with_interval(value: float, half: float, form: str) -> str:
    if math.isnan(value):
        return "–"
    # "-0" and "-0.000" are noise of a paired difference that is zero.
    text = form.format(0.0 if float(form.format(value)) == 0 else value)
    return text if math.isnan(half) else f"{text} ± {form.replace('+', '').format(half)}"

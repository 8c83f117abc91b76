"""Interactive figures of the report with a line through points: over a number, and over time."""

import altair as alt
import pandas as pd

from experiments.report_numbers import number
from experiments.report_parts import HEIGHT, Figure, by_method, extremes, inline, with_menu

_NEAR_ZERO = 1e-3  # percent; a gap of zero has a place on a logarithmic axis


def against_time(table: pd.DataFrame, *, best: str, where: str) -> Figure:
    """Gap against seconds per decision, a line per method through its cells.

    Args:
        table: a summary with `place` and `gap_label`.
        best: what gaps are measured to.
        where: what cells are called.
    """
    own = table[table["gap_percent"].notna() & (table["seconds"] > 0)].copy()
    own["gap"] = own["gap_percent"].clip(lower=0)
    half = own["gap_half_percent"].fillna(0)
    own["low"], own["high"] = (own["gap"] - half).clip(lower=0), own["gap"] + half
    own["seconds_label"] = own["seconds"].map(lambda s: f"{number(1e3 * s, 3)} ms")
    names = list(own["method"].unique())
    colour, shape = by_method(names)
    x = alt.X(
        "seconds:Q",
        scale=alt.Scale(type="log", padding=8),
        title="Seconds per decision (median)",
        axis=alt.Axis(format=",.3~r", tickCount=5, labelOverlap=True, grid=False),
    )
    y = alt.Y(
        "gap:Q",
        scale=alt.Scale(type="symlog", constant=_NEAR_ZERO, domainMin=0),
        title=f"Gap to {best} [%]",
        axis=alt.Axis(values=[0, 0.001, 0.01, 0.1, 1, 10, 100], format=",.3~r"),
    )
    chosen = alt.selection_point(fields=["method"], bind="legend")
    faint = alt.condition(chosen, alt.value(1.0), alt.value(0.12))
    fields = ["method", "place", "seconds", "gap", "low", "high", "gap_label", "seconds_label"]
    base = alt.Chart(inline(own[fields]))
    seen = [
        alt.Tooltip("method:N"),
        alt.Tooltip("place:N", title=where.lower()),
        alt.Tooltip("gap_label:N", title="gap, %"),
        alt.Tooltip("seconds_label:N", title="time"),
    ]
    chart = alt.layer(
        base.mark_line(strokeWidth=1).encode(x=x, y=y, color=colour, opacity=faint),
        base.mark_rule(strokeWidth=1.5).encode(
            x=x, y="low:Q", y2="high:Q", color=colour, opacity=faint
        ),
        base.mark_point(filled=True, size=80)
        .encode(x=x, y=y, color=colour, shape=shape, opacity=faint, tooltip=seen)
        .add_params(chosen),
    ).properties(width="container", height=HEIGHT)
    least = own.sort_values(["gap", "seconds"]).iloc[0]
    words = (
        f"Gap to {best} against seconds per decision of {len(names)} methods; the smallest gap, "
        f"{number(least['gap'], 2)} %, has {least['method']} in {least['seconds_label']}."
    )
    headings = {"method": "Method", "place": where, "gap_label": "Gap, %", "seconds_label": "Time"}
    return Figure("Gap against time", chart, words, own, headings)


def lines(
    table: pd.DataFrame,
    *,
    title: str,
    x: str,
    x_title: str,
    what: str,
    value: str,
    half: str,
    label: str,
    where: str,
    over_time: bool = False,
) -> Figure:
    """Value over a number with its interval, a line per method; a menu over the cells.

    Args:
        table: with `place`, what the menu is over.
        title: of the figure.
        x: column of numbers.
        x_title: what they are.
        what: is measured, with its unit.
        value: column of the values.
        half: column of half the interval's width.
        label: column of the text on hover.
        where: label of the menu.
        over_time: the number is a time, on a logarithmic scale, and the values, which are gaps,
            hold until the next.
    """
    own = table[table[value].notna()].copy()
    own["low"] = own[value] - own[half].fillna(0)
    own["high"] = own[value] + own[half].fillna(0)
    if over_time:
        own["low"] = own["low"].clip(lower=0)
    own = own[["method", "place", x, value, "low", "high", label]]
    names, places = list(own["method"].unique()), list(own["place"].unique())
    fullest = str(own["place"].value_counts(sort=False).idxmax())
    colour, _ = by_method(names)
    base = with_menu(alt.Chart(inline(own)), places, where, first=fullest)
    scale_x, scale_y = alt.Scale(), alt.Scale(zero=False)
    if over_time:
        scale_x, scale_y = alt.Scale(type="log"), alt.Scale(type="symlog", constant=0.01)
    at = alt.X(f"{x}:Q", title=x_title, axis=alt.Axis(tickCount=5), scale=scale_x)
    y = alt.Y(f"{value}:Q", title=what, scale=scale_y)
    seen = [alt.Tooltip("method:N"), alt.Tooltip(f"{x}:Q"), alt.Tooltip(f"{label}:N", title=what)]
    chart = alt.layer(
        base.mark_line(strokeWidth=1.5, interpolate="step-after" if over_time else "linear").encode(
            x=at, y=y, color=colour
        ),
        base.mark_rule(strokeWidth=1.5).encode(x=at, y="low:Q", y2="high:Q", color=colour),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=at, y=y, color=colour, tooltip=seen
        ),
    ).properties(width="container", height=HEIGHT)
    words = f"{what} over {x_title} of {len(names)} methods; {extremes(own, value, fullest)}."
    headings = {"method": "Method", "place": where, x: x_title, label: what}
    return Figure(title, chart, words, own, headings)

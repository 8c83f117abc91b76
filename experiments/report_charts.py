"""Interactive figures of the report: Altair charts, each with its words and its data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from experiments.report_numbers import number

# Colours that can be told apart, by colour-blind readers too, on white and on black.
_COLOURS = [
    "#d55e00",
    "#8c8c8c",
    "#e69f00",
    "#009e73",
    "#0072b2",
    "#cc79a7",
    "#56b4e9",
    "#b8860b",
    "#44aa99",
    "#8877dd",
    "#aa4466",
    "#77aa22",
    "#dd5577",
    "#5599aa",
]
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke")
_ROW = 22  # pixels of a method's line
_HEIGHT = 320
_NEAR_ZERO = 1e-3  # percent; a gap of zero has a place on a logarithmic axis


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart with its alternative.

    Attributes:
        title: above it.
        chart: of the width of its container.
        alt: what it shows, in words.
        data: what is drawn; column -> heading of the table.
        columns: those of the table.
        note: below it.
    """

    title: str
    chart: alt.TopLevelMixin
    alt: str
    data: pd.DataFrame
    columns: Mapping[str, str]
    note: str = ""


def _rows(table: pd.DataFrame) -> alt.Data:
    """Inline, without the NaN that JSON does not have."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return alt.Data(values=rows)


def _choice(
    name: str, places: Sequence[str], label: str, first: str | None = None
) -> alt.Parameter:
    """A menu over the cells; the page moves it out of the image, where a keyboard reaches it."""
    menu = alt.binding_select(options=list(places), name=label)
    return alt.param(name=name, value=first or places[-1], bind=menu)


def dots(
    table: pd.DataFrame,
    *,
    title: str,
    what: str,
    value: str,
    low: str,
    high: str,
    label: str,
    where: str,
    paper: str | None = None,
    log: bool = False,
    order: str = "method",
) -> Figure:
    """A line per method: value, interval, and the paper's number; a menu over the cells.

    Args:
        table: with `place`, the cell's name, and `order`.
        title: of the figure.
        what: is measured, with its unit.
        value: column of the dots.
        low: column where the interval begins.
        high: column where it ends.
        label: column of the text on hover.
        where: label of the menu.
        paper: column of the paper's numbers.
        log: whether the axis is logarithmic.
        order: column of the lines.
    """
    own = table[table[value].notna()]
    paper = paper if paper is not None and own[paper].notna().any() else None
    fields = [order, "place", value, low, high, label, *([paper] if paper else [])]
    own = own[list(dict.fromkeys(fields))]
    names, places = list(own[order].unique()), list(own["place"].unique())
    scale: Any = {"type": "log"} if log else {"zero": False, "nice": True}
    y = alt.Y(f"{order}:N", sort=names, title=None, axis=alt.Axis(labelLimit=130, grid=True))
    x = alt.X(f"{value}:Q", title=what, scale=alt.Scale(**scale), axis=alt.Axis(tickCount=5))
    seen = [alt.Tooltip(f"{order}:N", title="method"), alt.Tooltip("place:N", title=where.lower())]
    seen.append(alt.Tooltip(f"{label}:N", title=what))
    base = alt.Chart(_rows(own))
    if len(places) > 1:
        cell = _choice("cell", places, f"{where} ")
        base = base.add_params(cell).transform_filter(alt.datum.place == cell)
    layers = [
        base.mark_rule(strokeWidth=2, color="#0072b2").encode(x=f"{low}:Q", x2=f"{high}:Q", y=y),
        base.mark_point(filled=True, size=90, color="#0072b2", opacity=1).encode(
            x=x, y=y, tooltip=seen
        ),
    ]
    if paper:
        theirs = alt.Tooltip(f"{paper}:Q", title="paper", format=",.5~r")
        mark = base.mark_point(shape="diamond", size=110, strokeWidth=2, color="#d55e00")
        layers.append(mark.encode(x=f"{paper}:Q", y=y, tooltip=[*seen[:2], theirs]))
    chart = alt.layer(*layers).properties(width="container", height=_ROW * len(names) + 10)
    alt_text = f"{what} of {len(names)} methods with 95 % intervals"
    if paper:
        alt_text += ", beside the paper's own numbers as orange diamonds"
    headings = {order: "Method", "place": where, label: what}
    return Figure(
        title,
        chart,
        f"{alt_text}; {_extremes(own, value, order)}.",
        own,
        headings | ({paper: "Paper"} if paper else {}),
        "◇ the paper's number, on its own instances" if paper else "",
    )


def _extremes(own: pd.DataFrame, value: str, order: str) -> str:
    last = own[own["place"] == own["place"].iloc[-1]].sort_values(value)
    low, high = last.iloc[0], last.iloc[-1]
    return (
        f"at {last['place'].iloc[0]} from {number(low[value])} ({low[order]}) "
        f"to {number(high[value])} ({high[order]})"
    )


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
    names, legend = list(own["method"].unique()), _legend()
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=names, range=list(_cycled(_COLOURS, len(names)))),
        legend=legend,
    )
    shape = alt.Shape(
        "method:N",
        scale=alt.Scale(domain=names, range=list(_cycled(_SHAPES, len(names)))),
        legend=legend,
    )
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
    base = alt.Chart(
        _rows(
            own[["method", "place", "seconds", "gap", "low", "high", "gap_label", "seconds_label"]]
        )
    )
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
    ).properties(width="container", height=_HEIGHT)
    least = own.sort_values(["gap", "seconds"]).iloc[0]
    words = (
        f"Gap to {best} against seconds per decision of {len(names)} methods; the smallest gap, "
        f"{number(least['gap'], 2)} %, has {least['method']} in {least['seconds_label']}."
    )
    headings = {"method": "Method", "place": where, "gap_label": "Gap, %", "seconds_label": "Time"}
    return Figure("Gap against time", chart, words, own, headings)


def _legend() -> alt.Legend:
    return alt.Legend(orient="bottom", columns=2, title=None, labelLimit=150, symbolLimit=0)


def _cycled(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


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
    legend = _legend()
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=names, range=_cycled(_COLOURS, len(names))),
        legend=legend,
    )
    base = alt.Chart(_rows(own))
    if len(places) > 1:
        fullest = str(own["place"].value_counts(sort=False).idxmax())
        cell = _choice("cell", places, f"{where} ", fullest)
        base = base.add_params(cell).transform_filter(alt.datum.place == cell)
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
    ).properties(width="container", height=_HEIGHT)
    words = f"{what} over {x_title} of {len(names)} methods; {_extremes(own, value, 'method')}."
    headings = {"method": "Method", "place": where, x: x_title, label: what}
    return Figure(title, chart, words, own, headings)


def grid(table: pd.DataFrame, *, title: str, where: str) -> Figure:
    """Gaps in colour, a line per place and a column per method, the best framed; a menu.

    Args:
        table: `line`, `place`, `method`, `gap` in percent (empty: none in time), `text`, `best`.
        title: of the figure.
        where: label of the menu over `place`.
    """
    own = table[["line", "place", "method", "gap", "text", "best"]].copy()
    own["shade"] = own["gap"].clip(lower=0.1, upper=50)
    lines_, names = list(own["line"].unique()), list(own["method"].unique())
    places = list(own["place"].unique())
    cell = _choice("cell", places, f"{where} ")
    base = alt.Chart(_rows(own)).add_params(cell).transform_filter(alt.datum.place == cell)
    x = alt.X(
        "method:N",
        sort=names,
        title=None,
        axis=alt.Axis(orient="top", labelAngle=-90, labelLimit=110, domain=False, ticks=False),
    )
    y = alt.Y(
        "line:N",
        sort=lines_,
        title=None,
        axis=alt.Axis(labelLimit=150, domain=False, ticks=False),
    )
    shade = alt.Color(
        "shade:Q",
        scale=alt.Scale(type="log", domain=[0.1, 50], scheme="yelloworangered"),
        legend=alt.Legend(
            orient="bottom", title="Gap [%]", gradientLength=180, values=[0.1, 1, 10, 50]
        ),
    )
    seen = [
        alt.Tooltip("line:N", title="where"),
        alt.Tooltip("method:N"),
        alt.Tooltip("text:N", title="gap, %"),
    ]
    dark = alt.condition(alt.datum.gap > 10, alt.value("#ffffff"), alt.value("#111111"))
    chart = alt.layer(
        base.transform_filter(alt.datum.gap != None)  # noqa: E711 - Vega's own expression
        .mark_rect()
        .encode(x=x, y=y, color=shade, tooltip=seen),
        base.transform_filter(alt.datum.best)
        .mark_rect(strokeWidth=3, stroke="#0072b2", filled=False)
        .encode(x=x, y=y, tooltip=seen),
        base.transform_filter(alt.datum.gap != None)  # noqa: E711
        .mark_text(fontSize=10)
        .encode(x=x, y=y, text="text:N", color=dark, tooltip=seen),
        base.transform_filter(alt.datum.gap == None)  # noqa: E711
        .mark_text(fontSize=10, color="#888888")
        .encode(x=x, y=y, text="text:N", tooltip=seen),
    ).properties(width="container", height=24 * len(lines_))
    counts = own[own["best"]]["method"].value_counts()
    words = "Gaps by place and method; framed is the best: " + ", ".join(
        f"{name} in {count}" for name, count in counts.items()
    )
    headings = {"line": "Where", "place": where, "method": "Method", "text": "Gap, %"}
    return Figure(title, chart, f"{words} of {len(own[own['best']])} places.", own, headings)

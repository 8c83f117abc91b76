"""Interactive figures of the report, a line per method or place: dots, stacked bars, a grid."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from experiments.report_numbers import number
from experiments.report_parts import COLOURS, Figure, extremes, inline, with_menu

_ROW = 22  # pixels of a line


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
    spread: str = "with 95 % intervals",
    of: str = "Method",
) -> Figure:
    """A line per method: value, interval, and the paper's number; a menu over the cells.

    Args:
        table: with `method` and `place`, the cell's name.
        title: of the figure.
        what: is measured, with its unit.
        value: column of the dots.
        low: column where the interval begins.
        high: column where it ends.
        label: column of the text on hover.
        where: label of the menu.
        paper: column of the paper's numbers.
        log: whether the axis is logarithmic.
        spread: what reaches from `low` to `high`, in words.
        of: what `method` is called, in the singular.
    """
    own = table[table[value].notna()]
    paper = paper if paper is not None and own[paper].notna().any() else None
    fields = ["method", "place", value, low, high, label, *([paper] if paper else [])]
    own = own[list(dict.fromkeys(fields))]
    names, places = list(own["method"].unique()), list(own["place"].unique())
    scale: Any = {"type": "log"} if log else {"zero": False, "nice": True}
    y = alt.Y("method:N", sort=names, title=None, axis=alt.Axis(labelLimit=170, grid=True))
    x = alt.X(f"{value}:Q", title=what, scale=alt.Scale(**scale), axis=alt.Axis(tickCount=5))
    seen = [
        alt.Tooltip("method:N", title=of.lower()),
        alt.Tooltip("place:N", title=where.lower()),
    ]
    base = with_menu(alt.Chart(inline(own)), places, where, first=places[-1])
    layers = [
        base.mark_rule(strokeWidth=2, color="#0072b2").encode(x=f"{low}:Q", x2=f"{high}:Q", y=y),
        base.mark_point(filled=True, size=90, color="#0072b2", opacity=1).encode(
            x=x, y=y, tooltip=[*seen, alt.Tooltip(f"{label}:N", title=what)]
        ),
    ]
    words, headings = "", {"method": of, "place": where, label: what}
    if paper:
        theirs = alt.Tooltip(f"{paper}:Q", title="paper", format=",.5~r")
        mark = base.mark_point(shape="diamond", size=110, strokeWidth=2, color="#d55e00")
        layers.append(mark.encode(x=f"{paper}:Q", y=y, tooltip=[*seen, theirs]))
        words, headings[paper] = ", beside the paper's own numbers as orange diamonds", "Paper"
    chart = alt.layer(*layers).properties(width="container", height=_ROW * len(names) + 10)
    words = (
        f"{what} of {len(names)} {of.lower()}s, {spread}{words}; "
        f"{extremes(own, value, places[-1])}."
    )
    note = "◇ the paper's number, on its own instances" if paper else ""
    return Figure(title, chart, words, own, headings, note)


def stack(
    table: pd.DataFrame, *, title: str, what: str, stages: Mapping[str, str], where: str
) -> Figure:
    """A bar per cell of what stages take, one behind the other; a menu over the methods.

    Args:
        table: with `method` and `place`, the cell's name, and seconds [s].
        title: of the figure.
        what: is measured; milliseconds are drawn.
        stages: column of the table -> name of the stage, in order; empty where it is not known.
        where: what cells are called.
    """
    stages = {column: name for column, name in stages.items() if table[column].notna().any()}
    own = table[table[[*stages]].notna().any(axis=1)][["method", "place", *stages]].copy()
    own[[*stages]] = own[[*stages]].map(lambda seconds: float(f"{1e3 * seconds:.3g}"))
    names, places = list(own["method"].unique()), list(own["place"].unique())
    drawn = own.melt(["method", "place"], var_name="column", value_name="ms").dropna(subset="ms")
    drawn = drawn.assign(
        stage=drawn["column"].map(stages),
        order=drawn["column"].map({column: i for i, column in enumerate(stages)}),
        text=drawn["ms"].map("{:g} ms".format),
    )
    base = alt.Chart(inline(drawn))
    base = with_menu(base, names, "Method", first=names[0], field="method")
    legend = alt.Legend(orient="bottom", columns=3, title=None)
    scale = alt.Scale(domain=list(stages.values()), range=COLOURS[: len(stages)])
    chart = (
        base.mark_bar()
        .encode(
            x=alt.X("sum(ms):Q", title=f"{what} [ms]", axis=alt.Axis(tickCount=5)),
            y=alt.Y("place:N", sort=places, title=None, axis=alt.Axis(labelLimit=130)),
            color=alt.Color("stage:N", scale=scale, legend=legend),
            order=alt.Order("order:Q"),
            tooltip=[alt.Tooltip(f"{c}:N") for c in ("method", "place", "stage", "text")],
        )
        .properties(width="container", height=_ROW * len(places) + 10)
    )
    last = own[own["place"] == places[-1]]
    said = [
        f"{row['method']}: "
        + ", ".join(f"{name} {number(row[column], 3)}" for column, name in stages.items())
        for row in last.to_dict("records")
    ]
    words = (
        f"{what} in milliseconds, stacked, at {len(places)} places; at {places[-1]} "
        f"{'; '.join(said)}."
    )
    headings = {"method": "Method", "place": where}
    headings |= {column: f"{name}, ms" for column, name in stages.items()}
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
    base = with_menu(alt.Chart(inline(own)), places, where, first=places[-1])
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

"""What the report's sections share: views, figures with words and data, menus, legends, colours."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import altair as alt
import pandas as pd

from experiments.report_numbers import number

# Colours that can be told apart, by colour-blind readers too, on white and on black.
COLOURS = [
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
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "stroke")
HEIGHT = 320


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


@dataclasses.dataclass(frozen=True)
class View:
    """How a study is shown.

    Attributes:
        title: of its section; setting and objective are added.
        about: what it is, in a sentence.
        lead: table -> what to see, in a sentence made of its numbers.
        figures: table -> its figures.
        table: table -> the rows that are shown.
        axes: columns that name a cell; None accepts any.
        own: columns that every summary of the study has, and not all of others'.
    """

    title: str
    about: str
    lead: Callable[[pd.DataFrame], str]
    figures: Callable[[pd.DataFrame], Sequence[Figure]]
    table: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    axes: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()


def inline(table: pd.DataFrame) -> alt.Data:
    """Rows within the chart, without the NaN that JSON does not have."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return alt.Data(values=rows)


def with_menu(
    base: alt.Chart, places: Sequence[str], label: str, *, first: str, field: str = "place"
) -> alt.Chart:
    """The chart of one cell at a time, if there are several.

    The page moves the menu out of the image, where a keyboard reaches it.

    Args:
        base: chart of all cells.
        places: names of the cells.
        label: of the menu.
        first: the cell that is shown until another is chosen.
        field: column of the cells' names.
    """
    if len(places) < 2:
        return base
    menu = alt.binding_select(options=list(places), name=f"{label} ")
    cell = alt.param(name="cell", value=first, bind=menu)
    return base.add_params(cell).transform_filter(alt.datum[field] == cell)


def by_method(names: Sequence[str]) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of each method, in one legend."""
    legend = alt.Legend(orient="bottom", columns=2, title=None, labelLimit=150, symbolLimit=0)
    colours, shapes = (
        alt.Scale(domain=list(names), range=[kinds[i % len(kinds)] for i in range(len(names))])
        for kinds in (COLOURS, SHAPES)
    )
    return (
        alt.Color("method:N", scale=colours, legend=legend),
        alt.Shape("method:N", scale=shapes, legend=legend),
    )


def extremes(table: pd.DataFrame, value: str, shown: str) -> str:
    """From which method to which, in the cell that is shown first and over all of them.

    Args:
        table: with `place` and `method`.
        value: column of the values.
        shown: the cell's name; it may be empty where there is one.
    """
    ordered = table.sort_values(value)
    own = ordered[ordered["place"] == shown]
    low, high = own.iloc[0], own.iloc[-1]
    said = (
        f"from {number(low[value])} ({low['method']}) to {number(high[value])} ({high['method']})"
    )
    said = f"at {shown} {said}" if shown else said
    count = table["place"].nunique()
    if count < 2:
        return said
    low, high = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"{said}; over all {count} places from {number(low[value])} ({low['method']} at "
        f"{low['place']}) to {number(high[value])} ({high['method']} at {high['place']})"
    )

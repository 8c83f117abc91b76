"""Figures in one style, as PNG to look at and PDF to print."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments import methods
from experiments.summary import mean_interval

# Okabe and Ito's colours, which stay apart for colour-blind readers, and a marker for print.
_STYLE = {
    methods.LLM: ("#D55E00", "o"),
    methods.LLM_RAW: ("#D55E00", "$o$"),
    methods.LLM_TEXT: ("#D55E00", "+"),
    methods.LLM_COLD: ("#D55E00", "*"),
    methods.RANDOM: ("#999999", "v"),
    methods.REPAIRED: ("#D55E00", "x"),
    methods.GREEDY: ("#E69F00", "^"),
    methods.SORTED: ("#009E73", "s"),
    methods.GROUPED: ("#0072B2", "D"),
    methods.LOCAL_SEARCH: ("#CC79A7", "P"),
    methods.OPTIMUM: ("#000000", "_"),
    methods.OPTIMUM_OF_RATES: ("#56B4E9", "_"),
    methods.EXHAUSTIVE: ("#666666", "h"),
    methods.ORDER: ("#56B4E9", "^"),
    methods.AGENT: ("#44AA99", ">"),
    methods.AGENT_OF_PRICES: ("#332288", "<"),
    methods.EVOLUTION: ("#882255", "*"),
}
_AGENT = ("#882255", "*")
_OTHERS = [
    ("#0072B2", "D"),
    ("#D55E00", "o"),
    ("#009E73", "s"),
    ("#CC79A7", "P"),
    ("#000000", "_"),
    ("#E69F00", "^"),
    ("#56B4E9", "v"),
    ("#882255", "*"),
]
"""Of methods that one study alone has, by their order there."""
_RC: Any = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@contextlib.contextmanager
def figure(
    stem: pathlib.Path, columns: int, *, rows: int = 1, width_in: float = 4.75
) -> Iterator[Sequence[Axes]]:
    """Panels in the common style, row by row; written as `stem`.png and `stem`.pdf at the end."""
    matplotlib.use("Agg")
    with plt.rc_context(_RC):
        size = (width_in * columns, 3.8 * rows)
        drawn, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        panels = list(grid.flat)
        yield panels
        # A method has one entry, however many panels it is in.
        named = {label: line for ax in panels for line, label in zip(*_legend(ax), strict=True)}
        drawn.legend(named.values(), named.keys(), loc="outside lower center", ncols=4)
        _write(drawn, stem)


def _legend(axes: Axes) -> Any:
    return axes.get_legend_handles_labels()


def _write(drawn: Figure, stem: pathlib.Path) -> None:
    for suffix in (".png", ".pdf"):
        drawn.savefig(stem.with_suffix(suffix), bbox_inches="tight")
    plt.close(drawn)


def value_panel(axes: Axes, table: pd.DataFrame, axis: str, quantity: str) -> None:
    """Mean and interval of every method by cell, beside the paper's own points.

    Args:
        axes: where to draw.
        table: of `experiments.summary.summarise`.
        axis: the column whose values are the places on the x axis.
        quantity: what the values are; the unit is added.
    """
    places = list(table[axis].unique())
    names = list(table["method"].unique())
    unit, size = table["unit"].iloc[0], 1.0
    if unit == "Mbit/s":
        unit, size = "Gbit/s", 1e3
    for i, name in enumerate(names):
        own = table[table["method"] == name].set_index(axis).reindex(places)
        # Side by side: most methods lie on top of one another.
        x = np.arange(len(places)) + (i - (len(names) - 1) / 2) * 0.1
        colour, marker = _STYLE.get(name, _AGENT)
        axes.errorbar(
            x,
            own["mean"] / size,
            yerr=own["mean_half"].fillna(0) / size,
            color=colour,
            marker=marker,
            ls="",
            ms=5,
            capsize=2,
            label=name,
        )
        if own["paper_mean"].notna().any():
            axes.plot(x, own["paper_mean"] / size, marker="x", ls="", color=colour, ms=6, alpha=0.8)
    if table["paper_mean"].notna().any():
        axes.plot([], [], "x", color="0.3", label="paper (its own instances)")
    axes.set_xticks(range(len(places)), [f"{axis.capitalize()} {place}" for place in places])
    axes.set_ylabel(f"{quantity} [{unit}]")
    axes.set_ylim(bottom=0)


def gap_panel(axes: Axes, table: pd.DataFrame, best: str, *, named: bool = False) -> None:
    """Gap against time: a line per method through its cells, larger markers for later cells.

    Args:
        axes: where to draw.
        table: of `experiments.summary.summarise`.
        best: what the gap is measured to.
        named: whether it puts the methods into the legend, where no other panel does.
    """
    for name, own in table[table["method"] != methods.OPTIMUM].groupby("method", sort=False):
        colour, marker = _STYLE.get(name, _AGENT)
        axes.plot(own["seconds"], own["gap_percent"], color=colour, lw=0.8, alpha=0.6)
        sizes = 18 + 22 * np.arange(len(own))
        label = str(name) if named else None
        axes.scatter(
            own["seconds"], own["gap_percent"], sizes, color=colour, marker=marker, label=label
        )
    axes.set_xscale("log")
    # A gap of exactly zero has a place on this axis, and 0.001 % can be told from 0.1 %.
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=-3e-4, top=100)
    axes.set_xlabel("Seconds per decision (median); larger markers, larger scales")
    axes.set_ylabel(f"Gap to {best} [%]")


def time_panel(axes: Axes, table: pd.DataFrame, best: str) -> None:
    """Gap by time: a step where a method has something better, with its interval as a band.

    Args:
        axes: where to draw.
        table: `method`, `by_s`, `gap_percent` and `gap_half_percent`, to the same last time.
        best: what the gap is measured to.
    """
    for name, own in table.groupby("method", sort=False):
        own = own.sort_values("by_s")
        colour, marker = _STYLE.get(str(name), _AGENT)
        gap, half = own["gap_percent"], own["gap_half_percent"].fillna(0)
        axes.step(own["by_s"], gap, where="post", color=colour, lw=1.2)
        axes.fill_between(
            own["by_s"], gap - half, gap + half, step="post", color=colour, alpha=0.2, lw=0
        )
        # The first answer; a step alone does not say where it begins.
        axes.scatter(own["by_s"].iloc[:1], gap.iloc[:1], 25, colour, marker=marker, label=str(name))
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=-3e-4)
    axes.set_xlabel("Seconds")
    axes.set_ylabel(f"Gap to {best} [%]")


_POINTS = 100  # of a learning curve


def curve_panel(axes: Axes, curve: pd.DataFrame) -> None:
    """Return over steps: mean over seeds, and its 95 % interval as a band.

    Args:
        axes: where to draw.
        curve: a row per `agent_seed` and `update`, with `steps` and `episode_return`.
    """
    by_update = curve.pivot(index="update", columns="agent_seed", values="episode_return")
    width = max(1, len(by_update) // _POINTS)
    # Each seed's mean over a stretch of updates; what differs between seeds is left.
    by_update = by_update.groupby(by_update.index // width).mean()
    steps = curve.groupby(curve["update"] // width)["steps"].mean()
    values = by_update.to_numpy(float)
    found = [mean_interval(pd.Series(row[np.isfinite(row)])) for row in values]
    mean, half = np.array(found).reshape(-1, 2).T
    colour, _ = _AGENT
    half = np.nan_to_num(half)
    axes.plot(steps, mean, color=colour)
    axes.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.25, lw=0)
    axes.axhline(1.0, color="#999999", lw=0.8, ls=":")
    axes.set_xlabel(f"Steps; mean and 95 % interval of {values.shape[1]} seeds")
    axes.set_ylabel("Return of a slot, random agent = 1")


def sweep_panel(
    axes: Axes, table: pd.DataFrame, name: str, quantity: str, *, order: Sequence[str] = ()
) -> None:
    """Mean of every method over a swept field, with a band of its 95 % interval.

    Args:
        axes: where to draw.
        table: of one metric: `method`, the field, `mean`, `half`.
        name: of the field.
        quantity: what the values are, with its unit.
        order: of methods that this study alone has, which gives them their colours.
    """
    own_styles = dict(zip(order, _OTHERS, strict=False))
    labels = None
    for method, own in table.groupby("method", sort=False):
        colour, marker = own_styles.get(str(method)) or _STYLE[method]
        x = own[name]
        if not pd.api.types.is_numeric_dtype(x) or x.dtype == bool:
            labels = [str(value) for value in x]
            x = np.arange(len(own))
        low, high = own["mean"] - own["half"], own["mean"] + own["half"]
        axes.plot(x, own["mean"], color=colour, marker=marker, ms=4, lw=1, label=method)
        axes.fill_between(
            x, low.fillna(own["mean"]), high.fillna(own["mean"]), color=colour, alpha=0.25, lw=0
        )
    if labels is not None:
        axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(name)
    axes.set_ylabel(quantity)


def points_panel(
    axes: Axes, table: pd.DataFrame, axis: str, quantity: str, *, order: Sequence[str]
) -> None:
    """Mean and interval of every method by place, side by side.

    Args:
        axes: where to draw.
        table: `method`, `mean`, the place, and `half` of the interval, or its `low` and `high`.
        axis: the column whose values are the places on the x axis.
        quantity: what the values are, with its unit.
        order: of the methods, which gives them their colours.
    """
    if "low" not in table:
        half = table["half"].fillna(0)
        table = table.assign(low=table["mean"] - half, high=table["mean"] + half)
    places = list(table[axis].unique())
    styles = {name: _OTHERS[i % len(_OTHERS)] for i, name in enumerate(order)}
    for i, name in enumerate(order):
        own = table[table["method"] == name].set_index(axis).reindex(places)
        x = np.arange(len(places)) + 0.8 * ((i + 0.5) / len(order) - 0.5)
        colour, marker = styles[name]
        filled = "none" if i >= len(_OTHERS) else colour
        axes.errorbar(
            x,
            own["mean"],
            yerr=[own["mean"] - own["low"], own["high"] - own["mean"]],
            color=colour,
            marker=marker,
            mfc=filled,
            ls="",
            ms=5,
            capsize=2,
            label=name,
        )
    axes.set_xticks(range(len(places)), places)
    axes.set_ylabel(quantity)


def seconds_panel(axes: Axes, table: pd.DataFrame, axis: str) -> None:
    """Median seconds of every method by cell, a whisker up to the 95 % quantile; `paper_s` beside.

    Args:
        axes: where to draw.
        table: a summary with `seconds`, `p95_s` and `paper_s`.
        axis: the column whose values are the places on the x axis.
    """
    places = list(table[axis].unique())
    for method, own in table.groupby("method", sort=False):
        colour, marker = _STYLE.get(str(method), _AGENT)
        own = own.set_index(axis).reindex(places)
        up = own["p95_s"] - own["seconds"]
        x = np.arange(len(places))
        whiskers = np.stack([np.zeros(len(places)), np.maximum(up, 0)])
        axes.errorbar(
            x,
            own["seconds"],
            yerr=whiskers,
            color=colour,
            marker=marker,
            ms=5,
            lw=0.8,
            capsize=2,
            label=str(method),
        )
        axes.plot(x, own["paper_s"], color=colour, marker="x", ls=":", lw=0.8, ms=6)
    if table["paper_s"].notna().any():
        axes.plot([], [], "x", color="0.3", ls=":", label="paper (its own machine)")
    axes.set_xticks(range(len(places)), places, rotation=40, ha="right")
    axes.set_yscale("log")
    axes.set_ylabel("Seconds per decision (median, up to 95 %)")


def stack_panel(
    axes: Axes, table: pd.DataFrame, axis: str, parts: Sequence[str], quantity: str
) -> None:
    """A bar per cell, of `parts` on top of each other."""
    below = np.zeros(len(table))
    for part, (colour, _) in zip(parts, _OTHERS, strict=False):
        height = table[part].fillna(0).to_numpy()
        label = part.removesuffix("_s")
        axes.bar(table[axis].astype(str), height, bottom=below, color=colour, label=label)
        below = below + height
    axes.tick_params(axis="x", rotation=40)
    axes.set_ylabel(quantity)


def trade_panel(axes: Axes, table: pd.DataFrame, x_name: str, *, order: Sequence[str]) -> None:
    """Two means of every method against each other, with their intervals.

    Args:
        axes: where to draw.
        table: `method`, `x`, `x_half`, `y` and `y_half`.
        x_name: what x is, with its unit.
        order: of the methods, which gives them their colours.
    """
    styles = dict(zip(order, _OTHERS, strict=False))
    for row in table.to_dict("records"):
        colour, marker = styles[row["method"]]
        axes.errorbar(
            row["x"],
            row["y"],
            xerr=np.nan_to_num(row["x_half"]),
            yerr=np.nan_to_num(row["y_half"]),
            color=colour,
            marker=marker,
            ls="",
            ms=6,
            capsize=2,
            label=row["method"],
        )
    axes.set_xlabel(x_name)


def cdf_panel(axes: Axes, curves: dict[str, tuple[np.ndarray, np.ndarray]], quantity: str) -> None:
    """Distribution functions by method: each a pair of values and the share up to them."""
    for method, (x, share) in curves.items():
        axes.plot(x, share, color=_STYLE[method][0], lw=1.2, label=method)
    axes.set_xlabel(quantity)
    axes.set_ylabel("Share")
    axes.set_ylim(0, 1)


_SMALLEST_GAP = 0.1
_GAPS = LogNorm(_SMALLEST_GAP, 50)


@contextlib.contextmanager
def heat_maps(stem: pathlib.Path, columns: int) -> Iterator[Sequence[Axes]]:
    """A row of panels for `heat_map`, with one colour bar; written as by `figure`."""
    matplotlib.use("Agg")
    with plt.rc_context(_RC | {"axes.grid": False, "font.size": 8}):
        drawn, axes = plt.subplots(
            1, columns, figsize=(2.2 + 2.9 * columns, 4.4), layout="constrained", squeeze=False
        )
        yield list(axes[0])
        colours = plt.cm.ScalarMappable(_GAPS, "YlOrRd")
        drawn.colorbar(colours, ax=axes[0], label="Gap [%]", fraction=0.02, extend="both")
        _write(drawn, stem)


def heat_map(axes: Axes, table: pd.DataFrame, title: str, *, names_places: bool) -> None:
    """Gaps by place and method in colour and number, the best of each place framed.

    Args:
        axes: where to draw.
        table: `place`, `method`, `shown` (the gap in percent, NaN for none), `text` and `best`.
        title: of the panel.
        names_places: whether the places' names stand beside it.
    """
    places, names = list(table["place"].unique()), list(table["method"].unique())
    by_place = table.pivot(index="place", columns="method").reindex(places)
    gap = by_place["shown"][names].to_numpy(float)
    axes.imshow(np.maximum(gap, _SMALLEST_GAP), norm=_GAPS, cmap="YlOrRd", aspect="auto")
    for y, place in enumerate(places):
        for x, name in enumerate(names):
            text, best = by_place["text"].loc[place, name], by_place["best"].loc[place, name]
            dark = gap[y, x] > 10
            colour = "0.6" if np.isnan(gap[y, x]) else "white" if dark else "black"
            weight = "bold" if best else "normal"
            axes.text(x, y, text, ha="center", va="center", color=colour, weight=weight, size=6.5)
            if best:
                axes.add_patch(Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, lw=1.6))
    axes.set_title(title)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(places)), places if names_places else [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)

"""Figures in one style, as PNG to look at and PDF to print."""

import pathlib

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import methods

# Okabe and Ito's colours, which stay apart for colour-blind readers, and a marker for print.
_STYLE = {
    methods.LLM: ("#D55E00", "o"),
    methods.LLM_RAW: ("#D55E00", "$o$"),
    methods.RANDOM: ("#999999", "v"),
    methods.GREEDY: ("#E69F00", "^"),
    methods.SORTED: ("#009E73", "s"),
    methods.GROUPED: ("#0072B2", "D"),
    methods.LOCAL_SEARCH: ("#CC79A7", "P"),
    methods.OPTIMUM: ("#000000", "_"),
    methods.OPTIMUM_UNCOUPLED: ("#000000", "_"),
}
_RC = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def save(figure: Figure, stem: pathlib.Path) -> list[pathlib.Path]:
    """Writes `stem`.png and `stem`.pdf and closes the figure."""
    files = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        figure.savefig(file, bbox_inches="tight")
    plt.close(figure)
    return files


def scaling_figure(table: pd.DataFrame, stem: pathlib.Path, *, coupled: bool) -> list[pathlib.Path]:
    """Throughput by scale beside the paper's points, and gap against time per decision."""
    matplotlib.use("Agg")
    with plt.rc_context(_RC):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
        _throughput_panel(left, table)
        _gap_panel(right, table)
        right.set_ylabel(f"Gap to {'an upper bound' if coupled else 'the exact optimum'} [%]")
        kind = "Objective of Eq. (8)" if coupled else "Throughput"
        left.set_ylabel(f"{kind} [Gbit/s]")
        figure.legend(loc="outside lower center", ncols=4)
        return save(figure, stem)


def _throughput_panel(axes: plt.Axes, table: pd.DataFrame) -> None:
    scales = list(table["scale"].unique())
    names = list(table["method"].unique())
    for i, name in enumerate(names):
        own = table[table["method"] == name].set_index("scale").reindex(scales)
        # Side by side: most methods lie on top of one another.
        x = np.arange(len(scales)) + (i - (len(names) - 1) / 2) * 0.1
        colour, marker = _STYLE[name]
        axes.errorbar(
            x,
            own["mean_mbps"] / 1e3,
            yerr=own["mean_half_mbps"].fillna(0) / 1e3,
            color=colour,
            marker=marker,
            ls="",
            ms=5,
            capsize=2,
            label=name,
        )
        if own["paper_mbps"].notna().any():
            axes.plot(x, own["paper_mbps"] / 1e3, marker="x", ls="", color=colour, ms=6, alpha=0.8)
    axes.plot([], [], "x", color="0.3", label="paper (its own instances)")
    axes.set_xticks(range(len(scales)), [f"Scale {s}" for s in scales])
    axes.set_ylim(bottom=0)


def _gap_panel(axes: plt.Axes, table: pd.DataFrame) -> None:
    """A line per method through its scales; the larger the marker, the larger the scale."""
    for name, own in table[table["method"] != methods.OPTIMUM].groupby("method", sort=False):
        colour, marker = _STYLE[name]
        axes.plot(own["seconds"], own["gap_percent"], color=colour, lw=0.8, alpha=0.6)
        sizes = 18 + 22 * np.arange(len(own))
        axes.scatter(own["seconds"], own["gap_percent"], sizes, color=colour, marker=marker)
    axes.set_xscale("log")
    # A gap of exactly zero has a place on this axis, and 0.001 % can be told from 0.1 %.
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_ylim(bottom=-3e-4, top=100)
    axes.set_xlabel("Seconds per decision (median); larger markers, larger scales")

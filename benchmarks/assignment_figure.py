"""The figure of the assignment benchmark."""

import pathlib
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which stay apart for colour-blind readers, and a marker for print.
STYLE = {
    "SciPy loop": ("#000000", "x"),
    "sorted matching": ("#009E73", "s"),
    "C++ kernel": ("#D55E00", "o"),
    "pure JAX": ("#0072B2", "D"),
    "lapx": ("#E69F00", "^"),
    "optax": ("#CC79A7", "v"),
    "ott, rounded": ("#56B4E9", "P"),
    "torch-linear-assignment": ("#999999", "+"),
}
_COLUMNS = 4


def figure(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """By kind, time over N for single problems, and below it time per problem over the batch."""
    matplotlib.use("Agg")
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    bands = -(-len(kinds) // _COLUMNS)
    drawing, axes = plt.subplots(
        2 * bands,
        min(_COLUMNS, len(kinds)),
        figsize=(3.2 * min(_COLUMNS, len(kinds)), 5.4 * bands + 0.6),
        layout="constrained",
        squeeze=False,
    )
    for place, kind in enumerate(kinds):
        band, column = divmod(place, _COLUMNS)
        _panels(axes[2 * band : 2 * band + 2, column], kind, rows)
    for band in range(bands):
        axes[2 * band, 0].set_ylabel("Seconds")
        axes[2 * band + 1, 0].set_ylabel("Seconds per problem")
    for unused in range(len(kinds), bands * axes.shape[1]):
        for axis in axes[2 * bands - 2 :, unused % _COLUMNS]:
            axis.remove()
    present = {row["method"] for row in rows}
    lines = [
        plt.Line2D([], [], color=colour, marker=marker, ms=5, label=name)
        for name, (colour, marker) in STYLE.items()
        if name in present
    ]
    drawing.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False)
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(drawing)


def _panels(axes: Any, kind: str, rows: list[dict[str, Any]]) -> None:
    for name, (colour, marker) in STYLE.items():
        mine = [row for row in rows if (row["kind"], row["method"]) == (kind, name)]
        single = sorted((r["size"], r["median_s"]) for r in mine if r["batch"] == 1)
        many = sorted((r["batch"], r["median_s"] / r["batch"]) for r in mine if r["size"] == 200)
        for axis, points in zip(axes, (single, many), strict=True):
            if points:
                axis.loglog(*zip(*points, strict=True), color=colour, marker=marker, ms=5, lw=1.2)
    axes[0].set_title(kind)
    axes[0].set_xlabel("N = M")
    axes[1].set_xlabel("Batch of 200 x 200")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)

"""The figure of the benchmark of duals."""

import pathlib
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which stay apart for colour-blind readers, and a marker for print.
STYLE = {
    "network + warm": ("#D55E00", "o", "-"),
    "network's duals": ("#D55E00", "o", ":"),
    "untrained + warm": ("#E69F00", "^", "-"),
    "auction round + warm": ("#999999", "v", "-"),
    "slot before's duals": ("#0072B2", "D", "-"),
    "exact duals": ("#009E73", "s", "-"),
}


def figure(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Time over a cold solve against K / M: a row of panels per setting, a column per scale."""
    matplotlib.use("Agg")
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    scales = list(dict.fromkeys(row["scale"] for row in rows))
    drawing, axes = plt.subplots(
        len(settings),
        len(scales),
        figsize=(3.2 * len(scales), 2.7 * len(settings) + 0.6),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for line, setting in zip(axes, settings, strict=True):
        for axis, scale in zip(line, scales, strict=True):
            mine = [row for row in rows if (row["setting"], row["scale"]) == (setting, scale)]
            share = [row["share"] for row in mine]
            for name, (colour, marker, style) in STYLE.items():
                over = [row["over_cold"][name] for row in mine]
                axis.plot(share, over, style, color=colour, marker=marker, ms=4, lw=1.2)
            axis.axhline(1.0, color="black", lw=0.8)
            axis.set_yscale("log")
            axis.set_title(f"{setting}, scale {scale} (M = {mine[0]['num_channels']})", size=9)
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("Time over a cold solve")
    for axis in axes[-1]:
        axis.set_xlabel("K / M")
    lines = [
        plt.Line2D([], [], color=colour, marker=marker, ls=style, ms=4, label=name)
        for name, (colour, marker, style) in STYLE.items()
    ]
    drawing.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False)
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(drawing)

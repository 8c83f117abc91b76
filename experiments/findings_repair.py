"""What proofs and the search say of the repair, Theorem 1."""

import pandas as pd

from experiments.findings_rows import (
    FAILS,
    HOLDS,
    Finding,
    rows,
)
from experiments.report_numbers import number

_PLAIN, _SMALL = "scaling_plain.csv", "small_scale.csv"
_SCALES = ("I", "II", "III")


def _repair() -> pd.DataFrame:
    return rows("repair_ratio.csv", "benchmarks.repair_ratio")


def _searched(model: str) -> pd.Series:
    found = _repair()
    own = found[(found["what"] == "search") & found["model"].str.startswith(model)]
    return own.loc[own["worst_ratio"].idxmin()]


def _usual() -> pd.DataFrame:
    found = _repair()
    return found[found["what"] == "random answers"]


def feasible() -> Finding:
    """By proof; counted on random answers."""
    usual = _usual()
    return Finding(
        HOLDS,
        "Where there are at least as many idle channels as users; the proof is below. On "
        f"{usual['slots'].sum():.0f} random answers the count of kept suggestions was that of an "
        "exact maximum each time. With fewer idle channels all of these are in use, and some users "
        "stay without.",
        ("repair_ratio.csv",),
    )


def locally_optimal() -> Finding:
    """The two-user counterexample, and random answers."""
    usual = _usual()
    low, high = usual["locally_optimal_percent"].min(), usual["locally_optimal_percent"].max()
    return Finding(
        FAILS,
        "Two users and two channels in the paper's own setting are a counterexample (below): the "
        "strong user keeps a narrow channel that both asked for. Of random answers to slots of the "
        f"paper's sizes {low:.0f} to {high:.0f} % are repaired to a local optimum.",
        ("repair_ratio.csv",),
    )


def factor() -> Finding:
    """Worst ratios found."""
    paper, fading = _searched("plain, the paper"), _searched("fading")
    wide, narrow = _searched("plain, powers"), _searched("plain, bandwidths")
    usual = _usual()["mean_ratio"]
    return Finding(
        FAILS,
        "With rates by distance and bandwidth the factor is the least bandwidth over the largest, "
        "1/2 in the paper's setting, which any assignment that serves all has too; it is the best "
        "possible, and not a constant. With gains by user and channel there is none. Worst ratios "
        f"found: {paper['worst_ratio']:.3f} within the paper's ranges, {wide['worst_ratio']:.3f} "
        "with powers up to 1e8 times as large or small, "
        f"{narrow['worst_ratio']:.3f} with bandwidths of 0.2 to 20 MHz besides, "
        f"{fading['worst_ratio']:.4f} with fading. Random answers keep "
        f"{number(usual.min(), 3)} to {number(usual.max(), 5)} in the mean.",
        ("repair_ratio.csv",),
    )

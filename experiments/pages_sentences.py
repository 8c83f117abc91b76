"""Sentences of docs/results.md that are made of the rows beside them."""

import pandas as pd

from experiments.small_scale import contradictions


def of_the_paper(summary: pd.DataFrame) -> str:
    """What in the paper's Table III cannot be of the same instances, by the rows that ship."""
    own = summary[summary["paper_mean"].notna()].set_index(["triple", "method"])["paper_mean"]
    return contradictions(own.to_dict()) + "\n"


def won_back(summary: pd.DataFrame) -> str:
    """Of the gap that the optimum of Eq. (4) has in `coupled`, what local search wins back."""
    gaps = summary.pivot(index="scale", columns="method", values="gap_percent")
    start, end = gaps["Optimum of Eq. (4)"], gaps["Local search"]
    shown = ", ".join(
        f"{100 * share:.0f} % ({scale})" for scale, share in (1 - end / start).items()
    )
    return (
        "Local search starts from the optimum of Eq. (4), has the time that the model takes, and "
        f"wins back this share of the gap: {shown}.\n"
    )

"""Means, and 95 % intervals of differences between methods on the same instances."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import special

from experiments.rows import SKIPPED


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Mean and half width of its 95 % t interval; the width is NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return float(values.mean()), math.nan
    half = special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(half)


def summarise(
    rows: pd.DataFrame,
    *,
    axes: Sequence[str],
    reference: str,
    paper: Mapping[tuple[Any, ...], float],
) -> pd.DataFrame:
    """One row per cell and method, in the order of `rows`.

    Args:
        rows: the axes and `experiments.rows.COLUMNS`.
        axes: columns that name a cell.
        reference: method that the others are subtracted from, paired by instance.
        paper: Mbit/s by (value of each axis, ..., method), where the paper has it.

    Returns:
        The axes, `method`, `realizations` that were valued; mean and half width of the 95 %
        interval in Mbit/s; paired difference to `reference` likewise; gap to `bound_bps` in percent
        of it likewise; share of valid raw answers in percent; median seconds per decision; the
        paper's Mbit/s; `skipped`, the reason where the method does not apply.
    """
    table = []
    for place, cell in rows.groupby(list(axes), sort=False):
        base = _mbps(cell[cell["method"] == reference], "value_bps")
        for method, own in cell.groupby("method", sort=False):
            table.append(
                {
                    **dict(zip(axes, place, strict=True)),
                    "method": method,
                    **_statistics(own, base),
                    "paper_mbps": paper.get((*place, method), math.nan),
                    "skipped": _reason(own),
                }
            )
    return pd.DataFrame(table)


def _statistics(own: pd.DataFrame, base: pd.Series) -> dict[str, Any]:
    value, bound = _mbps(own, "value_bps").dropna(), _mbps(own, "bound_bps")
    # A slot without users is worth 0, and that is its optimum.
    gap = (100 * (bound - value) / bound.where(bound > 0, 1.0)).dropna()
    valid = (
        own["raw_valid"].dropna().astype(float) if "raw_valid" in own else pd.Series(dtype=float)
    )
    mean, mean_half = mean_interval(value)
    difference, difference_half = mean_interval((value - base).dropna())
    gap_mean, gap_half = mean_interval(gap)
    return {
        "realizations": len(value),
        "mean_mbps": mean,
        "mean_half_mbps": mean_half,
        "difference_mbps": difference,
        "difference_half_mbps": difference_half,
        "gap_percent": gap_mean,
        "gap_half_percent": gap_half,
        "raw_valid_percent": 100 * valid.mean() if len(valid) else math.nan,
        "seconds": float(own["seconds"].median()),
    }


def _mbps(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows.set_index("realization")[column].astype(float) / 1e6


def _reason(own: pd.DataFrame) -> str | None:
    skipped = own[own["status"] == SKIPPED]
    return None if skipped.empty else str(skipped["detail"].iloc[0])

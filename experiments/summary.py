"""Means, and 95 % intervals of differences between methods on the same instances."""

import math

import pandas as pd
from scipy import stats

KEY = ["scale", "realization"]


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Mean and half width of its 95 % t interval; the width is NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return float(values.mean()), math.nan
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(half)


def summarise(
    rows: pd.DataFrame, *, reference: str, paper: dict[tuple[str, str], float]
) -> pd.DataFrame:
    """One row per scale and method, in the order of `rows`.

    Args:
        rows: `scale`, `method`, `realization`, `value_bps`, `bound_bps` (the instance's optimum, or
            an upper bound), `seconds`, `raw_valid`, ...
        reference: method that the others are subtracted from, paired by instance.
        paper: Mbit/s by (scale, method), where the paper has it.

    Returns:
        mean and half width of the 95 % interval in Mbit/s; paired difference to `reference`
        likewise; gap to `bound_bps` in percent of it likewise; share of valid raw answers in
        percent; median seconds per decision; the paper's Mbit/s.
    """
    table = []
    for (scale, method), own in rows.groupby(["scale", "method"], sort=False):
        value = own.set_index(KEY)["value_bps"] / 1e6
        of_scale = rows[rows["scale"] == scale]
        base = of_scale[of_scale["method"] == reference].set_index(KEY)["value_bps"] / 1e6
        bound = own.set_index(KEY)["bound_bps"] / 1e6
        mean, mean_half = mean_interval(value)
        diff, diff_half = mean_interval((value - base).dropna())
        gap, gap_half = mean_interval(100 * (bound - value) / bound)
        valid = own["raw_valid"].dropna().astype(float)
        table.append(
            {
                "scale": scale,
                "method": method,
                "realizations": len(value),
                "mean_mbps": mean,
                "mean_half_mbps": mean_half,
                "difference_mbps": diff,
                "difference_half_mbps": diff_half,
                "gap_percent": gap,
                "gap_half_percent": gap_half,
                "raw_valid_percent": 100 * valid.mean() if len(valid) else math.nan,
                "seconds": float(own["seconds"].median()),
                "paper_mbps": paper.get((scale, method), math.nan),
            }
        )
    return pd.DataFrame(table)

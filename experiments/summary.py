"""Means, and 95 % intervals of differences between methods on the same instances."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import special

from experiments.rows import SKIPPED, UNITS, Unit


def mean_interval(values: pd.Series) -> tuple[float, float]:
    """Mean and half width of its 95 % t interval; the width is NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return float(values.mean()), math.nan
    half = special.stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(half)


def span(values: pd.Series, most: float | None = None) -> tuple[float, float] | None:
    """The t interval of a mean, cut at 0 and `most`; none of one value, or where all agree."""
    if not values.max() > values.min():
        return None
    mean, half = mean_interval(values)
    return max(mean - half, 0.0), min(mean + half, math.inf if most is None else most)


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
        paper: means by (value of each axis, ..., method), where the paper has them.

    Returns:
        The axes, `method`, `unit` of the values, `realizations` that were valued; mean and half
        width of the 95 % interval in that unit; paired difference to `reference` likewise; gap to
        `bound` in percent of it likewise; share of valid raw answers in percent; median seconds per
        decision; the paper's mean; `skipped`, the reason where the method does not apply.
    """
    table = []
    for place, cell in rows.groupby(list(axes), sort=False):
        unit = UNITS[cell["objective"].iloc[0]]
        base = _shown(cell[cell["method"] == reference], "value", unit)
        for method, own in cell.groupby("method", sort=False):
            table.append(
                {
                    **dict(zip(axes, place, strict=True)),
                    "method": method,
                    "unit": unit.name,
                    **_statistics(own, base, unit),
                    "paper_mean": paper.get((*place, method), math.nan),
                    "skipped": _reason(own),
                }
            )
    return pd.DataFrame(table)


def over_seeds(block: pd.DataFrame) -> pd.DataFrame:
    """One row for all seeds of the agent in a cell's summary, intervals over its seeds.

    Args:
        block: a cell of `summarise`, with `agent` and `agent_seed` where a method is an agent's.
    """
    own = block[block["agent_seed"].notna()]
    row = own.iloc[0].to_dict() | {"method": own["agent"].iloc[0], "agent_seed": math.nan}
    row["seconds"] = own["seconds"].median()
    for mean, half in (
        ("mean", "mean_half"),
        ("difference", "difference_half"),
        ("gap_percent", "gap_half_percent"),
    ):
        row[mean], row[half] = mean_interval(own[mean])
    return pd.DataFrame([row])


def _statistics(own: pd.DataFrame, base: pd.Series, unit: Unit) -> dict[str, Any]:
    value, bound = _shown(own, "value", unit).dropna(), _shown(own, "bound", unit)
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
        "mean": mean,
        "mean_half": mean_half,
        "difference": difference,
        "difference_half": difference_half,
        "gap_percent": gap_mean,
        "gap_half_percent": gap_half,
        "raw_valid_percent": 100 * valid.mean() if len(valid) else math.nan,
        "seconds": float(own["seconds"].median()),
    }


def _shown(rows: pd.DataFrame, column: str, unit: Unit) -> pd.Series:
    return rows.set_index("realization")[column].astype(float) / unit.size


def _reason(own: pd.DataFrame) -> str | None:
    skipped = own[own["status"] == SKIPPED]
    return None if skipped.empty else str(skipped["detail"].iloc[0])

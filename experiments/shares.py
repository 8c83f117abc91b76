"""Shares of valid answers, with 95 % intervals that stay within 0 and 100 %."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from experiments.report_numbers import number


class Share(NamedTuple):
    """A share in percent.

    Attributes:
        percent: the share; NaN where there is none.
        low: of its interval.
        high: of its interval.
        counted: what the interval is over, such as "3 seeds" or "8 answers".
    """

    percent: float
    low: float
    high: float
    counted: str

    def text(self, unit: str = "") -> str:
        """Such as "87.5 (56 to 100)", with the unit behind the share; a dash for none."""
        if pd.isna(self.percent):
            return number(self.percent)
        return f"{number(self.percent, 3)}{unit} ({self.low:.0f} to {self.high:.0f})"


def valid(row: Mapping[str, Any]) -> Share:
    """Valid answers of a row of the ablation's summary.

    Of several seeds the t interval over them, cut to what a share can be. Where they all agree,
    that would have no width: there, and of a single model, it is Wilson's of the answers.

    Args:
        row: `raw_valid_percent`, `raw_valid_half_percent`, `seeds`, and `realizations` of each.
    """
    percent, half = row["raw_valid_percent"], row.get("raw_valid_half_percent", float("nan"))
    if pd.isna(percent):
        return Share(percent, percent, percent, "–")
    seeds = int(row["seeds"])
    if seeds > 1 and half > 0:
        return Share(
            percent, max(percent - half, 0.0), min(percent + half, 100.0), f"{seeds} seeds"
        )
    from llm.training.evaluation import wilson  # here, since it loads JAX

    answers = seeds * int(row["realizations"])
    low, high = wilson(percent / 100, answers)
    return Share(percent, 100 * low, 100 * high, f"{answers} answers")

"""Rows that findings are made of, and the words that they are written in."""

import functools
import pathlib
from typing import NamedTuple

import pandas as pd

from experiments.report_numbers import interval

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"

HOLDS = "Holds."
PARTLY = "Holds in part."
FAILS = "Does not hold."
UNTESTED = "Cannot be tested here."
NOT_YET = "Not yet measured."
PAPER_STEPS = 300
"""Of GRPO."""
TRAINED_MODEL = (
    "It takes the paper's checkpoints, or a training of a 7 B model by GRPO on several GPUs"
)


class Finding(NamedTuple):
    """What was found of a claim.

    Attributes:
        verdict: one of the five above.
        text: what was measured.
        files: of docs/results, where the numbers are from.
    """

    verdict: str
    text: str
    files: tuple[str, ...] = ()


class NotMeasured(Exception):  # noqa: N818 - a state of the repository, no error
    """There are no rows yet; `finding` says by which command there will be."""

    def __init__(self, command: str, more: str = "") -> None:
        text = f"The rows will be those of `python -m {command}`."
        self.finding = Finding(NOT_YET, f"{text} {more}".rstrip())
        super().__init__(text)


@functools.cache
def _read(file: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / file)


def rows(file: str, command: str = "", more: str = "") -> pd.DataFrame:
    """The rows of a file.

    Raises:
        NotMeasured: it is not there.
    """
    if not (RESULTS / file).exists():
        raise NotMeasured(command, more)
    return _read(file)


def has(file: str) -> bool:
    """Whether there are rows."""
    return (RESULTS / file).exists()


def at(file: str, method: str, **cell: str | float) -> pd.Series:
    """The row of a method in a cell."""
    own = rows(file)
    own = own[own["method"] == method]
    for axis, value in cell.items():
        own = own[own[axis] == value]
    (found,) = own.to_dict("records")
    return pd.Series(found)


def gap(row: pd.Series) -> str:
    """Its gap in percent, with the interval."""
    return f"{interval(max(row['gap_percent'], 0.0), row['gap_half_percent'])} %"


def milliseconds(seconds: float) -> str:
    """Two digits of it."""
    value = 1e3 * seconds
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"

"""How a program is written: names, comments, the last step."""

import dataclasses
from typing import Any

import numpy as np

Rng = np.random.Generator

ENDINGS = {
    "comprehension": (
        "action = {{int(users[i]): int(channels[j]) for i, j in zip({rows}, {cols})}}\n"
    ),
    "dict": "action = dict(zip(users[{rows}].tolist(), channels[{cols}].tolist()))\n",
    "loop": (
        "action = {{}}\nfor i, j in zip({rows}, {cols}):\n"
        "    action[int(users[i])] = int(channels[j])\n"
    ),
}


NAMES = (("rows", "cols", "rates"), ("order", "best", "rate"), ("i_user", "i_channel", "R"))
"""Of the positions of users, of channels, and of the matrix of all pairs."""


@dataclasses.dataclass(frozen=True)
class Style:
    """How a program is written.

    Attributes:
        rows: name of the users' positions.
        cols: name of the channels' positions.
        rates: name of the matrix of rates or values.
        comments: whether it has any.
        ending: key of `ENDINGS`, the last step.
        imports: whether it imports NumPy, which is bound already.
    """

    rows: str
    cols: str
    rates: str
    comments: bool
    ending: str
    imports: bool

    def note(self, text: str) -> str:
        """A comment line, or nothing."""
        return f"# {text}\n" if self.comments else ""


def sample_style(rng: Rng) -> Style:
    """A style at random."""
    # Together, so that a model that small keeps to them.
    rows, cols, rates = pick(rng, NAMES)
    return Style(
        rows=rows,
        cols=cols,
        rates=rates,
        comments=bool(rng.random() < 0.4),
        ending=pick(rng, tuple(ENDINGS)),
        imports=bool(rng.random() < 0.15),
    )


def pick(rng: Rng, options: tuple) -> Any:
    """One of `options`."""
    return options[int(rng.integers(len(options)))]


def ending(s: Style) -> str:
    """The last step: positions of users and channels become ids in `action`."""
    text = ENDINGS[s.ending].format(rows=s.rows, cols=s.cols)
    return s.note("positions become ids") + text

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


@dataclasses.dataclass(frozen=True)
class Style:
    """How a program is written.

    Attributes:
        rows: name of the users' positions.
        cols: name of the channels' positions.
        rates: name of the rate matrix.
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
    rows, cols = pick(rng, (("rows", "cols"), ("order", "best"), ("i_user", "i_channel")))
    return Style(
        rows=rows,
        cols=cols,
        rates=pick(rng, ("rates", "rate", "R")),
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

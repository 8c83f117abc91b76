"""Generated programs that the embedded model learns from: families x styles, and broken ones."""

import dataclasses

import numpy as np

from llm.embedded.corpus.families import FAMILIES, program
from llm.embedded.corpus.mistakes import MISTAKES
from llm.embedded.corpus.slots import KINDS, random_slot
from llm.embedded.corpus.style import Rng, pick, sample_style

__all__ = [
    "FAMILIES",
    "KINDS",
    "MISTAKES",
    "Sample",
    "program",
    "random_slot",
    "sample_completion",
    "sample_style",
]

FAMILY_WEIGHTS: dict[str, tuple[int, ...]] = {
    "random": (18, 16, 16, 18),
    "first_fit": (12, 10, 10, 12),
    "sort_users": (12, 10, 10, 10),
    "sort_channels": (14, 10, 12, 12),
    "sort_both": (20, 16, 18, 18),
    "greedy": (12, 20, 18, 16),
    "assignment": (6, 10, 8, 7),
    "local_search": (6, 8, 8, 7),
}
"""How often a program is of a family, per kind of `KINDS`. Every kind has every family, and the
best (`assignment`) is rare in all: what a setting calls for is left to reinforcement learning."""

BROKEN_SHARE = 0.2
"""Share of programs with a mistake, as a model in training makes them."""

_INTROS = (
    "",
    "Here is the program:\n",
    "This program sets `action`:\n",
    "The following code allocates the channels:\n",
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One generated completion.

    Attributes:
        text: the completion as a chat model writes it.
        code: the program in it.
        family: key of `FAMILY_WEIGHTS`.
        mistake: key of `MISTAKES`, or None where the program is right.
    """

    text: str
    code: str
    family: str
    mistake: str | None


def sample_completion(
    rng: Rng, kind: str, *, family: str | None = None, mistake: str | bool | None = True
) -> Sample:
    """A completion for a setting of `kind`.

    Args:
        rng: source of all choices.
        kind: one of `KINDS`; of a combination such as "fading+wideband" the first counts.
        family: None draws one by `FAMILY_WEIGHTS`.
        mistake: a key of `MISTAKES`; None for a program that is right; True draws.
    """
    kind = kind.split("+")[0]
    if family is None:
        share = np.array([FAMILY_WEIGHTS[f][KINDS.index(kind)] for f in FAMILIES], float)
        family = str(rng.choice(list(FAMILIES), p=share / share.sum()))
    if mistake is True:
        mistake = str(rng.choice(list(MISTAKES))) if rng.random() < BROKEN_SHARE else None
    style = sample_style(rng)
    code = program(rng, family, style, kind)
    if mistake:
        code = MISTAKES[mistake](rng, code, style)
    fence = str(rng.choice(("```python", "```"), p=(0.95, 0.05)))
    return Sample(f"{pick(rng, _INTROS)}{fence}\n{code}```", code, family, mistake or None)

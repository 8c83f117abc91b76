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
    "RIGHT",
    "Sample",
    "program",
    "random_slot",
    "sample_completion",
    "sample_style",
]

RIGHT = {
    "plain": "sort_both",
    "fading": "assign_rates",
    "multipath": "assign_rates",
    "wideband": "assign_rates",
    "interference": "assign_rates",
    "fair": "assign_values",
    "fair fading": "assign_values",
    "weighted": "assign_values",
    "coupled": "improve",
}
"""The cheapest family that is as good as any, per kind of `KINDS`."""

FAMILY_WEIGHTS = {
    "random": 16,
    "first_fit": 11,
    "sort_users": 10,
    "sort_channels": 12,
    "sort_both": 14,
    "greedy": 14,
    "assign_rates": 5,
    "assign_values": 5,
    "local_search": 8,
    "improve": 5,
}
"""How often a program is of a family. The best ones are rare everywhere; the one of `RIGHT` counts
`RIGHT_FACTOR` times, and the rest of the choice is left to reinforcement learning."""

RIGHT_FACTOR = 1.5

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
    """A completion for a slot of `kind`.

    Args:
        rng: source of all choices.
        kind: key of `KINDS`.
        family: None draws one by `FAMILY_WEIGHTS`.
        mistake: a key of `MISTAKES`; None for a program that is right; True draws.
    """
    if family is None:
        share = np.array([FAMILY_WEIGHTS[f] for f in FAMILIES])
        share = np.where(np.array(list(FAMILIES)) == RIGHT[kind], RIGHT_FACTOR, 1.0) * share
        family = str(rng.choice(list(FAMILIES), p=share / share.sum()))
    if mistake is True:
        mistake = str(rng.choice(list(MISTAKES))) if rng.random() < BROKEN_SHARE else None
    style = sample_style(rng)
    code = program(rng, family, style, kind)
    if mistake:
        code = MISTAKES[mistake](rng, code, style)
    fence = str(rng.choice(("```python", "```"), p=(0.95, 0.05)))
    return Sample(f"{pick(rng, _INTROS)}{fence}\n{code}```", code, family, mistake or None)

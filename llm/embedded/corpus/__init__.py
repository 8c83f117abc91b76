"""Generated programs that the embedded model learns from: families x styles, and broken ones."""

import dataclasses

import numpy as np

from llm.embedded.corpus.families import FAMILIES, program
from llm.embedded.corpus.mistakes import MISTAKES
from llm.embedded.corpus.slots import HELD_OUT, KINDS, TIME_BUDGETS_S, random_slot
from llm.embedded.corpus.style import Rng, pick, sample_style

__all__ = [
    "FAMILIES",
    "HELD_OUT",
    "KINDS",
    "MISTAKES",
    "TIME_BUDGETS_S",
    "Sample",
    "program",
    "random_slot",
    "right_family",
    "sample_completion",
    "sample_style",
]

FAMILY_WEIGHTS = {
    "random": 14,
    "first_fit": 10,
    "sort_users": 8,
    "sort_channels": 8,
    "sort_both": 20,
    "greedy": 14,
    "assign_rates": 3,
    "assign_values": 3,
    "local_search": 6,
    "improve": 1,
}
"""How often a program is of a family, beside the one that is right. What is often right is rare, so
that where something else is, it is not lost to that before it has been tried."""

RIGHT_SHARE = 0.15
"""How often it is of the right one: with the mistakes in two of three groups of 8, and in seven of
eight of 16. It is the mode nowhere; the choice is left to reinforcement learning."""

START_S, GREEDY_S, LAP_S, IMPROVE_S = 0.012, 3e-8, 3e-7, 3e-4
"""What programs take in the sandbox [s]: any one, the next two per pair, the last per user."""

BROKEN_SHARE = 0.2
"""Share of programs with a mistake, as a model in training makes them."""

_INTROS = (
    "",
    "Here is the program:\n",
    "This program sets `action`:\n",
    "The following code allocates the channels:\n",
)


def right_family(kind: str, num_users: int, num_channels: int, time_budget_s: float) -> str:
    """The cheapest family that is as good as any that ends in time.

    Args:
        kind: key of `KINDS`.
        num_users: requesting users.
        num_channels: idle channels.
        time_budget_s: CPU seconds of a program [s].
    """
    setting, goal = kind.split(", ")
    if setting == "plain" and goal in ("throughput", "fair"):
        return "sort_both"
    pairs = num_users * num_channels
    if goal == "coupled" and time_budget_s >= START_S + IMPROVE_S * num_users + LAP_S * pairs:
        return "improve"
    if time_budget_s >= START_S + LAP_S * pairs:
        return "assign_rates" if goal == "throughput" else "assign_values"
    return "greedy" if time_budget_s >= START_S + GREEDY_S * pairs else "sort_both"


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
    rng: Rng,
    kind: str,
    *,
    right: str | None = None,
    family: str | None = None,
    mistake: str | bool | None = True,
) -> Sample:
    """A completion for a slot of `kind`.

    Args:
        rng: source of all choices.
        kind: key of `KINDS`.
        right: the family that is right, see `right_family`; None takes that of a middling slot.
        family: None draws one by `FAMILY_WEIGHTS` and `RIGHT_SHARE`.
        mistake: a key of `MISTAKES`; None for a program that is right; True draws.
    """
    if family is None:
        right = right or right_family(kind, 50, 80, 1.0)
        share = np.array([0.0 if f == right else FAMILY_WEIGHTS[f] for f in FAMILIES])
        share *= (1 - RIGHT_SHARE) / share.sum()
        share[list(FAMILIES).index(right)] = RIGHT_SHARE
        family = str(rng.choice(list(FAMILIES), p=share / share.sum()))
    if mistake is True:
        mistake = str(rng.choice(list(MISTAKES))) if rng.random() < BROKEN_SHARE else None
    style = sample_style(rng)
    code = program(rng, family, style, kind)
    if mistake:
        code = MISTAKES[mistake](rng, code, style)
    fence = str(rng.choice(("```python", "```"), p=(0.95, 0.05)))
    return Sample(f"{pick(rng, _INTROS)}{fence}\n{code}```", code, family, mistake or None)

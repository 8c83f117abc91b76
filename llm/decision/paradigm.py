"""The two paradigms: what a model is asked for, and how its completions become actions."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from llm.decision.execution import ActionResult, read_mappings, run_programs
from llm.decision.namespace import NAMES, documentation
from llm.decision.slot import HostSlot
from llm.sandbox import Sandbox

_RULES = """\
Give each of K users one of the C idle channels of a base station, no channel twice, so that the
objective is largest; if C < K, K - C users get none.
Rate of user i: r_i = B * log2(1 + P / (N0 * B + I)) bit/s
"""

# Shown a program instead of told about one, Qwen2.5-Coder-0.5B no longer makes up data of its own.
_CODE_TASK = """\
Write Python that sets `action`, a dict {user_id: channel_id} of int.
These variables exist, arrays of float unless said; use them, do not redefine them:
DOCUMENTATION
Row i is users[i] and column j channels[j]: translate positions into ids.
NumPy and SciPy may be imported; no files, input or printing.
This program is valid, but random:
```python
order = np.random.permutation(len(channels))
action = {int(users[i]): int(channels[j]) for i, j in enumerate(order[:len(users)])}
```
Answer with one ```python block like it, code only, at most 20 lines.
""".replace("DOCUMENTATION\n", documentation(NAMES))

_TEXT_TASK = """\
Write the mapping itself, no program and no explanation, in this form:
action = {user_id: channel_id, user_id: channel_id}
P in W is 10 ** ((P in dBm - 30) / 10).
"""


@dataclasses.dataclass(frozen=True)
class Paradigm:
    """All in which the two ways to ask a model differ.

    Attributes:
        name: "code" or "text".
        static_text: task, rules, namespace, example and form: the prefix of every prompt, byte for
            byte.
        closing: the last line of every prompt. It comes last since a small model otherwise goes
            on with the numbers before it, or transcribes them.
        detail: the default share of the token budget for numbers of users and channels.
        levels: of detail that a prompt may have, in the order in which they are added.
        runs_programs: completions hold programs, which need a sandbox. Otherwise they hold the
            mapping, for which the prompt must list the ids.
        to_actions: turns completions, each for the slot beside it, into actions; the last arguments
            are a deadline for all programs together [s], and the time budget of each [s], or None.
        structure_steps: what each step of `llm.training.structure` is worth; they add up to 1.2.
        min_tokens: the default of L_min of Eq. (14) [tokens].
    """

    name: str
    static_text: str
    closing: str
    detail: float
    levels: tuple[str, ...]
    runs_programs: bool
    to_actions: Callable[
        [Sandbox | None, Sequence[str], Sequence[HostSlot], float | None, Sequence[float] | None],
        list[ActionResult],
    ]
    structure_steps: Mapping[str, float]
    min_tokens: int

    def levels_up_to(self, last: str | None) -> tuple[str, ...]:
        """Levels of detail up to a named one; all of them for None.

        Raises:
            ValueError: it is none of this paradigm's.
        """
        if last is None:
            return self.levels
        if last not in self.levels:
            raise ValueError(
                f"last_level must be one of {', '.join(self.levels)} in the {self.name} paradigm, "
                f"got {last!r}"
            )
        return self.levels[: self.levels.index(last) + 1]

    def check_box(self, box: Sandbox | None) -> None:
        """Raises ValueError where programs are to run and there is no sandbox."""
        if self.runs_programs and box is None:
            raise ValueError(f"box must be a Sandbox in the {self.name} paradigm, got None")


_LEVELS = ("statistics", "rows", "gains", "interference", "coupling")

CODE = Paradigm(
    name="code",
    static_text=_RULES + _CODE_TASK,
    closing="Now write a better program; copy no number from above.\n",
    detail=1 / 32,  # the program sees them all as arrays
    levels=("sizes", *_LEVELS),
    runs_programs=True,
    to_actions=run_programs,
    structure_steps={
        "code block": 0.1,
        "parses": 0.1,
        "runs": 0.2,
        "mapping": 0.2,
        "users": 0.1,
        "channels": 0.1,
        "distinct": 0.1,
        "complete": 0.1,
        "state": 0.2,
    },
    min_tokens=100,
)
"""The model writes a program, which the sandbox runs."""

TEXT = Paradigm(
    name="text",
    static_text=_RULES + _TEXT_TASK,
    closing="Now write the mapping.\n",
    detail=1.0,
    levels=("sizes", "ids", *_LEVELS),  # without ids no mapping can be written down
    runs_programs=False,
    to_actions=read_mappings,
    structure_steps={
        "mapping": 0.4,
        "users": 0.2,
        "channels": 0.2,
        "distinct": 0.2,
        "complete": 0.2,
    },
    min_tokens=1,  # a mapping is as long as its slot has users, and should not be longer
)
"""The model writes the mapping itself; nothing is executed."""

PARADIGMS = {paradigm.name: paradigm for paradigm in (CODE, TEXT)}


def paradigm_named(name: str) -> Paradigm:
    """The record of "code" or "text".

    Raises:
        ValueError: another name.
    """
    if name not in PARADIGMS:
        raise ValueError(f"paradigm must be one of {', '.join(PARADIGMS)}, got {name!r}")
    return PARADIGMS[name]

"""State -> prompt within a token budget (the paper's hierarchical state serialisation).

What never changes comes first, then what all slots of a setting share, then the sizes, then numbers
of users and channels: the further two prompts agree, the more a prefix cache keeps.
"""

import dataclasses
from collections.abc import Callable, Collection

import lsajax as lsa
from llm.decision.numbers import Numbers
from llm.decision.paradigm import Paradigm, paradigm_named
from llm.decision.slot import HostSlot, host_slot
from llm.decision.task import setting_lines

# No tokenizer packs the digits of a list this densely, so longer texts are not even counted.
_MAX_CHARS_PER_TOKEN = 24


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt and what it costs.

    Attributes:
        text: the paradigm's static text, the setting, the numbers of the slot, a closing line.
        tokens: tokens of `text`, as counted by the model's own tokenizer.
        static_tokens: tokens of the prefix that all slots of the setting share.
        levels: levels of detail included, of those of its `Paradigm`.
    """

    text: str
    tokens: int
    static_tokens: int
    levels: tuple[str, ...]

    @property
    def static_share(self) -> float:
        """Share of the tokens that a prefix cache keeps between slots of the setting."""
        return self.static_tokens / self.tokens


def serialize(
    inst: lsa.Instance | HostSlot,
    count_tokens: Callable[[str], int],
    budget: int,
    *,
    paradigm: str = "code",
    time_budget_s: float = 1.0,
    detail: float | None = None,
    last_level: str | None = None,
) -> Prompt:
    """The prompt for one slot: objective, setting and sizes, then as much detail as is wanted.

    Where the budget is too small for that, parameters that a program finds as variables are left
    out. The detail is statistics, then rows of users and channels, best first, as many as fit,
    then, where all rows fit, the power of each pair, its interference and one's own coupling. In
    the text paradigm the ids come before all other detail. Never over `budget`, at any number of
    users and channels; the cost is a few token counts of a text of at most the budget, plus
    sorting. Powers are means over the fading but for those of pairs.

    Args:
        inst: the slot.
        count_tokens: tokens of a text as the model would receive it (chat template included).
        budget: the most tokens.
        paradigm: "code" (a program is asked for) or "text" (the mapping itself).
        time_budget_s: what the program is told that it may take [s].
        detail: share of the budget for the detail, from 0 (sizes alone) to 1 (all that fits); None
            takes the paradigm's own, which is small where the program sees all of it as arrays.
        last_level: of the paradigm's levels, the last that may be added, whatever room is left;
            None for all of them. `Prompt.levels` says whether it was reached.

    Raises:
        ValueError: the prompt without any detail exceeds `budget`; unknown `paradigm` or
            `last_level`; `detail` out of range.
    """
    asked = paradigm_named(paradigm)
    detail = asked.detail if detail is None else detail
    if not 0 <= detail <= 1:
        raise ValueError(f"detail must be within [0, 1], got {detail!r}")
    levels = asked.levels_up_to(last_level)
    slot = host_slot(inst)
    stated_s = time_budget_s if asked.runs_programs else None
    # A program finds as variables what the brief form leaves out; a mapping needs all of it.
    for brief in (False, True) if asked.runs_programs else (False,):
        shared = asked.static_text + setting_lines(slot, stated_s, brief=brief)
        draft = _Draft(shared + _sizes(slot), asked.closing, count_tokens, budget, levels)
        if draft.tokens <= budget:
            break
    else:
        raise ValueError(
            f"budget must be at least {draft.tokens} tokens, what the instructions, the setting "
            f"and the sizes of this instance need, got {budget}"
        )
    draft.room = min(budget, draft.tokens + int(detail * budget))
    _add_detail(draft, Numbers(slot), asked)
    # The chat template's own tokens are not the text's, and its tail comes after the state.
    static_tokens = count_tokens(shared) - count_tokens("")
    return Prompt(draft.text + asked.closing, draft.tokens, static_tokens, tuple(draft.levels))


def levels_of(slot: HostSlot, paradigm: str) -> tuple[str, ...]:
    """Levels that such a slot has, in their order, whatever fits; see `serialize`.

    Raises:
        ValueError: unknown `paradigm`.
    """
    has = {
        "gains": slot.fading is not None or slot.mean_power_w.ndim > 1,
        "interference": slot.interference_w is not None and slot.interference_w.ndim > 1,
        "coupling": slot.coupling is not None or slot.leakage is not None,
    }
    return tuple(level for level in paradigm_named(paradigm).levels if has.get(level, True))


class _Draft:
    """A prompt that grows while it fits.

    Attributes:
        text: without the closing line.
        tokens: of the text with the closing line.
        room: the most tokens.
        allowed: levels that may be added.
        levels: what was added.
    """

    def __init__(
        self,
        text: str,
        closing: str,
        count_tokens: Callable[[str], int],
        room: int,
        allowed: Collection[str],
    ):
        self.text, self.closing, self.room, self.allowed = text, closing, room, allowed
        self._count = count_tokens
        self.tokens = count_tokens(text + closing)
        self.levels = ["sizes"]

    def add(self, level: str, part: str) -> bool:
        """Adds `part` where its level may be added and it fits."""
        tokens = self._fits(part) if level in self.allowed else None
        if tokens is None:
            return False
        self.text, self.tokens = self.text + part, tokens
        if level not in self.levels:
            self.levels.append(level)
        return True

    def add_most(self, level: str, part: Callable[[int], str], most: int) -> int:
        """Adds `part(n)` with the largest n up to `most` that fits, if it is above 0; returns n."""
        low, high = 0, min(most, self.room)  # a token a row at least
        if level not in self.allowed:
            return 0
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(part(middle)) is None:
                high = middle - 1
            else:
                low = middle
        if low > 0:
            self.add(level, part(low))
        return low

    def _fits(self, part: str) -> int | None:
        if len(self.text) + len(part) > _MAX_CHARS_PER_TOKEN * self.room:
            return None
        tokens = self._count(self.text + part + self.closing)
        return tokens if tokens <= self.room else None


def _sizes(slot: HostSlot) -> str:
    return f"Sizes: K = {len(slot.users)}, C = {len(slot.channels)} of {slot.num_channels}\n"


def _add_detail(draft: _Draft, numbers: Numbers, asked: Paradigm) -> None:
    slot, rows = numbers.slot, 0
    has = levels_of(slot, asked.name)
    most = max(len(slot.users), len(slot.channels))
    if asked.runs_programs:
        if all(draft.add("statistics", line) for line in [numbers.noise(), *numbers.statistics()]):
            rows = draft.add_most("rows", numbers.rows, most)
    elif most <= draft.room and draft.add("rows", numbers.noise() + numbers.rows(most)):
        rows = most
    else:
        draft.add_most("ids", numbers.ids, slot.servable)
        _ = all(draft.add("statistics", line) for line in [numbers.noise(), *numbers.statistics()])
    whole = rows == most and len(slot.users) * len(slot.channels) <= draft.room
    if whole and "gains" in has:
        draft.add("gains", numbers.gains())
    if whole and "interference" in has:
        draft.add("interference", numbers.interference())
    own = [matrix.size for matrix in (slot.coupling, slot.leakage) if matrix is not None]
    if "coupling" in has and rows == most and sum(own) <= draft.room:
        draft.add("coupling", numbers.coupling())

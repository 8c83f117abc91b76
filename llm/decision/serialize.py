"""State -> prompt within a token budget (the paper's hierarchical state serialisation).

What never changes comes first, then what all slots of a setting share, then the sizes, then numbers
of users and channels: the further two prompts agree, the more a prefix cache keeps.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable

import numpy as np

import lsajax as lsa
from llm.decision.paradigm import Paradigm, paradigm_named
from llm.decision.slot import HostSlot, host_slot
from llm.decision.task import setting_lines

_MIN_POWER_W = 1e-30
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
    _add_detail(draft, _State(slot), asked)
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


class _State:
    """A slot in the prompt's units, users and channels with their orders."""

    def __init__(self, slot: HostSlot):
        self.slot = slot
        self.power_dbm = _dbm(_per(slot.mean_power_w, 1))
        self.bandwidth_mhz = slot.bandwidth_hz / 1e6
        self.by_power = np.argsort(-self.power_dbm, kind="stable")
        self.by_width = np.argsort(-self.bandwidth_mhz, kind="stable")
        self.carrier_db = None if slot.carrier_gain is None else 10 * np.log10(slot.carrier_gain)
        # The coupling of users is a function of where they are, unless it is given.
        self.shows_positions = slot.objective == "coupled" and slot.coupling is None
        self.interference_w = None
        if slot.interference_w is not None:
            self.interference_w = _per(slot.interference_w, 0)

    def user(self, place: int) -> str:
        text = f"{self.slot.users[place]}: {self.power_dbm[place]:.1f}"
        if self.shows_positions:
            text += " at {:.0f} {:.0f}".format(*self.slot.position_m[place])
        if self.slot.weight is not None:
            text += f" weight {self.slot.weight[place]:.2f}"
        if self.slot.min_rate_bps is not None:
            text += f" needs {self.slot.min_rate_bps[place] / 1e6:g}"
        return text

    def channel(self, place: int) -> str:
        text = f"{self.slot.channels[place]}: {self.bandwidth_mhz[place]:.2f}"
        if self.interference_w is not None and self.interference_w[place] > 0:
            text += f" I {_dbm(self.interference_w[place]):.1f}"
        if self.carrier_db is not None:
            text += f" G {self.carrier_db[place]:+.1f}"
        return text

    def rows(self, count: int) -> str:
        """The best users and channels with their numbers."""
        users, channels = self.by_power[:count], self.by_width[:count]
        of_user = "id: dBm at x y in m" if self.shows_positions else "id: dBm"
        return (
            f"Idle channels, widest first (id: MHz): {_join(map(self.channel, channels))}\n"
            f"Users, strongest first ({of_user}): {_join(map(self.user, users))}\n"
        )

    def ids(self, count: int) -> str:
        """Ids alone, best first: without them no mapping can be written down.

        Pairing them in this order is a feasible answer, so of each side the same number is shown.
        """
        users = " ".join(str(self.slot.users[i]) for i in self.by_power[:count])
        channels = " ".join(str(self.slot.channels[j]) for j in self.by_width[:count])
        return (
            f"Users, strongest first ({count} of {len(self.slot.users)}): {users}\n"
            f"Idle channels, widest first ({count} of {len(self.slot.channels)}): {channels}\n"
        )

    def statistics(self) -> list[str]:
        """Lines; what changes least from slot to slot comes first."""
        lines = [
            f"Bandwidth in MHz: {_statistics(self.bandwidth_mhz)}",
            f"Received power in dBm: {_statistics(self.power_dbm)}",
        ]
        if self.carrier_db is not None:
            lines.append(f"Carrier gain in dB: {_statistics(self.carrier_db)}")
        if self.interference_w is not None:
            hit = self.interference_w[self.interference_w > 0]
            lines.append(f"Interfered idle channels: {hit.size}, in dBm {_statistics(_dbm(hit))}")
        return [line + "\n" for line in lines]

    def noise(self) -> str:
        """The line of N_0."""
        return f"Noise: {10 * np.log10(self.slot.noise_psd_w_hz) + 30:.1f} dBm/Hz\n"

    def gains(self) -> str:
        """Power of every pair, with its fading."""
        return self._pairs("Power", self.slot.power_w())

    def interference(self) -> str:
        """Interference of every pair, where it differs between users."""
        assert self.slot.interference_w is not None
        return self._pairs("Interference", self.slot.interference_w)

    def _pairs(self, what: str, values_w: np.ndarray) -> str:
        rows = (
            f"{user}: {' '.join(f'{p:.1f}' for p in _dbm(row))}\n"
            for user, row in zip(self.slot.users, values_w, strict=True)
        )
        channels = _join(map(str, self.slot.channels))
        return f"{what} in dBm of each user on channels {channels}:\n" + "".join(rows)

    def coupling(self) -> str:
        """One's own G and rho, where they are given."""
        slot = self.slot
        return _matrix("G of each user with users", slot.users, slot.coupling) + _matrix(
            "rho of each channel with channels", slot.channels, slot.leakage
        )


def _sizes(slot: HostSlot) -> str:
    return f"Sizes: K = {len(slot.users)}, C = {len(slot.channels)} of {slot.num_channels}\n"


def _add_detail(draft: _Draft, state: _State, asked: Paradigm) -> None:
    slot, rows = state.slot, 0
    has = levels_of(slot, asked.name)
    most = max(len(slot.users), len(slot.channels))
    if asked.runs_programs:
        if all(draft.add("statistics", line) for line in [state.noise(), *state.statistics()]):
            rows = draft.add_most("rows", state.rows, most)
    elif most <= draft.room and draft.add("rows", state.noise() + state.rows(most)):
        rows = most
    else:
        draft.add_most("ids", state.ids, slot.servable)
        _ = all(draft.add("statistics", line) for line in [state.noise(), *state.statistics()])
    whole = rows == most and len(slot.users) * len(slot.channels) <= draft.room
    if whole and "gains" in has:
        draft.add("gains", state.gains())
    if whole and "interference" in has:
        draft.add("interference", state.interference())
    own = [matrix for matrix in (slot.coupling, slot.leakage) if matrix is not None]
    if own and rows == most and sum(matrix.size for matrix in own) <= draft.room:
        draft.add("coupling", state.coupling())


def _matrix(title: str, ids: np.ndarray, matrix: np.ndarray | None) -> str:
    if matrix is None:
        return ""
    rows = (
        f"{i}: {' '.join(f'{x:.2g}' for x in row)}\n" for i, row in zip(ids, matrix, strict=True)
    )
    return f"{title} {_join(map(str, ids))}:\n" + "".join(rows)


def _per(values: np.ndarray, mean_over: int) -> np.ndarray:
    """Values of users or channels, those of pairs by their mean."""
    if values.ndim < 2:
        return values
    return values.mean(axis=mean_over) if values.size else np.zeros(values.shape[1 - mean_over])


def _dbm(power_w: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power_w, _MIN_POWER_W)) + 30


def _statistics(values: np.ndarray) -> str:
    if values.size == 0:
        return "none"
    spread = f"mean {values.mean():.1f}, std {values.std():.1f}"
    return f"{values.min():.1f} to {values.max():.1f}, {spread}"


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"

"""State -> prompt within a token budget (the paper's hierarchical state serialisation)."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int64

import lsajax as lsa
from llm.decision.paradigm import paradigm_named
from llm.decision.slot import HostSlot, host_slot

_MIN_POWER_W = 1e-30
# No tokenizer packs the digits of a list this densely, so longer texts are not even counted.
_MAX_CHARS_PER_TOKEN = 24


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt and what it costs.

    Attributes:
        text: the static text first, then the state, then a closing line.
        tokens: tokens of `text`, as counted by the model's own tokenizer.
        static_tokens: tokens of the static text alone, alike for every slot and instance.
        levels: levels of detail included, of "global", "critical", "ids", "full", "gains".
    """

    text: str
    tokens: int
    static_tokens: int
    levels: tuple[str, ...]

    @property
    def static_share(self) -> float:
        """Share of the tokens that a prefix cache keeps between slots."""
        return self.static_tokens / self.tokens


def serialize(
    inst: lsa.Instance | HostSlot,
    count_tokens: Callable[[str], int],
    budget: int,
    *,
    paradigm: str = "code",
) -> Prompt:
    """The prompt for one slot: statistics, then critical constraints, then lists, while they fit.

    Never over `budget`, at any number of users and channels; the cost is a few token counts of a
    text of at most the budget, plus sorting. Powers in the prompt are means over the fading.

    Args:
        inst: the slot.
        count_tokens: tokens of a text as the model would receive it (chat template included).
        budget: the most tokens.
        paradigm: "code" (a program is asked for) or "text" (the mapping itself).

    Raises:
        ValueError: the static text and the statistics alone exceed `budget`; unknown `paradigm`.
    """
    asked = paradigm_named(paradigm)
    state = _State(host_slot(inst))
    text = asked.static_text + _global_lines(state)
    tokens = count_tokens(text + asked.closing)
    if tokens > budget:
        raise ValueError(
            f"budget must be at least {tokens} tokens, what the instructions and the network "
            f"statistics of this instance need, got {budget}"
        )
    levels = ["global"]
    for name, alternatives in _levels(state, budget, list_ids=not asked.runs_programs):
        for part in alternatives:
            if len(text) + len(part) > _MAX_CHARS_PER_TOKEN * budget:
                continue
            count = count_tokens(text + part + asked.closing)
            if count <= budget:
                text, tokens = text + part, count
                levels.append(name)
                break
        else:
            break
    # The chat template's own tokens are not the text's, and its tail comes after the state.
    static_tokens = count_tokens(asked.static_text) - count_tokens("")
    return Prompt(text + asked.closing, tokens, static_tokens, tuple(levels))


class _State:
    """A slot in the prompt's units, users and channels with their orders."""

    def __init__(self, slot: HostSlot):
        self.slot = slot
        self.power_dbm = _dbm(slot.mean_power_w)
        self.bandwidth_mhz = slot.bandwidth_hz / 1e6
        self.carrier_db = 10 * np.log10(slot.carrier_gain)
        self.by_power = np.argsort(-self.power_dbm, kind="stable")
        self.by_width = np.argsort(-self.bandwidth_mhz, kind="stable")

    def user(self, place: int) -> str:
        return f"{self.slot.users[place]}: {self.power_dbm[place]:.1f}"

    def channel(self, place: int) -> str:
        text = f"{self.slot.channels[place]}: {self.bandwidth_mhz[place]:.2f}"
        if self.slot.interference_w[place] > 0:
            text += f" I {_dbm(self.slot.interference_w[place]):.1f}"
        if self.slot.wideband:
            text += f" G {self.carrier_db[place]:+.1f}"
        return text


def _dbm(power_w: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power_w, _MIN_POWER_W)) + 30


def _statistics(values: np.ndarray, digits: int = 1) -> str:
    if values.size == 0:
        return "none"
    named = {"max": values.max(), "min": values.min(), "mean": values.mean(), "std": values.std()}
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in named.items())


def _global_lines(state: _State) -> str:
    slot = state.slot
    noise_dbm_hz = float(10 * np.log10(slot.noise_psd_w_hz) + 30)
    per_channel = slot.fading or slot.wideband
    lines = [
        f"Setting: {slot.setting}",
        f"power_w differs between channels: {'yes' if per_channel else 'no'}",
        f"Noise floor: {noise_dbm_hz:.1f} dBm/Hz",
        f"Requesting users: {len(slot.users)}",
        f"Idle channels: {len(slot.channels)} of {slot.num_channels}",
        f"Received power in dBm: {_statistics(state.power_dbm)}",
        f"Bandwidth in MHz: {_statistics(state.bandwidth_mhz)}",
    ]
    if slot.wideband:
        lines.append(f"Carrier gain in dB: {_statistics(state.carrier_db)}")
    hit = slot.interference_w[slot.interference_w > 0]
    if hit.size:
        lines.append(f"Interfered idle channels: {hit.size}, in dBm {_statistics(_dbm(hit))}")
    else:
        lines.append("Interfered idle channels: 0")
    return "\n".join(lines) + "\n"


Level = tuple[str, Iterator[str]]


def _levels(state: _State, budget: int, *, list_ids: bool) -> Iterator[Level]:
    yield "critical", _critical(state, budget, list_ids)
    if list_ids:
        yield "ids", _id_lists(state, budget)
    yield "full", _full_lists(state, budget)
    if state.slot.fading:
        yield "gains", _gains(state, budget)


def _critical(state: _State, budget: int, list_ids: bool) -> Iterator[str]:
    """Extremes of both sides and the occupied channels, in shorter and shorter form."""
    ranges = _ranges(state.slot.occupied)
    forms = ((8, budget), (8, 64), (4, 16), (2, 4), (1, 1))
    # The room is kept for the lists of ids.
    for entries, most_ranges in forms[2:] if list_ids else forms:
        strong, wide = state.by_power[:entries], state.by_width[:entries]
        weak = state.by_power[::-1][:entries]
        shown = ", ".join(ranges[:most_ranges]) or "none"
        more = len(ranges) - most_ranges
        yield (
            f"Strongest users (id: dBm): {_join(map(state.user, strong))}\n"
            f"Weakest users (id: dBm): {_join(map(state.user, weak))}\n"
            f"Widest idle channels (id: MHz): {_join(map(state.channel, wide))}\n"
            f"Occupied channels: {shown}{f' and {more} more ranges' if more > 0 else ''}\n"
        )


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"


def _ranges(ids: Int64[np.ndarray, "ids"]) -> list[str]:
    """Sorted ids as ranges: `3-7`, `12`."""
    if ids.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(ids) > 1)
    first = ids[np.concatenate(([0], breaks + 1))]
    last = ids[np.concatenate((breaks, [ids.size - 1]))]
    return [f"{a}" if a == b else f"{a}-{b}" for a, b in zip(first, last, strict=True)]


def _id_lists(state: _State, budget: int) -> Iterator[str]:
    """Ids alone, best first, as many as fit: without them no mapping can be written down.

    Pairing them in this order is a feasible answer, so of each side the same number is shown.
    """
    # A token per id at least; hence not more than half the budget of either side.
    count = min(state.slot.servable, budget // 2)
    while count > 0:
        users = " ".join(str(state.slot.users[i]) for i in state.by_power[:count])
        channels = " ".join(str(state.slot.channels[j]) for j in state.by_width[:count])
        yield (
            f"Users, strongest first ({count} of {len(state.slot.users)}): {users}\n"
            f"Idle channels, widest first ({count} of {len(state.slot.channels)}): {channels}\n"
        )
        count = count * 15 // 16 if count > 16 else count - 1


def _full_lists(state: _State, budget: int) -> Iterator[str]:
    if len(state.slot.users) + len(state.slot.channels) <= budget:
        yield (
            f"All users (id: dBm): {_join(map(state.user, range(len(state.slot.users))))}\n"
            f"All idle channels (id: MHz): "
            f"{_join(map(state.channel, range(len(state.slot.channels))))}\n"
        )


def _gains(state: _State, budget: int) -> Iterator[str]:
    """Power of every pair with its fading; only where so few pairs are left that it may fit."""
    slot = state.slot
    if len(slot.users) * len(slot.channels) <= budget:
        rows = (
            f"{user}: {' '.join(f'{p:.1f}' for p in _dbm(row))}\n"
            for user, row in zip(slot.users, slot.power_w(), strict=True)
        )
        yield "Power in dBm of each user on each idle channel, in order:\n" + "".join(rows)

"""State -> prompt within a token budget (the paper's hierarchical state serialisation)."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

import lsajax as lsa
from llm.decision.namespace import DOCUMENTATION, program_data

PARADIGMS = ("code", "text")

_RULES = """\
You are the channel allocator of one base station.
Every requesting user gets one idle channel; maximise the sum of the users' rates.
Rules:
- Rate of a user on a channel (Shannon): B * log2(1 + P / (N0 * B + I)) bit/s
- P in W = 10 ** ((P in dBm - 30) / 10)
- One-to-one mapping: one channel per user, no channel twice
- Occupied channels are forbidden
"""

_CODE_TASK = """\
Write a Python program that assigns `action`, a dict {user_id: channel_id} of int to int.
These variables exist already, use them and do not redefine them:
DOCUMENTATION
Row i is users[i] and column j is channels[j]: translate positions into ids.
NumPy and SciPy may be imported. No files, no input, no printing.
Answer with one ```python block, code only; it must set
action = {user_id: channel_id}
""".replace("DOCUMENTATION", DOCUMENTATION)

_TEXT_TASK = """\
Write the mapping itself, no program and no explanation, in this form:
action = {user_id: channel_id, user_id: channel_id}
"""

_STATE = "State of this slot:\n"
# Last, since a small model otherwise goes on with the lists above, or transcribes them. Shown a
# program instead of told about one, Qwen2.5-Coder-0.5B no longer makes up data of its own.
_CLOSING = {
    "code": """\
This program is valid, but random:
```python
order = np.random.permutation(len(channels))
action = {int(users[i]): int(channels[j]) for i, j in enumerate(order[:len(users)])}
```
Now write a better one in the same form, at most 20 lines. Use the variables as they are; copy no
number from above.
""",
    "text": "Now write the mapping.\n",
}
_MIN_POWER_W = 1e-30
# No tokenizer packs the digits of a list this densely, so longer texts are not even counted.
_MAX_CHARS_PER_TOKEN = 24


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt and what it costs.

    Args:
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


def static_text(paradigm: str = "code") -> str:
    """Task, rules, output schema and namespace: the prefix of every prompt, byte for byte.

    Raises:
        ValueError: `paradigm` is not one of `PARADIGMS`.
    """
    if paradigm not in PARADIGMS:
        raise ValueError(f"paradigm must be one of {', '.join(PARADIGMS)}, got {paradigm!r}")
    return _RULES + (_CODE_TASK if paradigm == "code" else _TEXT_TASK) + _STATE


def setting_of(inst: lsa.Instance) -> str:
    """The kind of setting as the prompt names it: `plain`, or switches joined by `+`."""
    kinds = [k for k in ("fading", "wideband", "interference") if getattr(inst, k)]
    return "+".join(kinds) or "plain"


def serialize(
    inst: lsa.Instance,
    count_tokens: Callable[[str], int],
    budget: int,
    *,
    paradigm: str = "code",
    data: dict | None = None,
) -> Prompt:
    """The prompt for one slot: statistics, then critical constraints, then lists, while they fit.

    Never over `budget`, at any number of users and channels; the cost is a few token counts of a
    text of at most the budget, plus sorting. Powers in the prompt are means over the fading.

    Args:
        inst: the slot.
        count_tokens: tokens of a text as the model would receive it (chat template included).
        budget: the most tokens.
        paradigm: "code" (a program is asked for) or "text" (the mapping itself).
        data: `namespace.program_data(inst)` where the caller has it; with it the level "gains"
            costs no second draw of the fading.

    Raises:
        ValueError: the static text and the statistics alone exceed `budget`; unknown `paradigm`.
    """
    static = static_text(paradigm)
    state = _State(inst)
    closing = _CLOSING[paradigm]
    text = static + _global_lines(state)
    tokens = count_tokens(text + closing)
    if tokens > budget:
        raise ValueError(
            f"budget must be at least {tokens} tokens, what the instructions and the network "
            f"statistics of this instance need, got {budget}"
        )
    levels = ["global"]
    for name, alternatives in _levels(state, paradigm, budget, data):
        for part in alternatives:
            if len(text) + len(part) > _MAX_CHARS_PER_TOKEN * budget:
                continue
            count = count_tokens(text + part + closing)
            if count <= budget:
                text, tokens = text + part, count
                levels.append(name)
                break
        else:
            break
    # The chat template's own tokens are not the text's, and its tail comes after the state.
    static_tokens = count_tokens(static) - count_tokens("")
    return Prompt(text + closing, tokens, static_tokens, tuple(levels))


class _State:
    """Host arrays of one instance, users and idle channels only, with their orders."""

    def __init__(self, inst: lsa.Instance):
        rows = np.flatnonzero(np.asarray(inst.user_mask))
        occupied = np.asarray(inst.occupied)
        self.inst = inst
        self.occupied = np.flatnonzero(occupied)
        self.channels = np.flatnonzero(~occupied)
        self.users = np.asarray(inst.user_id)[rows]
        power = np.asarray(inst.mean_power_w, np.float64)[rows]
        self.power_dbm = _dbm(power)
        self.bandwidth_mhz = np.asarray(inst.bandwidth_hz, np.float64)[self.channels] / 1e6
        self.interference_w = np.asarray(inst.interference_w, np.float64)[self.channels]
        self.carrier_db = 10 * np.log10(np.asarray(inst.carrier_gain, np.float64)[self.channels])
        self.by_power = np.argsort(-self.power_dbm, kind="stable")
        self.by_width = np.argsort(-self.bandwidth_mhz, kind="stable")

    def user(self, row: int) -> str:
        return f"{self.users[row]}: {self.power_dbm[row]:.1f}"

    def channel(self, column: int) -> str:
        text = f"{self.channels[column]}: {self.bandwidth_mhz[column]:.2f}"
        if self.interference_w[column] > 0:
            text += f" I {_dbm(self.interference_w[column]):.1f}"
        if self.inst.wideband:
            text += f" G {self.carrier_db[column]:+.1f}"
        return text


def _dbm(power_w: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power_w, _MIN_POWER_W)) + 30


def _statistics(values: np.ndarray, digits: int = 1) -> str:
    if values.size == 0:
        return "none"
    named = {"max": values.max(), "min": values.min(), "mean": values.mean(), "std": values.std()}
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in named.items())


def _global_lines(state: _State) -> str:
    inst = state.inst
    noise_dbm_hz = float(10 * np.log10(np.float64(inst.noise_psd_w_hz)) + 30)
    kind = setting_of(inst)
    per_channel = inst.fading or inst.wideband
    lines = [
        f"Setting: {kind}",
        f"power_w differs between channels: {'yes' if per_channel else 'no'}",
        f"Noise floor: {noise_dbm_hz:.1f} dBm/Hz",
        f"Requesting users: {len(state.users)}",
        f"Idle channels: {len(state.channels)} of {inst.num_channels}",
        f"Received power in dBm: {_statistics(state.power_dbm)}",
        f"Bandwidth in MHz: {_statistics(state.bandwidth_mhz)}",
    ]
    if inst.wideband:
        lines.append(f"Carrier gain in dB: {_statistics(state.carrier_db)}")
    hit = state.interference_w[state.interference_w > 0]
    if hit.size:
        lines.append(f"Interfered idle channels: {hit.size}, in dBm {_statistics(_dbm(hit))}")
    else:
        lines.append("Interfered idle channels: 0")
    return "\n".join(lines) + "\n"


Level = tuple[str, Iterator[str]]


def _levels(state: _State, paradigm: str, budget: int, data: dict | None) -> Iterator[Level]:
    yield "critical", _critical(state, budget, paradigm)
    if paradigm == "text":
        yield "ids", _id_lists(state, budget)
    yield "full", _full_lists(state, budget)
    if state.inst.fading:
        yield "gains", _gains(state, budget, data)


def _critical(state: _State, budget: int, paradigm: str) -> Iterator[str]:
    """Extremes of both sides and the occupied channels, in shorter and shorter form."""
    ranges = _ranges(state.occupied)
    forms = ((8, budget), (8, 64), (4, 16), (2, 4), (1, 1))
    # A mapping needs the ids of the idle channels anyhow: the room is kept for those.
    for entries, most_ranges in forms if paradigm == "code" else forms[2:]:
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


def _join(parts: Iterator[str]) -> str:
    return ", ".join(parts) or "none"


def _ranges(ids: np.ndarray) -> list[str]:
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
    count = min(len(state.users), len(state.channels), budget // 2)
    while count > 0:
        users = " ".join(str(state.users[i]) for i in state.by_power[:count])
        channels = " ".join(str(state.channels[j]) for j in state.by_width[:count])
        yield (
            f"Users, strongest first ({count} of {len(state.users)}): {users}\n"
            f"Idle channels, widest first ({count} of {len(state.channels)}): {channels}\n"
        )
        count = count * 15 // 16 if count > 16 else count - 1


def _full_lists(state: _State, budget: int) -> Iterator[str]:
    if len(state.users) + len(state.channels) <= budget:
        yield (
            f"All users (id: dBm): {_join(map(state.user, range(len(state.users))))}\n"
            f"All idle channels (id: MHz): "
            f"{_join(map(state.channel, range(len(state.channels))))}\n"
        )


def _gains(state: _State, budget: int, data: dict | None) -> Iterator[str]:
    """Power of every pair with its fading; only where so few pairs are left that it may fit."""
    if len(state.users) * len(state.channels) <= budget:
        power = (data or program_data(state.inst))["power_w"]
        rows = (
            f"{user}: {' '.join(f'{p:.1f}' for p in _dbm(row))}\n"
            for user, row in zip(state.users, power, strict=True)
        )
        yield "Power in dBm of each user on each idle channel, in order:\n" + "".join(rows)

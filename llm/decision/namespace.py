"""What a program sees, and what its action means; one source for prompt, sandbox, corpus."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

import lsajax as lsa
from llm.decision import helpers
from llm.decision.slot import HostSlot, host_slot

_HELPERS = inspect.getsource(helpers)

PRELUDE = (
    f"import numpy as np; _ = {{}}; exec(compile({_HELPERS!r}, '<helpers>', 'exec'), _); "
    "globals().update(_['bind'](dict(globals()))); del _\n"
)
"""Trusted line put before every program; binds what cannot be sent as data.

The functions are compiled under a name of their own, so that a message about a call of one gives
the line of the program that called it."""

PRELUDE_LINES = PRELUDE.count("\n")

NAMES = {
    "users": "[K] int, user ids",
    "channels": "[C] int, ids of the idle channels",
    "power_w": "[K, 1] or [K, C], received power in W",
    "bandwidth_hz": "[C], bandwidth in Hz",
    "noise_w": "[C], noise power in W",
    "interference_w": "[C] or [K, C], interference power in W",
    "rate_bps()": "[K, C], rate of each pair in bit/s",
    "values()": "[K, C], worth of each pair",
    "value(i, j)": "the same of one pair",
    "objective(cols)": "a number, with user i on column cols[i], -1 for none",
    "time_budget_s": "a number",
    "np": "NumPy",
}
"""What every program finds, as the prompt explains it. Row i belongs to `users[i]`, column j to
`channels[j]`."""

EXTRA_NAMES = {
    "snr_gap": "",
    "max_spectral_efficiency": "",
    "weight": "[K]",
    "alpha": "",
    "min_rate_bps": "[K]",
    "min_rate_value": "",
    "coupling_bps": "(mu)",
    "position_m": "[K, 2]",
    "coupling_length_m": "",
    "adjacent_leakage": "",
    "coupling": "[K, K] (G)",
    "leakage": "[C, C] (rho)",
}
"""What a program finds where its slot has it: floats, or float arrays of the shape beside them. The
objective's formula says what each is for."""

MAX_BYTES = 1 << 30
"""The most that the data of a program may take, unless a caller says otherwise [bytes]."""

UNASSIGNED = -1
"""Stands in a raw assignment for "no channel", and may stand in an action."""

UNKNOWN_CHANNEL = -2
"""Stands in a raw assignment for a channel id that is no index: `lsajax.violations` counts it."""


UNKNOWN_USER = "unknown_user"
"""The kind of violation that `lsajax.violations` cannot see: keys that are no requesting user."""


class RawAssignment(NamedTuple):
    """An action in rows, before any repair.

    Attributes:
        raw: channel per row, `UNASSIGNED` where the action says nothing (or that).
        unknown_users: keys of the action that are no requesting user.
    """

    raw: Int32[np.ndarray, "users"]
    unknown_users: int


def documentation(names: Mapping[str, str]) -> str:
    """A line for each of `names`."""
    return "".join(f"{name}: {text}\n" for name, text in names.items())


def extra_data(slot: HostSlot) -> dict[str, np.ndarray | float]:
    """The values of `EXTRA_NAMES` that a slot has, in their order."""
    found: dict[str, Any] = {
        name: getattr(slot, name)
        for name in ("snr_gap", "max_spectral_efficiency", "weight", "min_rate_bps")
    }
    if slot.objective == "fair":
        found["alpha"] = slot.alpha
    if slot.min_rate_bps is not None:
        found["min_rate_value"] = slot.min_rate_value
    if slot.objective == "coupled":
        found |= {"coupling_bps": slot.coupling_bps, "coupling": slot.coupling}
        found["leakage"] = slot.leakage
        if slot.coupling is None:
            found["position_m"] = slot.position_m
            found["coupling_length_m"] = slot.coupling_length_m
        if slot.leakage is None:
            found["adjacent_leakage"] = slot.adjacent_leakage
    return {name: found[name] for name in EXTRA_NAMES if found.get(name) is not None}


def program_data(
    inst: lsa.Instance | HostSlot, time_budget_s: float = 1.0, *, max_bytes: int = MAX_BYTES
) -> dict[str, np.ndarray | float]:
    """The data of `NAMES` and `EXTRA_NAMES` for one slot: arrays in float64, ids in int64.

    Rows are the K requesting users (padding dropped), columns the C idle channels. `power_w` is
    [K, 1] where power does not depend on the channel, so that it broadcasts either way. Nothing
    else has K x C, K x K or C x C entries unless the instance holds it so.

    Args:
        inst: the slot.
        time_budget_s: what the program is told that it may take [s].
        max_bytes: the most that power and interference may take; a program that works on them
            needs a few times as much.

    Raises:
        ValueError: `time_budget_s` is not a positive finite number, or more than `max_bytes` are
            needed; before any of it is made.
    """
    if not (np.isfinite(time_budget_s) and time_budget_s > 0):
        raise ValueError(f"time_budget_s must be finite and above 0 s, got {time_budget_s!r}")
    slot = host_slot(inst)
    check_size(slot, max_bytes)
    interference_w = slot.interference_w
    return {
        "users": slot.users,
        "channels": slot.channels,
        "power_w": slot.power_w(),
        "bandwidth_hz": slot.bandwidth_hz,
        "noise_w": slot.noise_psd_w_hz * slot.bandwidth_hz,
        "interference_w": np.zeros(len(slot.channels))
        if interference_w is None
        else interference_w,
        "time_budget_s": float(time_budget_s),
        **extra_data(slot),
    }


def check_size(slot: HostSlot, max_bytes: int = MAX_BYTES) -> None:
    """Raises ValueError where `program_data` would, without making any of the data."""
    K, C = len(slot.users), len(slot.channels)
    pairs = slot.power_per_pair + (slot.interference_w is not None and slot.interference_w.ndim > 1)
    needed = 8 * K * C * pairs
    if needed > max_bytes:
        raise ValueError(
            f"the data of a program needs {needed} bytes for {K} users on {C} idle channels, whose "
            f"power or interference differs by pair, and max_bytes is {max_bytes}: raise it, or "
            "decide for some users at a time (user_mask), each on channels of its own (occupied)"
        )


def raw_assignment(
    inst: lsa.Instance | HostSlot, action: Mapping[int, int] | None
) -> RawAssignment:
    """An `action` (user id -> channel id) as one channel per row.

    A channel id outside 0..M-1 becomes `UNKNOWN_CHANNEL`, except -1, which says "unassigned";
    ids may be integers of any size. None, from a program that failed, leaves all rows unassigned.
    """
    slot = host_slot(inst)
    raw = np.full(slot.num_rows, UNASSIGNED, np.int32)
    if not action:
        return RawAssignment(raw, 0)
    user, channel = _pairs(action).T
    if not slot.users.size:
        return RawAssignment(raw, len(user))
    # In the order of the ids, so that all keys are looked up at once.
    rows, ids = slot.rows[slot.by_id], slot.users[slot.by_id]
    place = np.minimum(np.searchsorted(ids, user), len(ids) - 1)
    known = ids[place] == user
    in_range = (channel >= UNASSIGNED) & (channel < slot.num_channels)
    raw[rows[place[known]]] = np.where(in_range, channel, UNKNOWN_CHANNEL)[known]
    return RawAssignment(raw, int(np.sum(~known)))


_NOT_BROKEN = ("unserved", "below_min_rate")  # counted apart, and a soft constraint


def is_valid(
    slot: HostSlot, action: Mapping[int, int] | None, violations: Mapping[str, int]
) -> bool:
    """Whether an action breaks nothing and serves as many users as can be served.

    Where no user can be served, since none requests or no channel is idle, the empty action is
    valid, and so is one that leaves all users unassigned. Needs (`min_rate_bps`) do not count: they
    are part of the objective.

    Args:
        slot: what the action is for.
        action: None, from a completion that led to none, is never valid.
        violations: of its raw assignment by kind, `UNKNOWN_USER` among them.
    """
    broken = sum(count for kind, count in violations.items() if kind not in _NOT_BROKEN)
    unserved = len(slot.users) - slot.servable
    return action is not None and broken == 0 and violations["unserved"] == unserved


def _pairs(action: Mapping[int, int]) -> Int64[np.ndarray, "entries 2"]:
    pair = np.dtype((np.int64, 2))
    try:
        return np.fromiter(action.items(), pair, len(action))
    except OverflowError:
        # An id beyond 64 bits belongs to no user, and neither does the end of the range.
        low, high = -(2**63), 2**63 - 1
        clipped = [[min(max(int(n), low), high) for n in item] for item in action.items()]
        return np.array(clipped, np.int64)


_FUTURE = re.compile(r"^from __future__ import (\([^)]{0,400}\)|[^\n;#]*)", re.MULTILINE)
_BY_COMPILER = re.compile(r"line \d+: (?:Syntax|Indentation|Tab)Error:")


def program_text(code: str) -> str:
    """What the sandbox is given for a program.

    Python wants `from __future__` imports first, so that they go before the prelude, on its line;
    the others keep their numbers.
    """
    futures = [found[0].replace("\n", " ") for found in _FUTURE.finditer(code)]
    code = _FUTURE.sub(lambda found: "pass" + "\n" * found[0].count("\n"), code)
    return "; ".join([*futures, PRELUDE]) + code


def program_detail(detail: str) -> str:
    """A message of the sandbox with its line numbers counted in the program itself.

    Only one stands at the start, except in what the compiler says ("on line 3"): the rest is the
    program's own text.
    """
    number = r"\bline (\d+)" if _BY_COMPILER.match(detail) else r"^line (\d+)"
    return re.sub(number, lambda m: f"line {max(1, int(m[1]) - PRELUDE_LINES)}", detail)

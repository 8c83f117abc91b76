"""What a program sees, and what its action means; one source for prompt, sandbox, corpus."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

import lsajax as lsa
from llm.decision.slot import HostSlot, host_slot

PRELUDE = (
    "import numpy as np; rate_bps = lambda: "
    "bandwidth_hz * np.log1p(power_w / (noise_w + interference_w)) / np.log(2.0)\n"
)
"""Trusted line put before every program; binds what cannot be sent as data."""

PRELUDE_LINES = PRELUDE.count("\n")

DOCUMENTATION = """\
users: int array [K], ids of the requesting users
channels: int array [C], ids of the idle channels
power_w: float array [K, 1] or [K, C], received power in W
bandwidth_hz: float array [C], bandwidth in Hz
noise_w: float array [C], noise power in W
interference_w: float array [C], interference power in W
rate_bps(): float array [K, C], rate of each pair in bit/s
time_budget_s: float, seconds the program may take
np: NumPy"""
"""The names above, as the prompt explains them. Row i belongs to `users[i]`, column j to
`channels[j]`."""

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


def program_data(
    inst: lsa.Instance | HostSlot, time_budget_s: float = 1.0
) -> dict[str, np.ndarray | float]:
    """The data of `DOCUMENTATION` for one slot: host arrays in float64, ids in int64.

    Rows are the K requesting users (padding dropped), columns the C idle channels. `power_w` is
    [K, 1] where power does not depend on the channel, so that it broadcasts either way.

    Args:
        inst: the slot.
        time_budget_s: what the program is told that it may take [s].

    Raises:
        ValueError: `time_budget_s` is not a positive finite number.
    """
    if not (np.isfinite(time_budget_s) and time_budget_s > 0):
        raise ValueError(f"time_budget_s must be finite and above 0 s, got {time_budget_s!r}")
    slot = host_slot(inst)
    return {
        "users": slot.users,
        "channels": slot.channels,
        "power_w": slot.power_w(),
        "bandwidth_hz": slot.bandwidth_hz,
        "noise_w": slot.noise_psd_w_hz * slot.bandwidth_hz,
        "interference_w": slot.interference_w,
        "time_budget_s": float(time_budget_s),
    }


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


def is_valid(
    slot: HostSlot, action: Mapping[int, int] | None, violations: Mapping[str, int]
) -> bool:
    """Whether an action breaks nothing and serves as many users as can be served.

    Where no user can be served, since none requests or no channel is idle, the empty action is
    valid, and so is one that leaves all users unassigned.

    Args:
        slot: what the action is for.
        action: None, from a completion that led to none, is never valid.
        violations: of its raw assignment by kind, `UNKNOWN_USER` among them.
    """
    broken = sum(count for kind, count in violations.items() if kind != "unserved")
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

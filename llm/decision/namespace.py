"""What a program sees, and what becomes of its answer; one source for prompt, sandbox, corpus."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int32, Int64

import lsajax as lsa

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

UNKNOWN_CHANNEL = -2
"""Stands in a raw assignment for a channel id that is no index: `lsajax.violations` counts it."""


class RawAction(NamedTuple):
    """A program's answer in rows.

    Args:
        assignment: i32[K] channel per row, -1 where the answer says nothing (or -1).
        unknown_users: keys of the answer that are no requesting user.
    """

    assignment: Int32[np.ndarray, "users"]
    unknown_users: int


_channel_power = jax.jit(lsa.channel_power)


def warm_up(inst: lsa.Instance) -> None:
    """Compile what `program_data` needs for this shape."""
    if inst.fading:
        _channel_power(inst)


def program_data(inst: lsa.Instance, time_budget_s: float = 1.0) -> dict[str, np.ndarray | float]:
    """The data of `DOCUMENTATION` for one instance: host arrays in float64, ids in int64.

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
    rows = np.flatnonzero(np.asarray(inst.user_mask))
    idle = np.flatnonzero(~np.asarray(inst.occupied))
    if inst.fading:
        power = np.asarray(_channel_power(inst), np.float64)[np.ix_(rows, idle)]
    else:
        # The outer product in float64 directly: no K x M matrix is drawn for it.
        power = np.asarray(inst.mean_power_w, np.float64)[rows, None]
        if inst.wideband:
            power = power * np.asarray(inst.carrier_gain, np.float64)[idle]
    bandwidth = np.asarray(inst.bandwidth_hz, np.float64)[idle]
    return {
        "users": np.asarray(inst.user_id, np.int64)[rows],
        "channels": idle.astype(np.int64),
        "power_w": power,
        "bandwidth_hz": bandwidth,
        "noise_w": float(inst.noise_psd_w_hz) * bandwidth,
        "interference_w": np.asarray(inst.interference_w, np.float64)[idle],
        "time_budget_s": float(time_budget_s),
    }


def raw_assignment(inst: lsa.Instance, action: Mapping[int, int] | None) -> RawAction:
    """The answer `action` (user id -> channel id) as one channel per row.

    A channel id outside 0..M-1 becomes `UNKNOWN_CHANNEL`, except -1, which says "unassigned";
    ids may be integers of any size. None, from a program that failed, leaves all rows at -1.
    """
    raw = np.full(inst.num_rows, -1, np.int32)
    if not action:
        return RawAction(raw, 0)
    user, channel = _pairs(action).T
    rows = np.flatnonzero(np.asarray(inst.user_mask))
    if not rows.size:
        return RawAction(raw, len(user))
    # Rows in the order of their ids, so that all keys are looked up at once.
    rows = rows[np.argsort(np.asarray(inst.user_id)[rows])]
    ids = np.asarray(inst.user_id)[rows]
    place = np.minimum(np.searchsorted(ids, user), len(ids) - 1)
    known = ids[place] == user
    in_range = (channel >= -1) & (channel < inst.num_channels)
    raw[rows[place[known]]] = np.where(in_range, channel, UNKNOWN_CHANNEL)[known]
    return RawAction(raw, int(np.sum(~known)))


def _pairs(action: Mapping[int, int]) -> Int64[np.ndarray, "entries 2"]:
    pair = np.dtype((np.int64, 2))
    try:
        return np.fromiter(action.items(), pair, len(action))
    except OverflowError:
        # An id beyond 64 bits is nobody's, and so is the end of the range.
        low, high = -(2**63), 2**63 - 1
        clipped = [[min(max(int(n), low), high) for n in item] for item in action.items()]
        return np.array(clipped, np.int64)


_FUTURE = re.compile(r"^from __future__ import (\([^)]{0,400}\)|[^\n;#]*)", re.MULTILINE)


def program_text(code: str) -> str:
    """What the sandbox is given for a program.

    Python wants `from __future__` imports first, so that they go before the prelude, on its line;
    the others keep their numbers.
    """
    futures = [found[0].replace("\n", " ") for found in _FUTURE.finditer(code)]
    code = _FUTURE.sub(lambda found: "pass" + "\n" * found[0].count("\n"), code)
    return "; ".join([*futures, PRELUDE]) + code


def program_detail(detail: str) -> str:
    """A message of the sandbox with its line numbers counted in the program itself."""
    return re.sub(r"\bline (\d+)", lambda m: f"line {max(1, int(m[1]) - PRELUDE_LINES)}", detail)

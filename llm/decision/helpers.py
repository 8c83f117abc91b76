"""The functions that a program finds beside its data; they run in the sandbox, as its own code.

Not imported there: `llm.decision.namespace` puts the text of this file before every program, so
that it has no rights that the program does not have. Hence NumPy alone. What each means is said in
`lsajax.link`, `lsajax.objective` and `lsajax.coupling`, with which the tests compare it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def bind(data: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """`rate_bps`, `values`, `value` and `objective` of the names in `data`."""
    K, C = len(data["users"]), len(data["channels"])
    bandwidth_hz, noise_w = data["bandwidth_hz"], data["noise_w"]
    power_w = np.broadcast_to(data["power_w"], (K, C))
    interference_w = np.broadcast_to(data["interference_w"], (K, C))
    weight, alpha = data.get("weight"), data.get("alpha")
    min_rate_bps, min_rate_value = data.get("min_rate_bps"), data.get("min_rate_value", 0.0)

    def rate(i, j, co_channel_w=0.0):
        sinr = power_w[i, j] / (noise_w[j] + interference_w[i, j] + co_channel_w)
        rate_bps = bandwidth_hz[j] * np.log1p(sinr / data.get("snr_gap", 1.0)) / np.log(2.0)
        cap = data.get("max_spectral_efficiency", np.inf)
        return np.minimum(rate_bps, cap * bandwidth_hz[j]) if np.isfinite(cap) else rate_bps

    def worth(i, rate_bps):
        total = rate_bps
        if alpha is not None:
            log = np.log1p(rate_bps / 1e6)
            total = log if alpha == 1 else np.expm1((1 - alpha) * log) / (1 - alpha)
        if weight is not None:
            total = weight[i] * total
        if min_rate_bps is not None and min_rate_value > 0:
            need = min_rate_bps[i]
            met = np.minimum(rate_bps / np.where(need > 0, need, 1.0), 1.0)
            total = total + min_rate_value * np.where(need > 0, met, 0.0)
        return total

    def rate_bps():
        return rate(slice(None), slice(None))

    def value(i, j):
        return worth(i, rate(i, j))

    def values():
        return worth(np.arange(K)[:, None], rate_bps())

    def objective(cols):
        cols = np.asarray(cols, int)
        if cols.shape != (K,):
            raise ValueError(f"objective takes one column per user, {K}, got shape {cols.shape}")
        i = np.flatnonzero((cols >= 0) & (cols < C))
        j = cols[i]
        power = power_w[i, j]
        co_channel_w = np.bincount(j, power, C)[j] - power if len(i) else power
        co_channel_w = np.where(np.bincount(j, minlength=C)[j] > 1, co_channel_w, 0.0)
        total = float(np.sum(worth(i, rate(i, j, np.maximum(co_channel_w, 0.0)))))
        return total - _coupling_loss(data, i, j) if "coupling_bps" in data else total

    return {"rate_bps": rate_bps, "values": values, "value": value, "objective": objective}


def _coupling_loss(data: dict[str, Any], i: np.ndarray, j: np.ndarray) -> float:
    """mu sum G rho of users `i` on columns `j`."""
    a, b, leakage = _leaking(data, j)
    a, b = i[a], i[b]
    if "coupling" in data:
        together = data["coupling"][a, b]
    else:
        distance_m = np.linalg.norm(data["position_m"][a] - data["position_m"][b], axis=1)
        together = np.exp(-distance_m / data["coupling_length_m"])
    return data["coupling_bps"] * float(np.sum(together * leakage))


def _leaking(data: dict[str, Any], j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of positions in `j`, with the leakage between their channels."""
    channel = data["channels"][j]
    holder = np.full(int(channel.max(initial=0)) + 3, -1)
    holder[channel] = np.arange(len(j))  # of users that share a channel the last one alone
    if "leakage" in data:
        alone = holder[np.unique(channel)]
        a, b = np.repeat(alone, len(alone)), np.tile(alone, len(alone))
        return a, b, data["leakage"][j[a], j[b]]
    lower, upper, leakage = [], [], []
    for apart in (1, 2):
        a, b = holder[:-apart], holder[apart:]
        both = (a >= 0) & (b >= 0)
        lower.append(a[both])
        upper.append(b[both])
        # The sum is over ordered pairs.
        leakage.append(np.full(len(lower[-1]), 2 * data["adjacent_leakage"] ** apart))
    return np.concatenate(lower), np.concatenate(upper), np.concatenate(leakage)

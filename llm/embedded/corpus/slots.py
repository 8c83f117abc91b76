"""Slots of all sizes, settings and objectives, drawn on the host, for prompts to train on."""

from typing import Any

import numpy as np

import lsajax as lsa
from llm.decision.slot import HostSlot, host_slot
from llm.training.prompts import OBJECTIVES

SETTINGS = ("plain", "fading", "multipath", "wideband", "interference")

HELD_OUT = (
    "multipath, fair",
    "multipath, priorities",
    "wideband, priorities",
    "wideband, coupled",
    "interference, coupled",
)
"""Combinations that no prompt has: whether the model puts together what it knows of
a setting and of an objective is seen on these."""

_ALL: dict[str, dict[str, Any]] = {
    f"{setting}, {goal}": {**lsa.SETTINGS[setting], **changes}
    for setting in SETTINGS
    for goal, changes in OBJECTIVES.items()
}

KINDS = {kind: changes for kind, changes in _ALL.items() if kind not in HELD_OUT}
"""Setting and objective, as changes of a scenario; with size and time they decide the algorithm."""

TIME_BUDGETS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""What a prompt may state."""


def random_slot(rng: np.random.Generator, kind: str | None = None) -> HostSlot:
    """A slot of any size, drawn on the host.

    Shapes differ from draw to draw, and each new one would make JAX compile.

    Args:
        rng: source of all choices.
        kind: key of `KINDS`; None draws one.
    """
    kind = str(rng.choice(list(KINDS))) if kind is None else kind
    asked = KINDS[kind]
    K = int(np.exp(rng.uniform(0, np.log(800))))
    M = int(K * np.exp(rng.uniform(0.1, np.log(min(6, 2200 / K))))) + 2
    N = int(M * rng.uniform(0.8, 1.2)) + K
    distance_m = np.maximum(500 * np.sqrt(rng.random(K)), 1.0)
    angle = rng.uniform(0, 2 * np.pi, K)
    bandwidth_hz = rng.uniform(10e6, 20e6, M)
    noise_psd_w_hz = 10 ** (-20.4)
    occupied = rng.random(M) < 0.1
    occupied[rng.permutation(M)[:K]] = False
    # NumPy's arrays in place of JAX's: `Any`, since an instance says it holds those.
    optional: dict[str, Any] = {}
    if "wideband" in asked:
        optional["carrier_gain"] = (2.4e9 / (0.7e9 + np.cumsum(bandwidth_hz))) ** 2
    if "interference" in asked:
        hit = rng.random(M) < 0.3
        optional["interference_w"] = hit * rng.exponential(10 * noise_psd_w_hz * bandwidth_hz)
    if "weight_max" in asked:
        optional["weight"] = rng.uniform(1, asked["weight_max"], K)
    if asked.keys() & {"fading", "multipath"}:
        zero: Any = np.zeros(())
        frequency_hz: Any = np.cumsum(bandwidth_hz)
        paths = lsa.Multipath(frequency_hz, zero, zero, zero)
        seed: Any = rng.integers(2**32, size=2, dtype=np.uint32)
        optional["fading"] = lsa.Fading(seed, None, paths if "multipath" in asked else None)
    fields = optional | {
        "user_id": np.sort(rng.choice(N, K, replace=False)),
        "user_mask": np.ones(K, bool),
        "position_m": distance_m[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1),
        "mean_power_w": 2e-5 * distance_m**-2.5,
        "bandwidth_hz": bandwidth_hz,
        "occupied": occupied,
        "noise_psd_w_hz": np.array(noise_psd_w_hz),
        "objective": asked.get("objective", "throughput"),
        "alpha": np.array(rng.choice((0.5, 1.0, 2.0))),
        "min_rate_value": np.zeros(()),
        "coupling_bps": np.array(rng.choice((2e7, 5e7, 1e8))),
        "coupling_length_m": np.array(200.0),
        "adjacent_leakage": np.array(0.5),
    }
    return host_slot(lsa.Instance(**fields))

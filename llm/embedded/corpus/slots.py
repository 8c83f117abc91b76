"""Slots of all sizes and settings, drawn on the host, for prompts to train on."""

import numpy as np

from llm.decision.slot import HostSlot

KINDS = ("plain", "fading", "wideband", "interference")


def random_slot(rng: np.random.Generator) -> HostSlot:
    """A slot of any size and setting, drawn on the host.

    Shapes differ from draw to draw, and each new one would make JAX compile; statistics alone
    matter here.
    """
    K = int(np.exp(rng.uniform(0, np.log(400))))
    M = int(K * np.exp(rng.uniform(0.1, np.log(6)))) + 2
    N = int(M * rng.uniform(0.8, 1.2)) + K
    kind = KINDS[rng.integers(4)]
    distance_m = np.maximum(500 * np.sqrt(rng.random(K)), 1.0)
    bandwidth_hz = rng.uniform(10e6, 20e6, M)
    noise_psd_w_hz = 10 ** (-20.4)
    hit = rng.random(M) < 0.3
    carrier_ghz = rng.uniform(0.7, 3.8, M)
    users = np.sort(rng.choice(N, K, replace=False))
    interference_w = np.zeros(M)
    if kind == "interference":
        interference_w = hit * rng.exponential(10 * noise_psd_w_hz * bandwidth_hz)
    occupied = rng.random(M) < 0.1
    occupied[rng.permutation(M)[:K]] = False
    idle = np.flatnonzero(~occupied)
    mean_power_w = 2e-5 * distance_m**-2.5
    carrier_gain = (2.4 / carrier_ghz) ** 2 if kind == "wideband" else np.ones(M)
    power_w = mean_power_w[:, None] * (carrier_gain[idle] if kind == "wideband" else 1.0)
    if kind == "fading":
        power_w = power_w * rng.exponential(size=(K, len(idle)))
    return HostSlot(
        num_rows=K,
        num_channels=M,
        rows=np.arange(K),
        users=users,
        channels=idle,
        occupied=np.flatnonzero(occupied),
        mean_power_w=mean_power_w,
        bandwidth_hz=bandwidth_hz[idle],
        carrier_gain=carrier_gain[idle],
        interference_w=interference_w[idle],
        noise_psd_w_hz=noise_psd_w_hz,
        power_w=lambda: power_w,
        fading=kind == "fading",
        wideband=kind == "wideband",
        interference=kind == "interference",
    )

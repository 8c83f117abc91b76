"""Slots of all sizes and settings, drawn on the host, for prompts to train on."""

import jax.numpy as jnp
import numpy as np

import lsajax as lsa
from llm.decision.namespace import program_data

KINDS = ("plain", "fading", "wideband", "interference")


def random_instance(rng: np.random.Generator) -> tuple[lsa.Instance, dict]:
    """A slot of any size and setting, and its program data; drawn on the host.

    Shapes differ from draw to draw, and each new one would make JAX compile; statistics alone
    matter here.
    """
    K = int(np.exp(rng.uniform(0, np.log(400))))
    M = int(K * np.exp(rng.uniform(0.1, np.log(6)))) + 2
    N = int(M * rng.uniform(0.8, 1.2)) + K
    kind = KINDS[rng.integers(4)]
    distance_m = np.maximum(500 * np.sqrt(rng.random(K)), 1.0)
    bandwidth = rng.uniform(10e6, 20e6, M)
    noise_psd = 10 ** (-20.4)
    hit = rng.random(M) < 0.3
    carrier = rng.uniform(0.7, 3.8, M)
    inst = lsa.Instance(
        user_id=np.sort(rng.choice(N, K, replace=False)).astype(np.int32),
        user_mask=np.ones(K, bool),
        position_m=np.zeros((K, 2), np.float32),
        mean_power_w=2e-5 * distance_m**-2.5,
        bandwidth_hz=bandwidth,
        carrier_gain=(2.4 / carrier) ** 2 if kind == "wideband" else np.ones(M),
        interference_w=(
            hit * rng.exponential(10 * noise_psd * bandwidth)
            if kind == "interference"
            else np.zeros(M)
        ),
        occupied=_occupied(rng, M, K),
        noise_psd_w_hz=np.float32(noise_psd),
        fading_seed=jnp.zeros(2, jnp.uint32),
        coupling_bps=0.0,
        coupling_length_m=1.0,
        adjacent_leakage=0.0,
        wideband=kind == "wideband",
        interference=kind == "interference",
    )
    data = program_data(inst)
    if kind == "fading":
        inst = inst.replace(fading=True)
        data["power_w"] = data["power_w"] * rng.exponential(size=(K, len(data["channels"])))
    return inst, data


def _occupied(rng: np.random.Generator, M: int, K: int) -> np.ndarray:
    occupied = rng.random(M) < 0.1
    occupied[rng.permutation(M)[:K]] = False
    return occupied

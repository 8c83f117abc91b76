"""Makes `munich.npz`: a frequency response that Sionna RT traces in its scene of Munich.

    pip install sionna-rt  # 2.2; it needs LLVM, such as Debian's package libllvm19 (15 is too old)
    python examples/data/munich.py

One station with two antennas on a roof by the Frauenkirche and 16 users in the streets around it,
which walk; 12 channels of 20 MHz above 3.5 GHz, three subcarriers of each, three slots.
"""

import pathlib

import numpy as np
import sionna.rt as rt

USERS, CHANNELS, SUBCARRIERS, SLOTS = 16, 12, 3, 3
BANDWIDTH_HZ, SLOT_S = 20e6, 0.05
STATION_M = (8.5, 21.0, 27.0)  # as in Sionna's own tutorial


def street_points(scene: rt.Scene, rng: np.random.Generator) -> np.ndarray:
    """[users, 2] points within 200 m of the station that its paths reach."""
    solver, found = rt.PathSolver(), np.empty((0, 2))
    while len(found) < USERS:
        tried = STATION_M[:2] + rng.uniform(-200, 200, (64, 2))
        for i, (x, y) in enumerate(tried):
            scene.add(rt.Receiver(f"try {i}", position=[float(x), float(y), 1.5]))
        real, imaginary = solver(scene, max_depth=3, samples_per_src=200_000).a
        power = np.sum(real.numpy() ** 2 + imaginary.numpy() ** 2, axis=(1, 2, 3, 4))
        for i in range(len(tried)):
            scene.remove(f"try {i}")
        found = np.concatenate([found, tried[power > 1e-13]])
    return found[:USERS]


def main() -> None:
    """Traces and writes."""
    rng = np.random.default_rng(0)
    scene = rt.load_scene(rt.scene.munich)
    scene.frequency = 3.5e9
    scene.tx_array = rt.PlanarArray(num_rows=1, num_cols=2, pattern="iso", polarization="V")
    scene.rx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.add(rt.Transmitter("station", position=list(STATION_M)))
    points = street_points(scene, rng)
    for i, (x, y) in enumerate(points):
        angle = rng.uniform(0, 2 * np.pi)
        velocity = [1.5 * float(np.cos(angle)), 1.5 * float(np.sin(angle)), 0.0]
        scene.add(rt.Receiver(f"user {i}", position=[float(x), float(y), 1.5], velocity=velocity))
    paths = rt.PathSolver()(scene, max_depth=4, samples_per_src=1_000_000)
    spacing_hz = BANDWIDTH_HZ / SUBCARRIERS
    frequencies = spacing_hz * (np.arange(CHANNELS * SUBCARRIERS) + 0.5).astype(np.float32)
    response = paths.cfr(
        frequencies=frequencies,
        sampling_frequency=1 / SLOT_S,
        num_time_steps=SLOTS,
        normalize_delays=False,
        out_type="numpy",
    )
    np.savez_compressed(
        pathlib.Path(__file__).with_suffix(".npz"),
        response=np.asarray(response).astype(np.complex64),
        bandwidth_hz=np.full(CHANNELS, BANDWIDTH_HZ),
        position_m=points - STATION_M[:2],
    )


if __name__ == "__main__":
    main()

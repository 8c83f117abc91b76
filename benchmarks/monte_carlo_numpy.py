"""The Monte Carlo loop that a user would write: NumPy and SciPy, one realisation at a time."""

import multiprocessing
import os
import unittest.mock
from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.simulator import repair_by_dict

RADIUS_M, CARRIER_HZ, PATH_LOSS, POWER_W = 500.0, 2.4e9, 2.5, 0.2
NOISE_W_HZ, OCCUPANCY, DELAY_S, PATHS = 4e-21, 0.1, 20e-9, 12

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def realisation(seed: int, users: int, channels: int, setting: str, what: str) -> float:
    """Throughput [bit/s] of a fresh network with a given, a repaired or the best assignment."""
    rng = np.random.default_rng(seed)
    distance = np.maximum(RADIUS_M * np.sqrt(rng.random(users)), 1.0)
    power = POWER_W * (299792458.0 / CARRIER_HZ / 4 / np.pi) ** 2 * distance**-PATH_LOSS
    bandwidth = 10e6 + 10e6 * rng.random(channels)
    occupied = rng.random(channels) < (OCCUPANCY if users < channels else 0.0)
    if what == "optimum":
        snr = power[:, None] * _gain(rng, users, bandwidth, setting) / (NOISE_W_HZ * bandwidth)
        rate = np.where(occupied, 0.0, bandwidth * np.log2(1 + snr))
        rows, columns = linear_sum_assignment(rate, maximize=True)
        return float(rate[rows, columns].sum())
    assignment = np.arange(users)
    if what == "repair":
        raw = rng.integers(-1, channels, users)
        assignment = repair_by_dict(raw, power, bandwidth, occupied)
    own = bandwidth[assignment]
    snr = power / (NOISE_W_HZ * own)
    if setting == "fading":
        snr = snr * rng.exponential(size=users)
    return float(np.where(occupied[assignment], 0.0, own * np.log2(1 + snr)).sum())


def _gain(rng: np.random.Generator, users: int, bandwidth: np.ndarray, setting: str) -> np.ndarray:
    shape = users, len(bandwidth)
    if setting == "plain":
        return np.ones(shape)
    if setting == "fading":
        return rng.exponential(size=shape)
    frequency = np.cumsum(bandwidth) - bandwidth / 2
    gain = np.empty(shape)
    for user in range(users):
        delay = rng.exponential(DELAY_S, PATHS)
        path = np.exp(2j * np.pi * rng.random(PATHS)) / np.sqrt(PATHS)
        gain[user] = np.abs(np.exp(-2j * np.pi * np.outer(frequency, delay)) @ path) ** 2
    return gain


def _several(job: tuple[int, int, int, int, str, str]) -> float:
    first, count, *rest = job
    return sum(realisation(first + i, *rest) for i in range(count))  # type: ignore[arg-type]


class Pool:
    """`multiprocessing` over the loop, with a task of some length for each process."""

    def __init__(self, processes: int) -> None:
        # BLAS's own threads would wait for one another on the CPUs that the processes share.
        with unittest.mock.patch.dict(os.environ, dict.fromkeys(_THREADS, "1")):
            self._pool = multiprocessing.get_context("spawn").Pool(processes)
        self._processes = processes

    def __call__(self, count: int, users: int, channels: int, setting: str, what: str) -> float:
        each = max(1, count // (4 * self._processes))
        jobs: Iterator[tuple[int, int, int, int, str, str]] = (
            (first, min(each, count - first), users, channels, setting, what)
            for first in range(0, count, each)
        )
        return sum(self._pool.imap_unordered(_several, jobs))

    def close(self) -> None:
        """Ends the processes."""
        self._pool.terminate()
        self._pool.join()

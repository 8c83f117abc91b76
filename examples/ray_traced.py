"""From a ray tracer's channel to assignments: Sionna RT and DeepMIMO.

A ray tracer gives a complex frequency response; the simulator wants the power that each user has on
each channel, the mean of |H|^2 over antennas and over the subcarriers of the channel, times the
transmit power. `data/munich.npz` was traced with Sionna RT (see `data/munich.py`): 16 users that
walk through Munich, 12 channels, three slots 50 ms apart.

    python examples/ray_traced.py --objective fair --out assignment.csv
    python examples/ray_traced.py --file scenario.mat    # with `channel` as DeepMIMO has it

Its command line needs the extra `runs`: `pip install '.[runs]'`.
"""

import dataclasses
import pathlib
from typing import Literal

import jax
import numpy as np
import scipy.io
import tyro

import lsajax as lsa
from experiments import networks

MUNICH = pathlib.Path(__file__).parent / "data" / "munich.npz"


@dataclasses.dataclass(frozen=True)
class Config:
    """What is assigned.

    Args:
        file: an .npz or .mat with `bandwidth_hz` of the channels, `position_m` of the users where
            it is known, and either `response` in Sionna's layout (see `gain_from_sionna`) or
            `channel` in DeepMIMO's (see `gain_from_deepmimo`).
        objective: what an assignment is worth.
        tx_power_dbm: of each user [dBm].
        out: file for the assignments, .npz, .mat, .parquet or .csv.
    """

    file: pathlib.Path = MUNICH
    objective: Literal["throughput", "fair"] = "throughput"
    tx_power_dbm: float = 23.0
    out: pathlib.Path | None = None


def gain_from_sionna(response: np.ndarray, channels: int) -> np.ndarray:
    """Power gain [users, channels, slots] of what `Paths.cfr(..., out_type="numpy")` returns.

    Args:
        response: complex [num_rx, num_rx_ant, num_tx, num_tx_ant, num_time_steps,
            num_frequencies]; the users are the receivers, or the transmitters beside one receiver:
            by reciprocity the uplink has the same gain.
        channels: that the frequencies are split into, evenly and in their order.
    """
    num_rx, _, num_tx, _, steps, frequencies = response.shape
    if 1 not in (num_rx, num_tx):
        raise ValueError(f"response must be of one station, got {num_rx} x {num_tx} links")
    power = np.mean(np.abs(response) ** 2, axis=(1, 3))  # [rx, tx, step, frequency]
    power = power.reshape(num_rx * num_tx, steps, *_split(frequencies, channels))
    return power.mean(axis=-1).transpose(0, 2, 1)


def gain_from_deepmimo(channel: np.ndarray, channels: int) -> np.ndarray:
    """Power gain [users, channels] of DeepMIMO's channel matrices in the frequency domain.

    Args:
        channel: complex [users, rx antennas, tx antennas, subcarriers], `dataset.channel` of
            version 4, `dataset[i]["user"]["channel"]` of version 3; 0 for a user without a path.
        channels: that the subcarriers are split into, evenly and in their order.
    """
    users, _, _, subcarriers = channel.shape
    power = np.mean(np.abs(channel) ** 2, axis=(1, 2))  # [user, subcarrier]
    return power.reshape(users, *_split(subcarriers, channels)).mean(axis=-1)


def _split(subcarriers: int, channels: int) -> tuple[int, int]:
    if subcarriers % channels:
        raise ValueError(f"channels must divide the {subcarriers} subcarriers, got {channels}")
    return channels, subcarriers // channels


def read_traced(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Gain, bandwidth and, where they are there, positions of a file in either layout."""
    # MATLAB has no arrays of one axis.
    traced = scipy.io.loadmat(file) if file.suffix == ".mat" else dict(np.load(file))
    layouts = {"response": gain_from_sionna, "channel": gain_from_deepmimo}
    found = [name for name in layouts if name in traced]
    if len(found) != 1 or "bandwidth_hz" not in traced:
        raise ValueError(
            f"{file} must hold bandwidth_hz and one of {', '.join(layouts)}, got {sorted(traced)}"
        )
    bandwidth_hz = np.ravel(traced["bandwidth_hz"])
    gain = layouts[found[0]](traced[found[0]], len(bandwidth_hz))
    known = {"gain": gain, "bandwidth_hz": bandwidth_hz}
    return known | ({"position_m": traced["position_m"]} if "position_m" in traced else {})


def main(config: Config) -> list[dict[str, float]]:
    """Prints and returns what sorting and the exact optimum are worth in each slot."""
    fields = {"tx_power_dbm": config.tx_power_dbm, **read_traced(config.file)}
    network = networks.from_fields(fields, name=config.file.name, objective=config.objective)
    found, assignments = [], []
    for slot in range(network.num_slots):
        inst = network.instance(slot)
        key = jax.random.key(slot)
        best = lsa.solvers.hungarian(key, inst)
        values = {
            "sorted": float(lsa.solvers.sorted_matching(key, inst).value),
            "optimum": float(lsa.objective_value(inst, best.assignment)),
        }
        print(f"slot {slot}: " + ", ".join(f"{name} {v:.5g}" for name, v in values.items()))
        found.append(values)
        assignments.append(np.asarray(best.assignment))
    if config.out is not None:
        networks.write_assignment(config.out, network, np.stack(assignments, axis=1))
    return found


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

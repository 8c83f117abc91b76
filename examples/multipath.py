"""How alike are the gains of near channels and near slots in the setting `multipath`?

Draws slots of one network as any study would, correlates its power gains over the users, and
plots them beside the closed forms of Rayleigh fading: |1 / (1 + j 2 pi f tau)|^2 for channels f
apart and a delay spread tau, J0(2 pi f_d t)^2 for slots t apart and a Doppler shift f_d.

    python examples/multipath.py --out results/multipath

Needs a checkout with the group `experiments`, for the figure's style.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import tyro
from matplotlib.axes import Axes
from scipy.special import j0

import lsajax as lsa
from experiments import plotting

COLOURS = ("#0072B2", "#D55E00", "#009E73")
_CORNER = {"ha": "right", "va": "top"}
SHARED = {"num_channels": 12, "multipath": True, "occupancy": 0.0}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is drawn, and where the figure goes.

    Args:
        users: over whom the gains are correlated.
        slots: the longest time, of 1 ms each.
        delay_spreads_ns: a curve each over the channels.
        speeds_m_s: a curve each over the slots.
        out: the figure, less its suffixes.
        seed: of the network.
    """

    users: int = 4000
    slots: int = 60
    delay_spreads_ns: tuple[float, ...] = (2.0, 6.0, 20.0)
    speeds_m_s: tuple[float, ...] = (1.0, 3.0, 10.0)
    out: pathlib.Path = pathlib.Path("results/multipath")
    seed: int = 0


@jax.jit
def gains(key: jax.Array, scenario: lsa.Scenario, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Power gains h_im [users, channels] of a slot, and the channels' frequencies [Hz]."""
    state = lsa.traffic.init(key, scenario)._replace(slot=slot)
    inst = lsa.slot_instance(key, scenario, state)
    return lsa.channel_power(inst) / inst.mean_power_w[:, None], inst.fading.multipath.frequency_hz


def over_channels(key: jax.Array, scenario: lsa.Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Distance in Hz and correlation of every two channels."""
    gain, frequency_hz = gains(key, scenario, 0)
    first, second = np.triu_indices(scenario.num_channels, 1)
    correlation = np.corrcoef(np.asarray(gain, np.float64).T)
    return np.asarray(frequency_hz[second] - frequency_hz[first]), correlation[first, second]


def over_slots(
    key: jax.Array, scenario: lsa.Scenario, slots: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Time in s and correlation of slot 0 and each of `slots`, in the mean of the channels."""
    start = np.asarray(gains(key, scenario, 0)[0], np.float64)
    start = (start - start.mean(0)) / start.std(0)
    correlation = []
    for slot in slots:
        gain = np.asarray(gains(key, scenario, int(slot))[0], np.float64)
        correlation.append(np.mean(start * (gain - gain.mean(0)) / gain.std(0)))
    return slots * scenario.slot_s, np.array(correlation)


def main(config: Config) -> float:
    """Writes the figure; prints and returns the largest distance of a point to its curve."""
    key = jax.random.key(config.seed)
    base = lsa.Scenario(num_users=config.users, num_active=config.users, **SHARED)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    farthest = []
    with plotting.figure(config.out, 2) as (channels, slots):
        for colour, spread_ns in zip(COLOURS, config.delay_spreads_ns, strict=False):
            tau = spread_ns * 1e-9
            seen = over_channels(key, base.replace(delay_spread_s=tau))
            closed = partial(_over_frequency, delay_spread_s=tau)
            label = f"delay spread {spread_ns:g} ns"
            farthest.append(_draw(channels, seen, closed, 1e6, colour, label))
        times = np.arange(0, config.slots + 1, 3)
        for colour, speed in zip(COLOURS, config.speeds_m_s, strict=False):
            doppler_hz = speed * base.carrier_hz / lsa.units.SPEED_OF_LIGHT_M_S
            seen = over_slots(key, base.replace(speed_m_s=speed), times)
            closed = partial(_over_time, doppler_hz=doppler_hz)
            label = f"{speed:g} m/s, Doppler {doppler_hz:.0f} Hz"
            farthest.append(_draw(slots, seen, closed, 1e-3, colour, label))
        channels.set_xlabel("Distance of two channels [MHz]")
        slots.set_xlabel("Time between two slots [ms]")
        channels.set_ylabel("Correlation of the power gains")
        channels.plot([], [], "k.", label=f"measured over {config.users} users")
        channels.plot([], [], "k-", lw=1, label="closed form")
    print(f"farthest point from its curve: {max(farthest):.3f}; wrote {config.out}.png")
    return max(farthest)


def _over_frequency(apart_hz: np.ndarray, delay_spread_s: float) -> np.ndarray:
    return 1 / (1 + (2 * np.pi * apart_hz * delay_spread_s) ** 2)


def _over_time(apart_s: np.ndarray, doppler_hz: float) -> np.ndarray:
    return j0(2 * np.pi * doppler_hz * apart_s) ** 2


def _draw(
    axes: Axes,
    seen: tuple[np.ndarray, np.ndarray],
    closed: Callable[[np.ndarray], np.ndarray],
    unit: float,
    colour: str,
    label: str,
) -> float:
    """Points and their curve, named in the panel; returns the largest distance between them."""
    apart, correlation = seen
    grid = np.linspace(0, apart.max(), 200)
    axes.plot(grid / unit, closed(grid), color=colour, lw=1)
    axes.plot(apart / unit, correlation, ".", color=colour, ms=4)
    # Two axes of colours: each panel names its own.
    axes.text(
        0.97,
        0.96 - 0.07 * (len(axes.texts)),
        label,
        color=colour,
        **_CORNER,
        transform=axes.transAxes,
    )
    return float(np.abs(correlation - closed(apart)).max())


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

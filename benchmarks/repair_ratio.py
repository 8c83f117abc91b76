"""What the repair may lose (Theorem 1): its result over the best that keeps as many suggestions.

`python -m benchmarks.repair_ratio [--quick]` searches small slots for the worst ratio, every answer
there is on each of them, and looks at random answers to slots of the paper's sizes. The search
draws slots, then climbs: it changes powers and bandwidths of the worst ones while that makes them
worse. What is exact here is enumeration (small slots), and one assignment problem otherwise, in
which a bonus above all values together rewards each suggestion that is kept.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
from scipy.optimize import linear_sum_assignment

import lsajax as lsa
from experiments import study

RULES = ("sorted", "greedy")
SIZES = ((2, 2), (2, 3), (3, 3), (3, 4))
"""Users x channels of the search."""
TYPICAL = {"(12,15,6)": lsa.SMALL_SCALES[12, 15, 6], "I": lsa.SCALES["I"]}
TYPICAL["full"] = lsa.Scenario(num_users=40, num_channels=40, num_active=40, occupancy=0.0)
_CHUNK = 512


@dataclasses.dataclass(frozen=True)
class Config:
    """The worst ratio of the repair.

    Args:
        draws: slots drawn at each size, by model.
        climbs: of the worst ones, which are made worse.
        steps: changes tried on each of those.
        answers: random answers to slots of the paper's sizes.
        seed: of all of it.
        quick: few of all.
        out: file of the table; `python -m experiments.findings` reads it.
    """

    draws: int = 5_120
    climbs: int = 32
    steps: int = 400
    answers: int = 200
    seed: int = 0
    quick: bool = False
    out: pathlib.Path = pathlib.Path("docs/results/repair_ratio.csv")


class Model(NamedTuple):
    """What slots are drawn from: log10 of powers [W] and bandwidths [Hz], each within a box.

    Attributes:
        power: lowest and highest of a user, or of a user on a channel.
        bandwidth: lowest and highest.
        per_pair: whether powers differ by channel.
    """

    power: tuple[float, float]
    bandwidth: tuple[float, float]
    per_pair: bool = False


def _paper_power() -> tuple[float, float]:
    """At the rim and at the least distance that Eq. (2) knows, 1 m."""
    scenario = lsa.Scenario(num_users=2, num_channels=2, num_active=2)
    reference = lsa.sample_instance(jax.random.key(0), scenario)
    distance = np.linalg.norm(np.asarray(reference.position_m, np.float64), axis=1)
    alpha = float(scenario.path_loss_exponent)
    at_1_m = float(np.asarray(reference.mean_power_w, np.float64)[0] * distance[0] ** alpha)
    return float(np.log10(at_1_m * float(scenario.radius_m) ** -alpha)), float(np.log10(at_1_m))


def models() -> dict[str, Model]:
    """The paper's ranges; wider ones; and fading, from a thousandth to ten times the mean."""
    low, high = _paper_power()
    megahertz = (7.0, float(np.log10(2e7)))
    return {
        "plain, the paper's ranges": Model((low, high), megahertz),
        "plain, powers of any size": Model((low - 8, high + 8), megahertz),
        "plain, bandwidths 0.2 to 20 MHz": Model((low - 8, high + 8), (5.301, megahertz[1])),
        "fading": Model((low - 3, high + 1), megahertz, per_pair=True),
    }


@functools.cache
def answers(users: int, channels: int) -> np.ndarray:
    """Every raw answer [answers, users], no channel (-1) included."""
    return np.array(list(itertools.product(range(-1, channels), repeat=users)), np.int32)


@functools.cache
def complete(users: int, channels: int) -> np.ndarray:
    """Every assignment that serves all users [assignments, users]."""
    return np.array(list(itertools.permutations(range(channels), users)), np.int32)


@functools.cache
def keeps_most(users: int, channels: int) -> np.ndarray:
    """Whether an assignment keeps as many suggestions as any [answers, assignments]."""
    raw, all_ = answers(users, channels), complete(users, channels)
    kept = (raw[:, None] == all_[None]).sum(-1)
    return kept == kept.max(axis=1, keepdims=True)


@functools.cache
def instance(users: int, channels: int) -> lsa.Instance:
    """A slot of the size without occupied channels, whose powers and bandwidths are replaced."""
    scenario = lsa.Scenario(num_users=users, num_channels=channels, num_active=users)
    found = lsa.sample_instance(jax.random.key(0), scenario)
    return found.replace(occupied=jnp.zeros(channels, bool))


@functools.cache
def _repaired(users: int, channels: int, rule: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    base, raw = instance(users, channels), jnp.asarray(answers(users, channels))

    def one(power: jax.Array, bandwidth: jax.Array) -> jax.Array:
        inst = base.replace(mean_power_w=power, bandwidth_hz=bandwidth)
        return jax.vmap(functools.partial(lsa.repair, inst, rule=rule))(raw)

    return jax.jit(jax.vmap(one))


def rates(power_w: np.ndarray, bandwidth_hz: np.ndarray, noise_w_hz: float) -> np.ndarray:
    """Eq. (3) in float64 [..., users, channels], of powers [..., users, channels or 1]."""
    width = bandwidth_hz[..., None, :]
    return width * np.log2(1 + power_w / (noise_w_hz * width))


def worst(power_w: np.ndarray, bandwidth_hz: np.ndarray, rule: str) -> tuple[np.ndarray, ...]:
    """Least ratio over all answers to each slot, and which answer it is: two arrays [slots].

    Args:
        power_w: [slots, users] or [slots, users, channels].
        bandwidth_hz: [slots, channels].
        rule: of the repair.
    """
    users, channels = power_w.shape[1], bandwidth_hz.shape[1]
    noise = float(instance(users, channels).noise_psd_w_hz)
    call = _repaired(users, channels, rule)
    repaired = np.asarray(call(power_w.astype(np.float32), bandwidth_hz.astype(np.float32)))
    per_pair = power_w if power_w.ndim == 3 else power_w[:, :, None]
    rate = rates(per_pair, bandwidth_hz, noise)
    everyone = np.arange(users)
    value = rate[:, everyone, complete(users, channels)].sum(-1)  # [slots, assignments]
    most = keeps_most(users, channels)
    best = np.where(most[None], value[:, None], -np.inf).max(-1)  # [slots, answers]
    ours = np.take_along_axis(rate[:, None], repaired[..., None], axis=3)[..., 0].sum(-1)
    ratio = ours / best
    which = ratio.argmin(1)
    return ratio[np.arange(len(ratio)), which], which


def _drawn(
    rng: np.random.Generator, model: Model, count: int, users: int, channels: int
) -> np.ndarray:
    """Points [count, powers and bandwidths] of the model's box, in log10."""
    low, high = _box(model, users, channels)
    at = rng.uniform(low, high, (count, low.size))
    edge = rng.random(at.shape)  # the worst is often at the rim of a box
    return np.where(edge < 0.2, low, np.where(edge > 0.8, high, at))


def _box(model: Model, users: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    powers = users * channels if model.per_pair else users
    pairs = np.array([model.power] * powers + [model.bandwidth] * channels).T
    return pairs[0], pairs[1]


def _worst_of(
    points: np.ndarray, model: Model, users: int, channels: int, rule: str
) -> tuple[np.ndarray, np.ndarray]:
    ratios, which = [], []
    size = min(len(points), _CHUNK)  # of which there is a compilation
    for start in range(0, len(points), size):
        chunk = 10.0 ** points[start : start + size]
        power, bandwidth = chunk[:, :-channels], chunk[:, -channels:]
        if model.per_pair:
            power = power.reshape(-1, users, channels)
        ratio, answer = worst(power, bandwidth, rule)
        ratios.append(ratio)
        which.append(answer)
    return np.concatenate(ratios), np.concatenate(which)


def search(
    config: Config, name: str, model: Model, users: int, channels: int, rule: str
) -> dict[str, Any]:
    """The worst slot and answer that draws and climbs find, as a row."""
    rng = np.random.default_rng([config.seed, users, channels, len(name)])
    points = _drawn(rng, model, config.draws, users, channels)
    ratio, _ = _worst_of(points, model, users, channels, rule)
    points = points[np.argsort(ratio)[: config.climbs]]
    ratio = np.sort(ratio)[: config.climbs]
    low, high = _box(model, users, channels)
    for step in range(config.steps):
        reach = (high - low) * 0.3 * (1 - step / config.steps) + 1e-4
        moves = rng.random(points.shape) < 0.4
        tried = np.clip(points + moves * rng.normal(0, reach, points.shape), low, high)
        found, _ = _worst_of(tried, model, users, channels, rule)
        better = found < ratio
        points[better], ratio[better] = tried[better], found[better]
    at = int(ratio.argmin())
    _, which = _worst_of(points, model, users, channels, rule)
    chunk = 10.0 ** points[at]
    slot = {
        "power_w": chunk[:-channels].reshape(users, -1).tolist(),
        "bandwidth_hz": chunk[-channels:].tolist(),
        "raw": answers(users, channels)[which[at]].tolist(),
    }
    return {
        "what": "search",
        "model": name,
        "rule": rule,
        "users": users,
        "channels": channels,
        "slots": config.draws + config.climbs * config.steps,
        "worst_ratio": ratio[at],
        "slot": json.dumps(slot),
    }


def best_keeping(value: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The best assignment among those that keep the most suggestions: one assignment problem.

    Args:
        value: [users, channels], of idle channels, no fewer than users.
        raw: [users], -1 for no suggestion.
    """
    there = np.flatnonzero(raw >= 0)
    bonus = np.zeros_like(value)
    bonus[there, raw[there]] = 2 * value.max(axis=1).sum()
    return linear_sum_assignment(value + bonus, maximize=True)[1]


def improvable(value: np.ndarray, raw: np.ndarray, answer: np.ndarray) -> bool:
    """Whether one move to a free channel, or one swap, keeps as many suggestions and gains."""
    users, channels = value.shape
    own, keeps = value[np.arange(users), answer], (raw == answer).astype(int)
    free = np.setdiff1d(np.arange(channels), answer)
    move = value[:, free] - own[:, None]
    kept = (raw[:, None] == free).astype(int) - keeps[:, None]
    swapped = value[:, answer]  # [i, j]: i on the channel of j
    gain = swapped + swapped.T - own[:, None] - own
    suggested = (raw[:, None] == answer).astype(int)
    kept_swap = suggested + suggested.T - keeps[:, None] - keeps
    small = 1e-6 * own.sum()
    return bool(((move > small) & (kept >= 0)).any() or ((gain > small) & (kept_swap >= 0)).any())


def typical(config: Config, size: str, setting: str, rule: str) -> dict[str, Any]:
    """Random answers to a slot of the size: each user names an idle channel, whoever else does."""
    ratio, local = [], []
    call = jax.jit(functools.partial(lsa.repair, rule=rule))
    matrix = jax.jit(lsa.value_matrix)
    scenario = TYPICAL[size].replace(**lsa.SETTINGS[setting])
    for i in range(config.answers):
        _, inst = study.instance(config.seed, scenario, i)
        idle = np.flatnonzero(~np.asarray(inst.occupied))
        value = np.asarray(matrix(inst), np.float64)[:, idle]
        rng = np.random.default_rng([config.seed, i])
        raw = rng.integers(0, len(idle), inst.num_rows)
        repaired = np.asarray(call(inst, idle[raw].astype(np.int32)))
        ours = np.searchsorted(idle, repaired)
        best = best_keeping(value, raw)
        rows = np.arange(len(raw))
        assert (raw == best).sum() == (raw == ours).sum(), "the repair keeps fewer than it can"
        ratio.append(value[rows, ours].sum() / value[rows, best].sum())
        local.append(not improvable(value, raw, ours))
    return {
        "what": "random answers",
        "model": setting,
        "rule": rule,
        "size": size,
        "users": scenario.num_active,
        "channels": scenario.num_channels,
        "slots": config.answers,
        "worst_ratio": min(ratio),
        "mean_ratio": np.mean(ratio),
        "locally_optimal_percent": 100 * np.mean(local),
    }


def main(config: Config) -> None:
    """All searches and random answers, one line each, then the table."""
    if config.quick:
        config = dataclasses.replace(config, draws=512, climbs=8, steps=50, answers=10)
    found = []
    for name, model in models().items():
        for users, channels in SIZES:
            for rule in RULES if model.per_pair else RULES[:1]:
                found.append(search(config, name, model, users, channels, rule))
                print(
                    f"{name}, {users} x {channels}, {rule}: {found[-1]['worst_ratio']:.4g}",
                    flush=True,
                )
    for size in TYPICAL:
        for setting in ("plain", "fading"):
            for rule in RULES if setting == "fading" else RULES[:1]:
                found.append(row := typical(config, size, setting, rule))
                print(f"{size}, {setting}, {rule}: mean {row['mean_ratio']:.4f}")
    pd.DataFrame(found).to_csv(config.out, index=False, float_format="%.6g")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

"""Rewards: one jitted call for a group of raw actions beside a Python loop, and a whole step.

`python -m benchmarks.rewards [--quick]` prints medians and ratios and writes them as JSON. The loop
is what a reward function usually is: for each completion, each user of its mapping in turn, over
NumPy arrays, against a random assignment of its own (Eq. 13). We keep the exact expectation of an
instance from step to step; the loop is also timed with that given to it.
"""

import dataclasses
import math
import pathlib
import statistics
import time
from typing import Any

import jax
import numpy as np
import tyro

import lsajax as lsa
from benchmarks.timing import interleave, ratio, write
from llm.sandbox import Limits, Sandbox
from llm.training.evaluator import evaluate, random_baselines
from llm.training.rewards import score

GROUP = 64

PROGRAMS = (
    "order = np.argsort(-power_w.mean(axis=1))\n"
    "wide = channels[np.argsort(-bandwidth_hz)]\n"
    "action = {int(users[u]): int(c) for u, c in zip(order, wide)}",
    "from scipy.optimize import linear_sum_assignment\n"
    "row, column = linear_sum_assignment(rate_bps(), maximize=True)\n"
    "action = {int(users[r]): int(channels[c]) for r, c in zip(row, column)}",
    "action = {int(u): int(c) for u, c in zip(users, channels)}",
    "action = {int(u): int(channels[0]) for u in users}",
    "action = dict(zip(users, channel))",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The rewards benchmark.

    Args:
        quick: few runs.
        out: file of the JSON.
    """

    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/rewards.json")


def loop_gain(
    actions: list[dict[int, int]], inst: lsa.Instance, baseline: float | None
) -> list[tuple[float, int]]:
    """Eq. (13) and the number of violations of each action, user by user in Python.

    Without a `baseline` each action is compared with a random valid assignment, drawn for it.
    """
    power = np.asarray(inst.mean_power_w, np.float64)
    bandwidth = np.asarray(inst.bandwidth_hz, np.float64)
    occupied = np.asarray(inst.occupied)
    row_of = {int(u): i for i, u in enumerate(np.asarray(inst.user_id))}
    noise = float(inst.noise_psd_w_hz)
    users = np.asarray(inst.user_id).tolist()
    idle = np.flatnonzero(~occupied)
    rng = np.random.default_rng(0)

    def value(action: dict[int, int]) -> tuple[float, int]:
        on_channel: dict[int, list[int]] = {}
        broken = len(row_of) - len(action)
        for user, channel in action.items():
            if user not in row_of or not 0 <= channel < len(bandwidth) or occupied[channel]:
                broken += 1
                continue
            on_channel.setdefault(channel, []).append(row_of[user])
        capacity, disturbed = 0.0, False
        for channel, rows in on_channel.items():
            broken += len(rows) - 1
            floor = noise * bandwidth[channel]
            total = sum(power[row] for row in rows)
            for row in rows:
                rivals = total - power[row] if len(rows) > 1 else 0.0
                disturbed = disturbed or rivals > floor
                capacity += bandwidth[channel] * math.log2(1 + power[row] / (floor + rivals))
        eta = 0.5 if disturbed else 1.0
        return eta * capacity, broken

    out = []
    for action in actions:
        capacity, broken = value(action)
        base = baseline
        if base is None:
            drawn = rng.permutation(idle)[: len(users)].tolist()
            base, _ = value(dict(zip(users, drawn, strict=True)))
        out.append((2 * (capacity - base) / base, broken))
    return out


def group_of_actions(size: int, runs: int) -> dict[str, Any]:
    """64 raw actions on one instance of N = M = K = size, some of them broken."""
    scenario = lsa.Scenario(num_users=size, num_channels=size, num_active=size, occupancy=0.0)
    inst = jax.tree.map(np.asarray, lsa.sample_instance(jax.random.key(0), scenario))
    baseline = float(lsa.expected_random_value(inst))
    rng = np.random.default_rng(0)
    raw = []
    for k in range(GROUP):
        assignment = rng.permutation(size).astype(np.int32)
        if k % 2:
            assignment[: size // 10] = rng.integers(0, size, size // 10)
        raw.append(assignment)
    actions = [dict(zip(inst.user_id.tolist(), a.tolist(), strict=True)) for a in raw]
    instances = [inst] * GROUP
    baselines = random_baselines(instances)
    ours = evaluate(instances, raw, baselines=baselines)
    theirs = loop_gain(actions, inst, baseline)
    np.testing.assert_allclose(ours.gain, [gain for gain, _ in theirs], rtol=1e-3, atol=1e-4)
    seconds = interleave(
        {
            "ours": lambda: evaluate(instances, raw, baselines=baselines),
            "ours, baseline anew": lambda: evaluate(instances, raw),
            "loop": lambda: loop_gain(actions, inst, None),
            "loop, baseline given": lambda: loop_gain(actions, inst, baseline),
        },
        runs,
    )
    return {
        "size": size,
        "ours_ms": float(np.median(seconds["ours"])) * 1e3,
        "ours_anew_ms": float(np.median(seconds["ours, baseline anew"])) * 1e3,
        "loop_ms": float(np.median(seconds["loop"])) * 1e3,
        "loop_given_ms": float(np.median(seconds["loop, baseline given"])) * 1e3,
        "ratio": ratio(seconds["loop"], seconds["ours"]),
        "ratio_anew": ratio(seconds["loop"], seconds["ours, baseline anew"]),
        "ratio_given": ratio(seconds["loop, baseline given"], seconds["ours"]),
    }


def whole_step(box: Sandbox, setting: str, runs: int) -> dict[str, Any]:
    """64 completions, eight on each of eight instances of scale III, all texts different."""
    scenario = lsa.SCALES["III"].replace(**lsa.SETTINGS[setting])
    sample = jax.jit(lsa.sample_instance)
    distinct = [sample(jax.random.key(s), scenario) for s in range(8)]
    instances = [inst for inst in distinct for _ in range(8)]
    texts = [f"```python\n# {k}\n{PROGRAMS[k % len(PROGRAMS)]}\n```" for k in range(len(instances))]
    lengths = [120] * len(texts)
    score(texts, instances, box, lengths=lengths)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        scores = score(texts, instances, box, lengths=lengths)
        seconds.append(time.perf_counter() - start)
    return {
        "setting": setting,
        "completions": len(texts),
        "valid": int(scores.valid.sum()),
        "step_s": statistics.median(seconds),
        "per_completion_ms": statistics.median(seconds) / len(texts) * 1e3,
    }


def main(config: Config) -> None:
    """Measures, prints and writes."""
    runs = 3 if config.quick else 15
    groups = [group_of_actions(size, runs) for size in (200, 2000)]
    for g in groups:
        print(
            f"{GROUP} raw actions, N = M = K = {g['size']:4d}: {g['ours_ms']:6.2f} ms "
            f"({g['ours_anew_ms']:.2f} with the baseline computed anew), Python loop "
            f"{g['loop_ms']:6.1f} ms: {g['ratio']:4.0f} x ({g['ratio_anew']:.0f} x); the loop with "
            f"the baseline given {g['loop_given_ms']:6.1f} ms: {g['ratio_given']:4.0f} x"
        )
    steps = []
    with Sandbox(workers=2, limits=Limits(wall_s=20.0, cpu_s=10.0, memory_mb=1024)) as box:
        for setting in ("plain", "fading"):
            steps.append(whole_step(box, setting, 3 if config.quick else 5))
            s = steps[-1]
            print(
                f"reward step, scale III {setting}: {s['completions']} completions in "
                f"{s['step_s']:.2f} s, {s['per_completion_ms']:.1f} ms each, {s['valid']} valid"
            )
    write(config.out, {"runs": runs, "groups": groups, "steps": steps})


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.rewards", description=__doc__))

"""The simulator beside the NumPy code that a user would write: throughput, rate matrix, repair.

`python -m benchmarks.simulator [--quick]` prints medians and ratios and writes them as JSON, with
a figure of how each grows with N = M.
"""

import dataclasses
import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lsajax as lsa
from benchmarks.timing import compile_seconds, interleave, ratio, write

BATCH = 256
ACTIONS = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """The simulator benchmark.

    Args:
        quick: few runs, two sizes.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/simulator.json")


def scenario(size: int, fading: bool) -> lsa.Scenario:
    """Everybody requests and every channel is idle: the largest problem of this size."""
    return lsa.Scenario(
        num_users=size, num_channels=size, num_active=size, fading=fading, occupancy=0.0
    )


def batch_of(size: int, fading: bool, count: int) -> lsa.Instance:
    """`count` instances [count, ...]."""
    keys = jax.random.split(jax.random.key(0), count)
    one = scenario(size, fading)
    return jax.jit(jax.vmap(lambda key: lsa.sample_instance(key, one)))(keys)


class NumpySimulator:
    """What a user writes: the matrix form in float64, vectorised, one realisation at a time."""

    def __init__(self, inst: lsa.Instance, fading: bool) -> None:
        self.power = np.asarray(inst.mean_power_w, np.float64)
        self.bandwidth = np.asarray(inst.bandwidth_hz, np.float64)
        self.noise = float(inst.noise_psd_w_hz)
        self.fading = fading
        self.rng = np.random.default_rng(0)

    def rate_matrix(self) -> np.ndarray:
        """r_im [users, channels] in bit/s."""
        snr = self.power[:, None] / (self.noise * self.bandwidth)
        if self.fading:
            snr = snr * self.rng.exponential(size=snr.shape)
        return self.bandwidth * np.log2(1 + snr)

    def entries(self, assignment: np.ndarray) -> float:
        """The same with the N entries alone, for whoever thinks of that; fading drawn anew."""
        bandwidth = self.bandwidth[assignment]
        snr = self.power / (self.noise * bandwidth)
        if self.fading:
            snr = snr * self.rng.exponential(size=snr.shape)
        return (bandwidth * np.log2(1 + snr)).sum()

    def throughput(self, assignment: np.ndarray) -> float:
        """Throughput [bit/s] of a feasible assignment, from the matrix."""
        return self.rate_matrix()[np.arange(len(assignment)), assignment].sum()


def repair_by_dict(
    raw: np.ndarray, power: np.ndarray, bandwidth: np.ndarray, occupied: np.ndarray
) -> np.ndarray:
    """Theorem 1 as a Python loop over a dict, with the sorted rule."""
    holder: dict[int, int] = {}
    for user, channel in enumerate(raw.tolist()):
        if 0 <= channel < len(bandwidth) and not occupied[channel]:
            rival = holder.get(channel)
            if rival is None or power[user] > power[rival]:
                holder[channel] = user
    out = np.full(len(raw), -1)
    for channel, user in holder.items():
        out[user] = channel
    users = [u for u in np.argsort(-power) if out[u] < 0]
    channels = [c for c in np.argsort(-bandwidth) if not occupied[c] and c not in holder]
    for user, channel in zip(users, channels, strict=False):
        out[user] = channel
    return out


def measure_throughput(size: int, fading: bool, runs: int) -> dict[str, Any]:
    """Microseconds per realisation for given assignments of a batch."""
    batch = batch_of(size, fading, BATCH)
    rng = np.random.default_rng(0)
    assignment = jnp.asarray(np.stack([rng.permutation(size) for _ in range(BATCH)]), jnp.int32)
    ours = jax.jit(jax.vmap(lsa.throughput))
    # What the NumPy code does and no more: it knows nothing of collisions.
    feasible = jax.jit(jax.vmap(lambda inst, a: lsa.assigned_rate(inst, a).sum()))
    one = jax.tree.map(lambda leaf: leaf[0], batch)
    numpy_form = NumpySimulator(one, fading)
    given = np.asarray(assignment[0])
    seconds = interleave(
        {
            "ours": lambda: ours(batch, assignment),
            "feasible": lambda: feasible(batch, assignment),
            "numpy": lambda: numpy_form.throughput(given),
            "entries": lambda: numpy_form.entries(given),
        },
        runs,
    )
    ours_s, feasible_s = seconds["ours"] / BATCH, seconds["feasible"] / BATCH
    return {
        "ours_us": float(np.median(ours_s)) * 1e6,
        "feasible_us": float(np.median(feasible_s)) * 1e6,
        "numpy_us": float(np.median(seconds["numpy"])) * 1e6,
        "entries_us": float(np.median(seconds["entries"])) * 1e6,
        "ratio": ratio(seconds["numpy"], ours_s),
        "feasible_ratio": ratio(seconds["numpy"], feasible_s),
        "entries_ratio": ratio(seconds["entries"], feasible_s),
        "compile_s": compile_seconds(jax.vmap(lsa.throughput), batch, assignment),
    }


def measure_matrix(size: int, fading: bool, runs: int) -> dict[str, Any]:
    """Milliseconds per rate matrix, and the floor that memory traffic sets.

    Ours writes into the buffer of the matrix before (donated), as a loop over realisations would;
    a fresh buffer costs page faults. The floor is a plain copy of one such matrix: one read and
    one write of the bytes that the result has, where the rate matrix has one write alone.
    """
    inst = jax.tree.map(lambda leaf: leaf[0], batch_of(size, fading, 1))

    # An argument that nothing reads is dropped otherwise, and its buffer with it.
    @functools.partial(jax.jit, donate_argnums=1, keep_unused=True)
    def into(inst: lsa.Instance, buffer: jax.Array) -> jax.Array:
        return lsa.rate_matrix(inst)

    buffer = [lsa.rate_matrix(inst)]

    def ours() -> jax.Array:
        buffer[0] = into(inst, buffer[0])
        return buffer[0]

    source = np.ones((size, size), np.float32)
    target = np.empty_like(source)
    numpy_form = NumpySimulator(inst, fading)
    seconds = interleave(
        {
            "ours": ours,
            "numpy": numpy_form.rate_matrix,
            "copy": lambda: np.copyto(target, source),
        },
        runs,
    )
    return {
        "ours_ms": float(np.median(seconds["ours"])) * 1e3,
        "numpy_ms": float(np.median(seconds["numpy"])) * 1e3,
        "ratio": ratio(seconds["numpy"], seconds["ours"]),
        "copy_ms": float(np.median(seconds["copy"])) * 1e3,
        "over_copy": ratio(seconds["ours"], seconds["copy"]),
        "compile_s": compile_seconds(lsa.rate_matrix, inst),
    }


def measure_repair(size: int, runs: int) -> dict[str, Any]:
    """Microseconds per action, over a group of raw actions on one instance."""
    inst = jax.tree.map(lambda leaf: leaf[0], batch_of(size, False, 1))
    rng = np.random.default_rng(1)
    raw = rng.integers(-1, size, (ACTIONS, size)).astype(np.int32)
    given = jnp.asarray(raw)
    group = jax.vmap(lsa.repair, (None, 0))
    ours = jax.jit(group)
    power = np.asarray(inst.mean_power_w, np.float64)
    bandwidth = np.asarray(inst.bandwidth_hz, np.float64)
    occupied = np.asarray(inst.occupied)
    seconds = interleave(
        {
            "ours": lambda: ours(inst, given),
            "dict": lambda: repair_by_dict(raw[0], power, bandwidth, occupied),
        },
        runs,
    )
    return {
        "ours_us": float(np.median(seconds["ours"])) / ACTIONS * 1e6,
        "dict_us": float(np.median(seconds["dict"])) * 1e6,
        "ratio": ratio(seconds["dict"], seconds["ours"] / ACTIONS),
        "compile_s": compile_seconds(group, inst, given),
    }


def figure(curves: dict[str, dict[int, float]], path: pathlib.Path) -> None:
    """Time over N = M on two logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, curve in curves.items():
        style = "--" if name.startswith("NumPy") or name.startswith("dict") else "-"
        axes.loglog(list(curve), list(curve.values()), style, marker="o", ms=3, label=name)
    axes.set_xlabel("N = M")
    axes.set_ylabel("Microseconds per realisation or action")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(drawing)


def main(config: Config) -> None:
    """Measures, prints and writes."""
    runs = 5 if config.quick else 25
    sizes = (125, 500) if config.quick else (125, 250, 500, 1000, 2000, 4000)
    curves: dict[str, dict[int, float]] = {}
    table = []
    for size in sizes:
        for fading in (False, True):
            kind = "fading" if fading else "plain"
            t = measure_throughput(size, fading, runs)
            m = measure_matrix(size, fading, runs)
            table.append({"size": size, "kind": kind, "throughput": t, "rate_matrix": m})
            curves.setdefault(f"throughput, {kind}", {})[size] = t["ours_us"]
            curves.setdefault(f"NumPy throughput, {kind}", {})[size] = t["numpy_us"]
            curves.setdefault(f"rate matrix, {kind}", {})[size] = m["ours_ms"] * 1e3
            print(
                f"N = M = {size:4d} {kind:6s} throughput {t['ours_us']:6.2f} us, without the "
                f"collision rule {t['feasible_us']:6.2f} us; NumPy matrix {t['numpy_us']:8.0f} us: "
                f"{t['ratio']:5.0f} and {t['feasible_ratio']:5.0f} x; NumPy entries "
                f"{t['entries_us']:5.0f} us: {t['entries_ratio']:4.1f} x"
            )
            print(
                f"{'':23} rate matrix {m['ours_ms']:6.2f} ms, NumPy {m['numpy_ms']:7.2f} ms: "
                f"{m['ratio']:4.1f} x; a copy of its bytes {m['copy_ms']:5.2f} ms "
                f"({m['over_copy']:.1f} x); compile {t['compile_s']:.2f} and {m['compile_s']:.2f} s"
            )
        r = measure_repair(size, runs)
        table.append({"size": size, "repair": r})
        curves.setdefault("repair", {})[size] = r["ours_us"]
        curves.setdefault("dict loop repair", {})[size] = r["dict_us"]
        print(
            f"N = M = {size:5d} repair of {ACTIONS} {r['ours_us']:8.1f} us an action, dict loop "
            f"{r['dict_us']:8.0f} us: {r['ratio']:5.1f} x | compile {r['compile_s']:.2f} s"
        )
    slopes = {
        name: math.log(curve[sizes[-1]] / curve[sizes[0]]) / math.log(sizes[-1] / sizes[0])
        for name, curve in curves.items()
    }
    print("growth, time ~ N^p:", ", ".join(f"{name} {p:.2f}" for name, p in slopes.items()))
    print(f"medians of {runs} interleaved turns; throughput over a batch of {BATCH}")
    write(config.out, {"runs": runs, "batch": BATCH, "table": table, "growth": slopes})
    figure(curves, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.simulator", description=__doc__))

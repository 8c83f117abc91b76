"""Quadratic assignment on QAPLIB instances, beside SciPy's FAQ and 2-opt.

`python -m benchmarks.qap --data PATH [--quick]` minimises sum A_ij B_p(i)p(j). PATH is a folder of
QAPLIB's own files (`NAME.dat`: n, then A and B; `NAME.sln`: n, the best known value, a
permutation) or an .npz with the arrays `NAME_A`, `NAME_B` [n, n] and the number `NAME_best` of
each instance. It prints the gap to the best known value in percent: ours after `--seconds`,
compilation apart, SciPy's two methods (the best of as many random starts as fit the same time),
and ours stopped after the time of one run of theirs (the JSON has both times by the wall clock).
`bound` is the Gilmore-Lawler lower bound. Everything runs on one core. JSON and a figure of the
gap over time are written beside each other.
"""

import dataclasses
import os
import pathlib
import sys
import time
from typing import Any

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
# XLA would hand the small steps of the search from thread to thread on that core.
_ONE_THREAD = " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + _ONE_THREAD

import jax  # noqa: E402
import numpy as np  # noqa: E402
import scipy.optimize  # noqa: E402
import tyro  # noqa: E402

from benchmarks.timing import write  # noqa: E402
from lsajax import solvers  # noqa: E402

GOALS = "goals: median 0.1 %, mean 0.5 % in 5 s"


@dataclasses.dataclass(frozen=True)
class Config:
    """The quadratic assignment benchmark.

    Args:
        data: folder of QAPLIB's files, or .npz; without it nothing is measured.
        seconds: budget per instance.
        seed: of the search and of SciPy's random starts.
        quick: three instances, at most one second each.
        out: file of the JSON; the figure is written beside it.
    """

    data: pathlib.Path | None = None
    seconds: float = 5.0
    seed: int = 0
    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/qap.json")


def read_instances(path: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """A, B and the best known value of each instance, by name, from an .npz or QAPLIB's files.

    Raises:
        ValueError: `path` is neither, or holds no complete instance.
    """
    instances = {}
    if path.is_dir():
        for file in sorted(path.glob("*.dat")):
            if file.with_suffix(".sln").exists():
                size, *entries = (float(word) for word in file.read_text().split())
                a, b = np.reshape(entries, (2, int(size), int(size)))
                best = float(file.with_suffix(".sln").read_text().split()[1])
                instances[file.stem] = a, b, best
    elif path.suffix == ".npz" and path.is_file():
        with np.load(path) as archive:
            for name in (n.removesuffix("_best") for n in archive.files if n.endswith("_best")):
                best = float(archive[f"{name}_best"])
                instances[name] = archive[f"{name}_A"], archive[f"{name}_B"], best
    if not instances:
        raise ValueError(
            f"--data must be a folder of NAME.dat and NAME.sln or an .npz with NAME_A, NAME_B and "
            f"NAME_best, got {path}"
        )
    return instances


def by_scipy(
    method: str, a: np.ndarray, b: np.ndarray, seconds: float, seed: int
) -> tuple[float, float, float]:
    """Cost and seconds of one run, and the best cost of the runs that fit into `seconds`."""
    best, first, first_s = np.inf, np.inf, 0.0
    start = time.perf_counter()
    run = 0
    while run == 0 or time.perf_counter() - start < seconds:
        options = {"rng": np.random.default_rng(1000 * seed + run)}
        if method == "faq" and run > 0:
            options["P0"] = "randomized"
        began = time.perf_counter()
        cost = float(scipy.optimize.quadratic_assignment(a, b, method=method, options=options).fun)
        if run == 0:
            first, first_s = cost, time.perf_counter() - began
        best = min(best, cost)
        run += 1
    return first, first_s, best


def measure(a: np.ndarray, b: np.ndarray, best: float, seconds: float, seed: int) -> dict[str, Any]:
    """Gaps in percent of all contestants on one instance."""

    def gap(cost: float) -> float:
        return 100.0 * (cost / best - 1.0)

    row: dict[str, Any] = {"size": len(a)}
    start = time.perf_counter()
    ours = solvers.quadratic_assignment(a, b, key=jax.random.key(seed), budget_s=seconds)
    row["ours"] = gap(float(ours.value))
    row["compile_s"] = time.perf_counter() - start - float(ours.trace.time_s[-1])
    row["trace_s"] = ours.trace.time_s.tolist()
    row["trace_gap"] = [gap(float(v)) for v in ours.trace.value]
    for method in ("faq", "2opt"):
        first, first_s, repeated = by_scipy(method, a, b, seconds, seed)
        for _ in range(2):  # the second time without compilation
            start = time.perf_counter()
            short = solvers.quadratic_assignment(a, b, key=jax.random.key(seed), budget_s=first_s)
            row[f"ours_in_{method}_wall_s"] = time.perf_counter() - start
        row[method] = gap(first)
        row[f"{method}_s"] = first_s
        row[f"{method}_repeated"] = gap(repeated)
        row[f"ours_in_{method}_s"] = gap(float(short.value))
    row["bound"] = gap(solvers.gilmore_lawler_bound(a, b))
    return row


COLUMNS = (
    "ours",
    "faq_repeated",
    "2opt_repeated",
    "faq",
    "ours_in_faq_s",
    "2opt",
    "ours_in_2opt_s",
    "bound",
    "compile_s",
)


def figure(rows: dict[str, dict[str, Any]], path: pathlib.Path) -> None:
    """Our gap over time on each instance."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for color, (name, row) in zip(plt.get_cmap("tab20").colors, rows.items(), strict=False):
        axes.plot(row["trace_s"], np.maximum(row["trace_gap"], 1e-3), label=name, color=color)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("Seconds on one core")
    axes.set_ylabel("Gap to the best known value [%] (0.001: none)", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, frameon=False, ncols=2)
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(drawing)


def main(config: Config) -> int:
    """The exit code, 0 also without `--data`, so that `python -m benchmarks` goes on."""
    if config.data is None:
        print("skipped: needs QAPLIB instances, --data PATH")
        return 0
    try:
        instances = read_instances(config.data)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = config.seconds
    if config.quick:
        instances = dict(list(instances.items())[:3])
        seconds = min(seconds, 1.0)
    print(f"gaps in percent; ours in {seconds:g} s, one core")
    print(f"{'instance':9} " + " ".join(f"{name:>14}" for name in COLUMNS))
    rows = {}
    for method in ("faq", "2opt"):  # SciPy imports its own parts in the first call
        by_scipy(method, np.eye(3), np.eye(3), 0.0, 0)
    for name, (a, b, best) in instances.items():
        row = rows[name] = measure(a, b, best, seconds, config.seed)
        print(f"{name:9} " + " ".join(f"{row[c]:14.3f}" for c in COLUMNS), flush=True)
    summary = {}
    for label, statistic in (("median", np.median), ("mean", np.mean)):
        summary[label] = {c: float(statistic([row[c] for row in rows.values()])) for c in COLUMNS}
        print(f"{label:9} " + " ".join(f"{summary[label][c]:14.3f}" for c in COLUMNS))
    print(GOALS)
    write(config.out, {"seconds": seconds, "summary": summary, "instances": rows})
    figure(rows, config.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, prog="python -m benchmarks.qap", description=__doc__)))

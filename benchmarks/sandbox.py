"""Milliseconds and programs per second of the sandbox, beside what runs a program otherwise.

`python -m benchmarks.sandbox [--quick]` prints medians and ratios and writes them as JSON. The
contestants take turns. JAX stays out of this process, so that forking it is as cheap as it can be.
"""

import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tyro
from scipy.optimize import linear_sum_assignment

from llm.sandbox import Limits, Sandbox

ASSIGN = """
from scipy.optimize import linear_sum_assignment
rows, columns = linear_sum_assignment(cost)
action = dict(zip(rows.tolist(), columns.tolist()))
"""
# name: (program, users = channels, runs, runs with --quick)
WORKLOADS = {
    "trivial": ("action = {0: 0}", 1, 60, 10),
    "LAP 200": (ASSIGN, 200, 60, 10),
    "LAP 2000": (ASSIGN, 2000, 9, 2),
}
BATCH = 8  # programs in one call of map
LIMITS = Limits(wall_s=60, cpu_s=30, memory_mb=1024)

# What a fresh interpreter is told: the data from a file, the program from the command line.
_FRESH = """
import sys, numpy as np
space = {"np": np, "cost": np.load(sys.argv[1])}
exec(sys.argv[2], space)
print(len(space["action"]))
"""
_BWRAP = ("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "--die-with-parent")


@dataclasses.dataclass(frozen=True)
class Config:
    """The sandbox benchmark.

    Args:
        quick: few runs.
        out: file of the JSON.
    """

    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/sandbox.json")


def _in_fork(code: str, cost: np.ndarray, pipe: Any) -> None:
    space = {"np": np, "cost": cost}
    exec(code, space)
    pipe.send(space["action"])


def _forked(code: str, cost: np.ndarray) -> int:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_in_fork, args=(code, cost, sender)
    )
    process.start()
    answer = receiver.recv()
    process.join()
    return len(answer)


def _spawned(prefix: tuple[str, ...], file: str, code: str) -> int:
    command = [*prefix, sys.executable, "-c", _FRESH, file, code]
    # one thread, as in the sandbox: starting BLAS threads would cost the fresh interpreter more
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def contestants(
    code: str, cost: np.ndarray, file: str, boxes: dict[int, Sandbox]
) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name -> (a call, the programs that it runs)."""
    calls: dict[str, tuple[Callable[[], Any], int]] = {}
    for workers, box in boxes.items():
        packed = box.pack({"cost": cost})
        jobs = [(code, packed)] * BATCH

        def many(box: Sandbox = box, jobs: list = jobs) -> None:
            assert all(e.status == "ok" for e in box.map(jobs, limits=LIMITS))

        def one(box: Sandbox = box, packed: Any = packed) -> None:
            assert box.run(code, packed, limits=LIMITS).status == "ok"

        if workers == 1:
            calls["sandbox, one program"] = (one, 1)
        calls[f"sandbox, {workers} worker{'s' * (workers > 1)}"] = (many, BATCH)
    calls["multiprocessing fork, no isolation"] = (lambda: _forked(code, cost), 1)
    calls["fresh interpreter, no isolation"] = (lambda: _spawned((), file, code), 1)
    if shutil.which("bwrap"):
        calls["bubblewrap + fresh interpreter"] = (lambda: _spawned(_BWRAP, file, code), 1)
    if code == ASSIGN:
        calls["in process"] = (lambda: linear_sum_assignment(cost), 1)
    return calls


def measure(name: str, quick: bool, boxes: dict[int, Sandbox]) -> list[dict[str, Any]]:
    """Rows of one workload: median, ratio to one program in the sandbox, programs per second."""
    code, size, runs, quick_runs = WORKLOADS[name]
    runs = quick_runs if quick else runs
    cost = np.random.default_rng(0).random((size, size))
    seconds: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, cost)
        calls = contestants(code, cost, file.name, boxes)
        for turn in range(runs + 1):
            for contestant, (call, programs) in calls.items():
                start = time.perf_counter()
                call()
                if turn:  # the first one is not counted
                    each = (time.perf_counter() - start) / programs
                    seconds.setdefault(contestant, []).append(each)
    base = np.array(seconds["sandbox, one program"])
    return [
        {
            "workload": name,
            "contestant": contestant,
            "median_ms": 1e3 * statistics.median(values),
            "least_ms": 1e3 * min(values),
            "per_second": 1 / statistics.median(values),
            "ratio": float(np.median(np.array(values) / base)),
            "runs": len(values),
        }
        for contestant, values in seconds.items()
    ]


def start_up_seconds(runs: int) -> float:
    """Median seconds to make a sandbox of two workers, with its self-test."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        with Sandbox(workers=2):
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main(config: Config) -> None:
    """Measures, prints and writes."""
    start_up = start_up_seconds(1 if config.quick else 3)
    columns = f"{'':10}{'':36}{'median ms':>10}{'least ms':>10}{'per s':>9}{'ratio':>8}{'runs':>6}"
    print(columns)
    table = []
    with Sandbox(workers=1) as one, Sandbox(workers=2) as two:
        for name in WORKLOADS:
            for row in measure(name, config.quick, {1: one, 2: two}):
                table.append(row)
                print(
                    f"{name:10}{row['contestant']:36}{row['median_ms']:10.2f}"
                    f"{row['least_ms']:10.2f}{row['per_second']:9.1f}{row['ratio']:8.2f}"
                    f"{row['runs']:6d}"
                )
        walls = one.metadata
    print("ratio: median over the turns of its time to that of one program in the sandbox")
    print(f"rows of workers: {BATCH} programs a call of map; a sandbox starts in {start_up:.2f} s")
    record = {
        "sandbox": walls,
        "batch": BATCH,
        "start_up_s": start_up,
        "table": table,
    }
    from lsajax.runs import provenance  # not before the forks: it brings JAX

    provenance.write(config.out, record)
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.sandbox", description=__doc__))

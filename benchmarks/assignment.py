"""Exact assignment beside what a JAX user would call otherwise: sampled rates, random matrices.

`python -m benchmarks.assignment [--quick]` prints, for each kind of instance and each batch, the
median seconds, the time over a SciPy loop (below 1 is faster), the gap to SciPy's optimum and, for
us, the gap that the returned duals prove; then how much a warm start saves over a trace of slots.
JSON and a figure are written beside each other.
Peers that are not installed (lapx, optax, ott-jax, torch-linear-assignment) are left out.

`--device` measures the pure JAX path and optax on the default accelerator instead: batches of
4096 x (200 x 200) and 256 x (2000 x 2000), with the device's peak memory.
"""

import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.assignment_cases import RANDOM, RATES, instances, matrices, slots_trace
from benchmarks.assignment_figure import figure
from benchmarks.assignment_peers import (
    by_lapx,
    by_optax,
    by_ott,
    by_scipy,
    by_torch,
    installed,
)
from benchmarks.timing import compile_seconds, interleave, ratio, write
from lsajax import solvers
from lsajax.solvers import _host

KINDS = (*RATES, *RANDOM)
SINGLE = ((1, 20), (1, 200), (1, 1000), (1, 2000))
BATCHES = ((256, 20), (64, 200), (8, 2000))
QUICK = ((1, 20), (1, 200), (16, 20))
GPU = ((4096, 200), (256, 2000))
# Entries; beyond, the pure JAX solvers take minutes (torch-linear-assignment is SciPy on a CPU).
PEERS_UP_TO = 64 * 200 * 200
METHODS = {"C++ kernel": "host", "pure JAX": "device"}

Solve = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Config:
    """The assignment benchmark.

    Args:
        quick: small sizes, few runs, at most one second per case.
        device: measure the accelerator instead.
        seconds: aim of time per case.
        max_size: largest N; SciPy takes most of the time at 2000.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    device: bool = False
    seconds: float = 25.0
    max_size: int = 2000
    out: pathlib.Path = pathlib.Path("results/benchmarks/assignment.json")


def contestants(kind: str, values: np.ndarray) -> dict[str, Solve]:
    """Calls by name that return assignments [batch, users], ours whole Solutions with duals."""
    rates = jnp.asarray(values)
    small = values.size <= PEERS_UP_TO
    calls: dict[str, Solve] = {"SciPy loop": lambda: by_scipy(values)}

    def ours(name: str) -> Solve:
        jitted = jax.jit(jax.vmap(_maximise(METHODS[name])))
        return lambda: jitted(rates)

    if kind == "plain":
        inst = instances(kind, *values.shape[:2])
        jitted = jax.jit(jax.vmap(lambda i: solvers.sorted_matching(jax.random.key(0), i)))
        calls["sorted matching"] = lambda: jitted(inst)
    if _host.available():
        calls["C++ kernel"] = ours("C++ kernel")
    if small:
        calls["pure JAX"] = ours("pure JAX")
    if installed("lap"):
        calls["lapx"] = lambda: by_lapx(values)
    if small and installed("optax"):
        optax = jax.jit(by_optax)
        calls["optax"] = lambda: optax(rates)
    if small and installed("ott"):
        ott = jax.jit(by_ott)
        calls["ott, rounded"] = lambda: ott(rates)
    if small and installed("torch", "torch_linear_assignment"):
        calls["torch-linear-assignment"] = lambda: by_torch(values)
    return calls


def _maximise(method: str) -> Callable[..., Any]:
    return functools.partial(solvers.linear_sum_assignment, maximize=True, method=method)


def take_turns(calls: dict[str, Solve]) -> list[float]:
    """Seconds of one call of each."""
    seconds = []
    for call in calls.values():
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(kind: str, batch: int, size: int, seconds: float) -> list[dict[str, Any]]:
    """One row per contestant; as many runs as fit `seconds`, 3 to 15."""
    rates = matrices(kind, batch, size)
    values = rates.astype(np.float64)
    calls = contestants(kind, rates)
    certify = jax.vmap(functools.partial(solvers.certify, maximize=True))
    totals, compiled, proven = {}, {}, {}
    for name, call in calls.items():
        start = time.perf_counter()
        answer = jax.block_until_ready(call())
        compiled[name] = time.perf_counter() - start
        if isinstance(answer, solvers.Solution):
            proven[name] = float(jnp.max(certify(rates, answer) / abs(answer.value)))
            answer = answer.assignment
        assignment = np.asarray(answer)
        chosen = np.take_along_axis(values, assignment[:, :, None], axis=2)
        distinct = all(len(np.unique(one)) == size for one in assignment)
        totals[name] = chosen.sum() if distinct else np.nan
    turns = [take_turns(calls)]
    runs = int(np.clip(seconds / sum(turns[0]), 3, 15))
    turns += [take_turns(calls) for _ in range(runs - 1)]
    taken = dict(zip(calls, np.array(turns).T, strict=True))
    best = totals["SciPy loop"]
    return [
        {
            "kind": kind,
            "batch": batch,
            "size": size,
            "method": name,
            "median_s": float(np.median(taken[name])),
            "over_scipy": ratio(taken[name], taken["SciPy loop"]),
            "gap": float((best - totals[name]) / abs(best)),
            "proven_gap": proven.get(name),
            "runs": runs,
            "first_call_s": compiled[name],
        }
        for name in calls
    ]


def measure_warm_start(size: int, slots: int, drift_db: float, name: str) -> dict[str, Any]:
    """Time of warm over cold solves along a trace, and of a solve from its own optimal duals."""
    values = [jnp.asarray(x) for x in slots_trace(size, slots, drift_db)]
    solve = _maximise(METHODS[name])
    cold = jax.jit(solve)
    warm = jax.jit(lambda x, duals: solve(x, init_duals=duals))
    before = cold(values[0])
    rows = []
    for x in values[1:]:
        here = cold(x)
        taken = interleave(
            {
                "cold": functools.partial(cold, x),
                "warm": functools.partial(warm, x, before.duals),
                "own": functools.partial(warm, x, here.duals),
            },
            3,
        )
        assert np.isclose(warm(x, before.duals).value, here.value, rtol=1e-6)
        rows.append([ratio(taken[start], taken["cold"]) for start in ("warm", "own")])
        before = here
    previous, own = np.median(rows, axis=0)
    return {
        "size": size,
        "method": name,
        "slots": slots,
        "drift_db": drift_db,
        "previous_slots_duals_over_cold": float(previous),
        "own_duals_over_cold": float(own),
    }


def measure_device(batch: int, size: int, runs: int) -> list[dict[str, Any]]:
    """The pure JAX path and optax on the default device, with fading."""
    rates = jnp.asarray(matrices("fading", batch, size))
    methods = {"pure JAX": jax.vmap(lambda x: _maximise("device")(x)[0])}
    if installed("optax"):
        methods["optax"] = by_optax
    rows = []
    for name, function in methods.items():
        compile_s = compile_seconds(function, rates)
        jitted = jax.jit(function)
        taken = interleave({name: functools.partial(jitted, rates)}, runs)[name]
        stats = jax.devices()[0].memory_stats() or {}
        rows.append(
            {
                "batch": batch,
                "size": size,
                "method": name,
                "median_s": float(np.median(taken)),
                "runs": runs,
                "compile_s": compile_s,
                # The peak of the process so far: the first method's is its own.
                "peak_gib": stats.get("peak_bytes_in_use", 0) / 2**30,
            }
        )
    return rows


def run_cpu(config: Config) -> dict[str, Any]:
    """The table on the CPU, printed as it grows."""
    if not _host.available():
        print(f"note: no C++ kernel ({_host.missing()}); only the pure JAX path is measured")
    print(
        f"{'kind':14} {'batch':>5} {'N':>5} {'method':23} {'median s':>10} {'/ scipy':>8} "
        f"{'gap':>9} {'proven':>9} {'runs':>4} {'first s':>8}"
    )
    seconds = min(config.seconds, 1.0) if config.quick else config.seconds
    # 8 and 64 of 200 x 200 beside 1 make the curve over the batch.
    cases = (*QUICK, (8, 200)) if config.quick else (*SINGLE, *BATCHES, (8, 200))
    cases = tuple(case for case in cases if case[1] <= config.max_size)
    rows: list[dict[str, Any]] = []
    for kind in KINDS if not config.quick else ("plain", "fading", "heavy", "integers"):
        for batch, size in cases:
            for row in measure(kind, batch, size, seconds):
                rows.append(row)
                proven = "" if row["proven_gap"] is None else f"{row['proven_gap']:.1e}"
                print(
                    f"{kind:14} {batch:5} {size:5} {row['method']:23} {row['median_s']:10.6f} "
                    f"{row['over_scipy']:8.4f} {row['gap']:9.1e} {proven:>9} {row['runs']:4} "
                    f"{row['first_call_s']:8.2f}",
                    flush=True,
                )
    warm = []
    for name in METHODS if _host.available() else ("pure JAX",):
        for drift_db in (0.01, 0.1, 1.0):
            size = 100 if config.quick or name == "pure JAX" else 1000
            row = measure_warm_start(size, 4 if config.quick else 8, drift_db, name)
            warm.append(row)
            print(
                f"warm start, {name}, N = {size}, gains drift {drift_db} dB a slot: "
                f"{row['previous_slots_duals_over_cold']:.3f} of a cold solve "
                f"({row['own_duals_over_cold']:.3f} from its own duals)",
                flush=True,
            )
    return {"rows": rows, "warm_start": warm}


def run_device(config: Config) -> dict[str, Any]:
    """The table on an accelerator."""
    rows = []
    for batch, size in ((64, 200),) if config.quick else GPU:
        for row in measure_device(batch, size, 3):
            rows.append(row)
            print(
                f"{batch} x ({size} x {size}) {row['method']:8} {row['median_s']:8.3f} s, "
                f"compile {row['compile_s']:.1f} s, peak {row['peak_gib']:.2f} GiB",
                flush=True,
            )
    return {"device_rows": rows}


def main(config: Config) -> None:
    """Measures, prints and writes."""
    if config.device and jax.default_backend() == "cpu":
        print("error: --device needs an accelerator, and JAX sees only a CPU", file=sys.stderr)
        raise SystemExit(2)
    record = run_device(config) if config.device else run_cpu(config)
    write(config.out, record)
    if "rows" in record:
        figure(record["rows"], config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.assignment", description=__doc__))

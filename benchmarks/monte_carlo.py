"""Monte Carlo studies beside the NumPy loop that a user would write, alone and on processes.

`python -m benchmarks.monte_carlo [--quick]` prints realisations per second and writes them as JSON
with a figure: each setting and size on devices, processes and Ray, beside the loop and
`multiprocessing` over it; twice the work on twice the processes. What chunks, files and memory cost
is in `benchmarks.monte_carlo_costs`.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from typing import Any

import jax
import tyro

from benchmarks import monte_carlo_numpy
from benchmarks.monte_carlo_cases import CASES, CHANNELS
from benchmarks.monte_carlo_engines import Case, engines, measure_engines, measure_weak
from benchmarks.timing import write


@dataclasses.dataclass(frozen=True)
class Config:
    """The Monte Carlo benchmark.

    Args:
        quick: shorter turns, K = 400 alone.
        ray: measure a Ray cluster on this machine too, where Ray is installed.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    ray: bool = True
    out: pathlib.Path = pathlib.Path("results/benchmarks/monte_carlo.json")


def measure_cases(quick: bool, turns: int, opened: dict[str, Any], pool: Any) -> dict[str, Any]:
    """A row per setting and size; weak scaling of those with fading, K = 400."""
    table, weak = [], []
    for what, setting, users in CASES:
        if quick and users > 400:
            continue
        case = Case(what, setting, users, seconds=0.5 if quick else 2.0)
        name = f"K = {users:4d} {what:8s} {setting:9s}"
        row = {"what": what, "setting": setting, "users": users}
        with tempfile.TemporaryDirectory() as folder:
            table.append({**row, **measure_engines(case, turns, opened, pool, folder)})
        for engine, per_s in table[-1]["per_s"].items():
            print(f"{name} {engine:16s} {per_s:10.1f} a second", flush=True)
        if setting == "fading" and users == 400:
            weak.append({**row, "share": measure_weak(case, turns, opened)})
            for engine, share in weak[-1]["share"].items():
                print(f"{name} {engine:16s} weak scaling {100 * share:.0f} %", flush=True)
    return {"table": table, "weak": weak}


def figure(table: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Realisations per second by setting, size and engine."""
    from experiments import plotting

    with plotting.figure(path, columns=2) as axes:
        for users, ax in zip((400, 2000), axes, strict=True):
            rows = [row for row in table if row["users"] == users]
            for place, row in enumerate(rows):
                for number, (engine, per_s) in enumerate(row["per_s"].items()):
                    label = engine if place == 0 else None
                    ax.plot(per_s, place, "os^vD<>"[number], color=f"C{number}", label=label)
            ax.set_yticks(range(len(rows)), [f"{row['what']}, {row['setting']}" for row in rows])
            ax.invert_yaxis()
            ax.set_xscale("log")
            ax.set_xlabel(f"Realisations per second, N = M = {CHANNELS}, K = {users}")


def main(config: Config) -> None:
    """Measures, prints and writes."""
    turns = 3
    # One device for each of two CPUs: here alone, for a worker has a CPU and one device.
    jax.config.update("jax_num_cpu_devices", 2)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(engines(config.ray))
        pool = stack.enter_context(contextlib.closing(monte_carlo_numpy.Pool(2)))
        found = measure_cases(config.quick, turns, opened, pool)
    write(config.out, {"turns": turns, **found, "channels": CHANNELS})
    figure(found["table"], config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.monte_carlo", description=__doc__))

"""One's own question over as many realisations as it needs: methods, metrics, sweeps.

Any field of the scenario is an option, and any may be swept. Work goes to processes of this
machine, to the tasks of a Slurm array or to a Ray cluster; a run that was killed, wherever, goes
on when it is started again, to the same numbers.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import jax
import tyro

import lsajax as lsa
from experiments import config as options
from experiments import monte_carlo_report as report
from experiments import sweeps
from experiments.monte_carlo_measure import (
    DIFFERENCE,
    METHODS,
    METRICS,
    MethodName,
    MetricName,
    measure,
)
from lsajax import montecarlo
from lsajax.runs import cli

if TYPE_CHECKING:
    from lsajax.accumulators import Summaries, Summary
    from lsajax.runs.montecarlo import Job
    from lsajax.runs.montecarlo.engines import Engine

TIME = "as long as asked"

QUANTILES = (0.05, 0.5, 0.95)
_STILL = "start the same command again to go on"


@dataclasses.dataclass(frozen=True)
class Config:
    """Monte Carlo of methods and metrics.

    Args:
        scenario: what instances are drawn from; each field is an option.
        sweep: values of a field, name=a,b,c or name=lo:hi:n; may be given several times, for all
            combinations.
        methods: what is compared, on the same instances; differences are to the first. repaired:
            random raw answers, repaired; optimum-of-rates: of Eq. (4), whatever the objective.
        metrics: what is asked. rate: of each user, for its distribution; outage: share of the users
            below --outage-mbps; gap: to the exact optimum; repair: share of the users whose raw
            answer the repair changed.
        outage_mbps: rate below which a user counts as out [Mbit/s].
        realizations: instances of each combination; with --adaptive the first ones.
        adaptive: go on until the 95 % interval of each difference in the first metric is narrower
            than this half width, in the metric's unit; of the mean itself with one method.
        most: realisations after which --adaptive gives up.
        chunk: realisations computed at once, which bounds the memory; chosen if not given.
        rows: keep every value of every realisation, as Parquet under the folder.
        seed: realisation i of a seed is the same instance in every run.
        out: folder; results/monte_carlo if not given.
        workers: processes on this machine; as many as it has CPUs and memory for if not given.
        shard: i/n, this is the i-th (from 0) of n runs on one folder that share the work; read from
            SLURM_ARRAY_TASK_ID in a Slurm job array.
        ray: address of a Ray cluster that does the work; auto for the one that this process is in,
            local for one on this machine.
        gpus_per_task: of a Ray task, a share of a GPU too; 0 computes on CPUs.
        status: say how far the run in the folder is, and do nothing.
    """

    scenario: Annotated[lsa.Scenario, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=lambda: lsa.Scenario(num_users=200, num_channels=200, num_active=100)
    )
    sweep: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    methods: tuple[MethodName, ...] = ("random", "sorted", "greedy", "optimum")
    metrics: tuple[MetricName, ...] = ("throughput",)
    outage_mbps: float = 100.0
    realizations: int = 4096
    adaptive: float | None = None
    most: int = 10**7
    chunk: int | None = None
    rows: bool = False
    seed: int = 0
    out: pathlib.Path = pathlib.Path("results") / "monte_carlo"
    workers: int | None = None
    shard: str | None = None
    ray: str | None = None
    gpus_per_task: float = 0.0
    status: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """One combination of swept values.

    Attributes:
        axes: values by field.
        job: its study.
    """

    axes: Mapping[str, Any]
    job: "Job"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run with all of it checked."""

    config: Config
    cells: Sequence[Cell]
    shard: tuple[int, int] | None
    engine: "Engine | None"


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_run(options.RunConfig(realizations=config.realizations, seed=config.seed))
    for option, values, accepted in (
        ("--methods", config.methods, METHODS),
        ("--metrics", config.metrics, METRICS),
    ):
        if not values or len(set(values)) < len(values) or not set(values) <= set(accepted):
            raise ValueError(
                f"{option} must name one or more of {', '.join(accepted)}, each once, got {values}"
            )
    if config.adaptive is not None and not 0 < config.adaptive < math.inf:
        raise ValueError(f"--adaptive must be a half width above 0, got {config.adaptive}")
    if config.adaptive is not None and config.metrics[0] == "rate":
        raise ValueError("--adaptive needs a first metric with one value a realisation, got rate")
    if config.adaptive is not None and config.most < config.realizations:
        raise ValueError(f"--most must be at least --realizations, got {config.most}")
    if not 0 <= config.outage_mbps < math.inf:
        raise ValueError(f"--outage-mbps must be at least 0, finite, got {config.outage_mbps}")
    if config.chunk is not None and config.chunk < 1:
        raise ValueError(f"--chunk must be at least 1, got {config.chunk}")
    if config.gpus_per_task < 0:
        raise ValueError(f"--gpus-per-task must be at least 0, got {config.gpus_per_task}")


def shard_of(config: Config, environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Which share of the work is ours, by the option or by the variables of a Slurm array.

    Raises:
        ValueError: no i/n with 0 <= i < n.
    """
    if config.shard is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", config.shard)
        if not found or not int(found[1]) < int(found[2]):
            raise ValueError(f"--shard must be i/n with 0 <= i < n, got {config.shard!r}")
        return int(found[1]), int(found[2])
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    task, count, least, step = (
        int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
        for name, default in (("ID", 0), ("COUNT", 1), ("MIN", 0), ("STEP", 1))
    )
    return (task - least) // max(step, 1) % count, count


def prepare(config: Config) -> Prepared:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    shard = shard_of(config, os.environ)
    if config.adaptive is not None and shard is not None:
        raise ValueError(
            "--adaptive and --shard exclude each other: a shard does not see the whole"
        )
    combinations = sweeps.cells(config.scenario, config.sweep)
    for _, scenario in combinations:
        _check_objective(config, scenario)
        montecarlo.check(scenario, config.realizations, config.chunk)
    from lsajax.runs import montecarlo as on_disk

    engine, workers = None, config.workers
    if not config.status:
        if workers is None and config.ray is None:
            workers = on_disk.default_workers()
        # Before JAX computes anything: Ray on this machine is started by a fork.
        engine = on_disk.engine(workers=workers, ray=config.ray, gpus_per_task=config.gpus_per_task)
    key = jax.random.key(config.seed)
    asked = functools.partial(
        measure,
        compared=config.methods,
        metrics=config.metrics,
        outage_mbps=config.outage_mbps,
    )
    cells = []
    for axes, scenario in combinations:
        folder = config.out / "cells" / report.name_of(axes)
        job = on_disk.Job.of(folder, key, scenario, asked, sketch=True, rows=config.rows)
        cells.append(Cell(axes, job))
    return Prepared(config, cells, shard, engine)


def _check_objective(config: Config, scenario: lsa.Scenario) -> None:
    if scenario.objective == "coupled" and ("optimum" in config.methods or "gap" in config.metrics):
        raise ValueError(
            "--objective coupled has no exact optimum: leave out the method optimum and the "
            "metric gap"
        )


def run(prepared: Prepared) -> None:
    """What is missing, then results.parquet, the printed table, the figures; or the status."""
    config = prepared.config
    if prepared.engine is None:
        report.print_status(prepared.cells)
        return
    with prepared.engine:
        found = compute(prepared)
    missing = [
        report.name_of(cell.axes)
        for cell, summaries in zip(prepared.cells, found, strict=True)
        if summaries is None
    ]
    if missing:
        print(
            f"this share is done; parts of others are missing in {len(missing)} of {len(found)} "
            "cells. The last one to end writes the results."
        )
        return
    whole = [summaries for summaries in found if summaries is not None]
    results = report.table(config, prepared.cells, whole)
    report.write(results, config.out / "results.parquet")
    report.print_table(config, results)
    figures = report.figures(config, prepared.cells, results, whole)
    names = ["results.parquet", *figures]
    print(f"wrote {', '.join(names)} in {config.out}/")


def compute(prepared: Prepared) -> "list[Summaries | None]":
    """Summaries of each cell; None where other shards are not done yet."""
    from lsajax.runs import montecarlo as on_disk

    config, engine = prepared.config, prepared.engine
    assert engine is not None
    counts = [config.realizations] * len(prepared.cells)
    found: list[Summaries | None] = [None] * len(prepared.cells)
    todo = list(range(len(prepared.cells)))
    while todo:
        # Cells that need the same count go together.
        count = min(counts[i] for i in todo)
        now = [i for i in todo if counts[i] == count]
        with _progress(count * len(now)) as (tick, say):
            summaries = on_disk.run(
                [prepared.cells[i].job for i in now],
                count,
                chunk=config.chunk,
                engine=engine,
                shard=prepared.shard,
                expected=config.most if config.adaptive else None,
                progress=tick,
                say=say,
            )
        for i, own in zip(now, summaries, strict=True):
            found[i] = own
            more = None if config.adaptive is None or own is None else wanted(config, own, count)
            if more is None:
                todo.remove(i)
            else:
                counts[i] = more
    return found


def wanted(config: Config, summaries: "Summaries", count: int) -> int | None:
    """Realisations to go on with, by --adaptive; None where the intervals are narrow enough."""
    assert config.adaptive is not None
    widest = max(float(summary.half_width()) for summary in _decisive(config, summaries))
    if widest <= config.adaptive:
        return None
    if count >= config.most:
        print(
            f"--adaptive gave up after --most {count} realisations: half width {widest:.3g}",
            file=sys.stderr,
        )
        return None
    # Half widths fall with the root of the count; an early guess of the spread may be far off.
    needed = 1.1 * count * (widest / config.adaptive) ** 2
    return min(math.ceil(min(max(needed, 1.5 * count), 16 * count)), config.most)


def _decisive(config: Config, summaries: "Summaries") -> "list[Summary]":
    metric, (first, *others) = config.metrics[0], config.methods
    if not others:
        return [summaries[f"{metric}.{first}"]]
    return [summaries[f"{DIFFERENCE}.{metric}.{name}"] for name in others]


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    from rich.console import Console

    from experiments.study import progress_bar

    console = Console(stderr=True)
    with progress_bar(console) as bar:
        task = bar.add_task("realisations", total=total)
        yield (
            lambda done, _: bar.update(task, completed=done),
            lambda line: console.print(line, highlight=False, soft_wrap=True),
        )


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__, advice=f"what was computed is on disk, {_STILL}")

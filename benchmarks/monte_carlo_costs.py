"""What a Monte Carlo study costs beside its chunks: summaries, files on disk, memory.

`python -m benchmarks.monte_carlo_costs [--quick]` prints it and writes it as JSON.
"""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import tempfile
import time
from typing import Any

import jax
import numpy as np
import tyro

import lsajax as lsa
from benchmarks.monte_carlo_cases import chunk_of, measure, scenario
from benchmarks.timing import interleave, write
from lsajax import montecarlo
from lsajax.accumulators import Accumulator, Summaries
from lsajax.runs import montecarlo as on_disk


@dataclasses.dataclass(frozen=True)
class Config:
    """What a Monte Carlo study costs beside its chunks.

    Args:
        quick: fewer turns and realisations.
        out: file of the JSON.
    """

    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/monte_carlo_costs.json")


def measure_overhead(count: int, turns: int, folder: str) -> dict[str, Any]:
    """What summaries in memory, and parts on disk, cost beside the bare chunks: quartiles.

    Single turns differ by 10 % either way, so there are many of them, and short ones: what else
    the machine does is then the same for all of a turn.
    """
    one, chunk = scenario("fading", 400), chunk_of("given", "fading", 400)
    partial = functools.partial(measure, what="given")
    key = jax.random.key(0)
    evaluator = montecarlo.Evaluator(partial, chunk, jax.devices()[:1])
    bare = jax.jit(montecarlo.chunk_function(partial, chunk))
    chunks = count // chunk

    def alone() -> None:
        # One ahead, as a study has it: else waiting would count as its gain.
        ahead = bare(key, one, np.uint32(0))
        for index in range(1, chunks):
            begun = bare(key, one, np.uint32(index * chunk))
            jax.block_until_ready(ahead)
            ahead = begun
        jax.block_until_ready(ahead)

    def in_memory() -> None:
        merging = Accumulator(sketch=True)
        for _, values in evaluator.chunks(key, one, 0, chunks, count):
            merging.add(values)
        merging.result()

    whole = on_disk.parts.Part(0, 0, count)
    seeds = iter(range(10**6))

    def with_files() -> None:
        # One part of one device's chunks, written as a study writes it.
        out = pathlib.Path(folder) / f"study-{next(seeds)}"
        merging = Accumulator(sketch=True)
        for _, values in evaluator.chunks(key, one, 0, chunks, count):
            merging.add(values)
        on_disk.parts.write(out, "benchmark", whole, merging.result(), None)

    every = [values for _, values in evaluator.chunks(key, one, 0, chunks, count)]

    def summaries_alone() -> Summaries:
        merging = Accumulator(sketch=True)
        for values in every:
            merging.add(values)
        return merging.result()

    merged = summaries_alone()

    def one_file() -> None:
        out = pathlib.Path(folder) / f"file-{next(seeds)}"
        on_disk.parts.write(out, "benchmark", whole, merged, None)

    calls = {"bare": alone, "memory": in_memory, "files": with_files}
    seconds = interleave(calls | {"summaries": summaries_alone, "file": one_file}, turns)

    def quartiles(name: str) -> list[float]:
        share = np.quantile(seconds[name] / seconds["bare"], (0.25, 0.5, 0.75))
        return [float(percent) for percent in 100 * (share - 1)]

    return {
        "summaries_percent": quartiles("memory"),
        "files_percent": quartiles("files"),
        "summary_s": float(np.median(seconds["summaries"]) / chunks),
        "file_s": float(np.median(seconds["file"])),
        "chunk_s": float(np.median(seconds["bare"]) / chunks),
        "part_s": float(np.median(seconds["files"])),
        "turns": turns,
    }


def _remember(connection: Any, count: int) -> None:
    """A study of many small realisations; sends its memory as it goes."""
    small = lsa.Scenario(num_users=32, num_channels=32, num_active=24, fading=True)
    marks: list[tuple[int, float]] = []

    def resident(done: int, total: int) -> None:
        if done * 20 // total > len(marks):
            pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
            marks.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    start = time.perf_counter()
    montecarlo.study(
        jax.random.key(0),
        small,
        functools.partial(measure, what="given"),
        count,
        sketch=True,
        progress=resident,
    )
    seconds = time.perf_counter() - start
    # Not getrusage: its peak is also that of the process this one was started by.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
    connection.send({"mib": marks, "peak_mib": peak, "seconds": seconds, "realizations": count})


def measure_memory(count: int) -> dict[str, Any]:
    """Resident memory [MiB] of a process over a study, at every twentieth of it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_remember, args=(there, count))
    process.start()
    found = here.recv()
    process.join()
    return found


def main(config: Config) -> None:
    """Measures, prints and writes."""
    with tempfile.TemporaryDirectory() as folder:
        size, turns = (2**13, 3) if config.quick else (2**15, 121)
        overhead = measure_overhead(size, turns, folder)
    for name in ("summaries", "files"):
        low, middle, high = overhead[f"{name}_percent"]
        print(f"beside bare chunks, {name}: {middle:+.1f} % (quartiles {low:+.1f}, {high:+.1f})")
    memory = measure_memory(10**5 if config.quick else 10**6)
    (_, early), (_, late) = memory["mib"][0], memory["mib"][-1]
    print(
        f"memory: {early:.0f} MiB after a twentieth of {memory['realizations']} realisations, "
        f"{late:.0f} MiB at the end, peak {memory['peak_mib']:.0f} MiB ({memory['seconds']:.0f} s)"
    )
    write(config.out, {"overhead": overhead, "memory": memory})


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.monte_carlo_costs", description=__doc__))

"""Monte Carlo studies beside the NumPy loop that a user would write, alone and on processes.

`python -m benchmarks.monte_carlo [--quick]` prints realisations per second and writes them as JSON
with a figure: what one chunk costs by setting and size; devices, processes and Ray beside
`multiprocessing` over the loop; twice the work on twice the processes; what chunks and files cost;
memory over a million realisations.
"""

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

# Before JAX is: one device for each of two CPUs.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
)

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lsajax as lsa
from benchmarks import monte_carlo_numpy
from benchmarks.timing import interleave, ratio, write
from lsajax import montecarlo
from lsajax.runs import montecarlo as on_disk
from lsajax.runs.cli import Unavailable

CHANNELS = 2000
CASES = [
    (what, setting, users)
    for users in (400, 2000)
    for what, settings in (
        ("given", ("plain", "fading")),
        ("repair", ("fading",)),
        ("optimum", ("plain", "fading", "multipath")),
    )
    for setting in settings
]


@dataclasses.dataclass(frozen=True)
class Config:
    """The Monte Carlo benchmark.

    Args:
        quick: few turns, K = 400 alone, fewer realisations.
        ray: measure a Ray cluster on this machine too, where Ray is installed.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    ray: bool = True
    out: pathlib.Path = pathlib.Path("results/benchmarks/monte_carlo.json")


def scenario(setting: str, users: int) -> lsa.Scenario:
    """N = M = 2000."""
    sizes = {"num_users": CHANNELS, "num_channels": CHANNELS, "num_active": users}
    return lsa.Scenario(**sizes).replace(**lsa.SETTINGS[setting])


def measure(key: jax.Array, inst: lsa.Instance, *, what: str) -> jax.Array:
    """Throughput [Mbit/s] of a given, a repaired or the best assignment."""
    if what == "optimum":
        return lsa.solvers.hungarian(key, inst).value / 1e6
    assignment = jnp.arange(inst.num_rows)
    if what == "repair":
        raw = jax.random.randint(key, (inst.num_rows,), -1, inst.num_channels)
        assignment = lsa.repair(inst, raw)
    return lsa.throughput(inst, assignment) / 1e6


def chunk_of(what: str, setting: str, users: int) -> int:
    """Realisations at once: those of a study's default, or a few where each takes long."""
    if what != "optimum" or setting == "plain":
        return 256
    return 16 if users == 400 else 2


def measure_chunk(what: str, setting: str, users: int, turns: int) -> dict[str, Any]:
    """Realisations per second of one chunk after the other, beside the NumPy loop."""
    chunk, one = chunk_of(what, setting, users), scenario(setting, users)
    evaluator = montecarlo.Evaluator(
        functools.partial(measure, what=what), chunk, jax.devices()[:1]
    )
    key = jax.random.key(0)

    def ours() -> None:
        for _ in evaluator.chunks(key, one, 0, 1, chunk):
            pass

    loop = 1 if what == "optimum" else 64

    def numpy_form() -> None:
        for seed in range(loop):
            monte_carlo_numpy.realisation(seed, users, CHANNELS, setting, what)

    contestants: dict[str, Callable[[], Any]] = {"ours": ours, "numpy": numpy_form}
    if what == "given":
        # The floor: one read and one write of the bytes that the instances have.
        sample = jax.jit(jax.vmap(lambda key: lsa.sample_instance(key, one)))
        batch = jax.tree.leaves(sample(jax.random.split(key, chunk)))
        source = np.ones(sum(leaf.nbytes for leaf in batch) // 4, np.float32)
        target = np.empty_like(source)
        contestants["copy"] = lambda: np.copyto(target, source)
    seconds = interleave(contestants, turns)
    found = {
        "per_s": float(np.median(chunk / seconds["ours"])),
        "numpy_per_s": float(np.median(loop / seconds["numpy"])),
        "ratio": chunk / loop * ratio(seconds["numpy"], seconds["ours"]),
        "chunk": chunk,
    }
    if "copy" in seconds:
        found["over_copy"] = ratio(seconds["ours"], seconds["copy"])
    return found


def measure_chunks(quick: bool, turns: int) -> list[dict[str, Any]]:
    """A row per case."""
    table = []
    for what, setting, users in CASES:
        if quick and users > 400:
            continue
        row = measure_chunk(what, setting, users, turns if what == "optimum" else 4 * turns)
        table.append({"what": what, "setting": setting, "users": users, **row})
        floor = f"; {row['over_copy']:.1f} x a copy of its bytes" if "over_copy" in row else ""
        print(
            f"K = {users:4d} {what:8s} {setting:9s} {row['per_s']:10.1f} a second, NumPy "
            f"{row['numpy_per_s']:8.1f}: {row['ratio']:6.1f} x{floor}",
            flush=True,
        )
    return table


class Studies:
    """Studies on disk by an engine that stays open: what starting and compiling cost is apart."""

    def __init__(self, engine: Any, what: str, setting: str, users: int, folder: str) -> None:
        self._engine, self._folder, self._seed = engine, folder, 0
        self._scenario, self._chunk = scenario(setting, users), chunk_of(what, setting, users)
        self._measure = functools.partial(measure, what=what)

    def __call__(self, count: int) -> None:
        self._seed += 1
        out = pathlib.Path(tempfile.mkdtemp(dir=self._folder)) / "study"
        key = jax.random.key(self._seed)
        job = on_disk.Job.of(out, key, self._scenario, self._measure)
        on_disk.run([job], count, engine=self._engine, chunk=self._chunk)


@contextlib.contextmanager
def engines(with_ray: bool) -> Iterator[dict[str, Any]]:
    """By name; all of two CPUs."""
    with contextlib.ExitStack() as stack:
        found = {"one process": on_disk.engine(), "two processes": on_disk.engine(workers=2)}
        if with_ray:
            # Before JAX computes anything: Ray on this machine is started by a fork.
            with contextlib.suppress(Unavailable):  # not installed, or no room for it here
                os.environ.setdefault("PYTHONPATH", os.getcwd())
                found["Ray, two tasks"] = on_disk.engine(ray="local")
        for engine in found.values():
            stack.enter_context(engine)
        yield found


def measure_engines(
    what: str, users: int, count: int, turns: int, opened: dict[str, Any], pool: Any, folder: str
) -> dict[str, float]:
    """Realisations per second with fading: processes, devices and Ray; medians of the turns.

    Of studies on disk what a study of one chunk takes is subtracted: tracing it, its record, a
    chunk to see how long one takes.
    """
    one, chunk = scenario("fading", users), chunk_of(what, "fading", users)
    partial = functools.partial(measure, what=what)

    def on_devices(number: int) -> Callable[[], Any]:
        evaluator = montecarlo.Evaluator(partial, chunk, jax.devices()[:number])
        chunks = -(-count // chunk)

        def call() -> None:
            for _ in evaluator.chunks(jax.random.key(0), one, 0, chunks, count):
                pass

        return call

    studies = {
        name: Studies(engine, what, "fading", users, folder) for name, engine in opened.items()
    }
    slow = max(2, count // (200 if what == "given" else 4))
    contestants: dict[str, tuple[Callable[[], Any], int]] = {
        "one device": (on_devices(1), count),
        "two devices": (on_devices(2), count),
        **{name: (functools.partial(call, count), count) for name, call in studies.items()},
        **{
            f"start of {name}": (functools.partial(call, chunk), chunk)
            for name, call in studies.items()
        },
        "NumPy loop": (
            lambda: [
                monte_carlo_numpy.realisation(i, users, CHANNELS, "fading", what)
                for i in range(slow)
            ],
            slow,
        ),
        "multiprocessing over it": (
            lambda: pool(2 * slow, users, CHANNELS, "fading", what),
            2 * slow,
        ),
    }
    seconds = interleave({name: call for name, (call, _) in contestants.items()}, turns)
    found = {}
    for name, (_, number) in contestants.items():
        taken = float(np.median(seconds[name]))
        if name in studies:
            number, taken = number - chunk, taken - float(np.median(seconds[f"start of {name}"]))
        if not name.startswith("start of"):
            found[name] = number / taken
    return found


def measure_overhead(count: int, turns: int, folder: str) -> dict[str, Any]:
    """What summaries in memory, and parts on disk, cost beside the bare chunks: quartiles.

    Single turns differ by 10 % either way, so there are many of them.
    """
    one, chunk = scenario("fading", 400), chunk_of("given", "fading", 400)
    partial = functools.partial(measure, what="given")
    key = jax.random.key(0)
    evaluator = montecarlo.Evaluator(partial, chunk, jax.devices()[:1])
    bare = jax.jit(montecarlo.chunk_function(partial, chunk))
    chunks = count // chunk

    def alone() -> None:
        for index in range(chunks):
            jax.block_until_ready(bare(key, one, jnp.uint32(index * chunk)))

    def in_memory() -> None:
        merging = montecarlo.Fold()
        for _, values in evaluator.chunks(key, one, 0, chunks, count):
            merging.add(montecarlo.summarise(values, sketch=True))
        merging.result()

    seeds = iter(range(10**6))

    def with_files() -> None:
        # Four parts of one device's chunks, written as a study writes them.
        out = pathlib.Path(folder) / f"overhead-{next(seeds)}"
        for part in on_disk.parts.cut(count, count // 4):
            merging = montecarlo.Fold()
            start, stop = part.first // chunk, (part.first + part.count) // chunk
            for _, values in evaluator.chunks(key, one, start, stop, count):
                merging.add(montecarlo.summarise(values, sketch=True))
            on_disk.parts.write(out, "benchmark", part, merging.result(), None)

    seconds = interleave({"bare": alone, "memory": in_memory, "files": with_files}, turns)

    def quartiles(name: str) -> list[float]:
        share = np.quantile(seconds[name] / seconds["bare"], (0.25, 0.5, 0.75))
        return [float(percent) for percent in 100 * (share - 1)]

    return {
        "summaries_percent": quartiles("memory"),
        "files_percent": quartiles("files"),
        "part_s": float(np.median(seconds["files"]) / 4),
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


def figure(
    table: list[dict[str, Any]], found: dict[str, dict[str, float]], path: pathlib.Path
) -> None:
    """Realisations per second, ours beside NumPy, and by where they are computed."""
    from experiments import plotting

    with plotting.figure(path, columns=2) as (left, right):
        names = [f"{row['what']}, {row['setting']}, K = {row['users']}" for row in table]
        place = np.arange(len(names))
        left.barh(place + 0.2, [row["per_s"] for row in table], 0.4, label="lsajax, one device")
        left.barh(place - 0.2, [row["numpy_per_s"] for row in table], 0.4, label="NumPy, SciPy")
        left.set_yticks(place, names, fontsize=7)
        left.set_xscale("log")
        left.set_xlabel("Realisations per second, N = M = 2000")
        place = np.arange(len(found["given"]))
        for offset, (what, values) in zip((-0.2, 0.2), found.items(), strict=True):
            right.barh(place + offset, list(values.values()), 0.4, label=f"{what}, K = 400")
        right.set_yticks(place, list(found["given"]), fontsize=7)
        right.set_xscale("log")
        right.set_xlabel("Realisations per second on 2 CPUs, fading")


def main(config: Config) -> None:
    """Measures, prints and writes."""
    # In it are the tasks of other processes: they cannot be in what runs as a program.
    from benchmarks import monte_carlo_weak

    turns = 3
    found: dict[str, dict[str, float]] = {}
    weak: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, engines(config.ray) as opened:
        table = measure_chunks(config.quick, turns)
        with contextlib.closing(monte_carlo_numpy.Pool(2)) as pool:
            for what, count in (("given", 2**15), ("optimum", 96)):
                count = count if config.quick else 3 * count
                found[what] = measure_engines(what, 400, count, turns, opened, pool, folder)
                weak[what] = monte_carlo_weak.measure_weak(what, 400, count, turns, opened)
                for name, per_s in found[what].items():
                    print(
                        f"K = 400 {what:8s} fading, {name:24s} {per_s:10.1f} a second", flush=True
                    )
                for name, share in weak[what].items():
                    print(f"K = 400 {what:8s} weak scaling, {name}: {100 * share:.0f} %")
    # After the engines are closed: their processes take some of the machine even when idle.
    with tempfile.TemporaryDirectory() as folder:
        size, count = (2**14, turns) if config.quick else (2**17, 21)
        overhead = measure_overhead(size, count, folder)
    for name in ("summaries", "files"):
        low, middle, high = overhead[f"{name}_percent"]
        print(f"beside bare chunks, {name}: {middle:+.1f} % (quartiles {low:+.1f}, {high:+.1f})")
    memory = measure_memory(10**5 if config.quick else 10**6)
    (_, early), (_, late) = memory["mib"][0], memory["mib"][-1]
    print(
        f"memory: {early:.0f} MiB after a twentieth of {memory['realizations']} realisations, "
        f"{late:.0f} MiB at the end, peak {memory['peak_mib']:.0f} MiB ({memory['seconds']:.0f} s)"
    )
    record = {"turns": turns, "table": table, "engines": found, "weak": weak, "overhead": overhead}
    write(config.out, {**record, "memory": memory, "channels": CHANNELS})
    figure(table, found, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.monte_carlo", description=__doc__))

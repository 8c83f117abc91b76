"""Monte Carlo of any measure: as many realisations as asked for, memory bounded by a chunk of them.

    def measure(key, inst):
        return {"mbps": lsa.solvers.greedy(key, inst).value / 1e6}

    found = lsa.montecarlo.study(jax.random.key(0), scenario, measure, 10**6)
    found.summaries["mbps"].mean, found.summaries["mbps"].half_width()

Realisation i is drawn from `fold_in(key, i)`. A chunk is the unit in which they are computed, of
one shape whatever the count, and its values go to the host; every device takes chunks of its own.
So the bits of a realisation depend on key, scenario, measure and chunk alone, and those of the
result on their order alone: not on the number of devices, processes or machines.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lsajax import hashing
from lsajax.accumulators import Accumulator, Summaries
from lsajax.instance import Instance
from lsajax.sampling import sample_instance
from lsajax.scenario import Scenario

AXIS = "realization"
"""Of the mesh of devices."""

MOST = 2**32
"""Realisations of one key: their indices have 32 bits."""

# Where nothing is said a chunk is at most so long, and needs at most so many bytes: a CPU's caches
# and many processes beside one another, or the width of an accelerator.
_CPU, _ACCELERATOR = (1024, 2**28), (16384, 2**32)

Measure = Callable[[jax.Array, Instance], Any]
Values = dict[str, np.ndarray]


class Output(NamedTuple):
    """One value of a measure.

    Attributes:
        shape: () for a number.
        dtype: of its numbers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Result:
    """What a study found.

    Attributes:
        realizations: how many.
        summaries: the measure's pytree with an `accumulators.Summary` in place of each value.
        rows: the measure's pytree with all values [realizations, ...] in place of each, where
            `rows` was asked for and there is no `out`.
    """

    realizations: int
    summaries: Any
    rows: Any = None


def study(
    key: jax.Array,
    scenario: Scenario,
    measure: Measure,
    realizations: int,
    *,
    chunk: int | None = None,
    sketch: bool = False,
    rows: bool = False,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int, int], None] | None = None,
    out: str | os.PathLike | None = None,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    ray: str | None = None,
) -> Result | None:
    """Means, spreads and distributions of a measure over realisations of a scenario.

    In this process on all its devices, or on those of all processes of `jax.distributed`. With
    `out`, in parts on disk: what is there is not computed again, whoever computed it, and any
    number of processes and machines may work on one folder. See the manual, "Clusters and GPUs".

    Args:
        key: realisation i is a function of `fold_in(key, i)`.
        scenario: what instances are drawn from.
        measure: any function `(key, inst) -> pytree` of numbers, or of arrays of them, that jits.
            NaN is a missing value, counted apart.
        realizations: how many.
        chunk: how many are computed at once by a device; bounds the memory. None takes the largest
            power of two up to 1024 (16384 on an accelerator) whose working memory, as the
            compiler counts it, stays below 256 MiB (4 GiB).
        sketch: whether to keep a distribution of each value, for quantiles.
        rows: whether to keep every value.
        devices: of this process; None takes all.
        progress: called as `progress(done, realizations)` between chunks, or parts with `out`.
        out: folder of the study.
        workers: processes on this machine, each with its share of the CPUs; None is this process
            itself. Needs `out`.
        shard: (i, n), this is the i-th of n processes that share the work. Needs `out`.
        ray: address of a Ray cluster that does the work, or "local". Needs `out`.

    Returns:
        The result; None where other shards are not done yet.

    Raises:
        ValueError: an argument out of range; a measure that does not trace or returns no numbers;
            a folder of another study.
        OSError: the disk is full, say; what was computed stays.
    """
    check_key(key)
    check(scenario, realizations, chunk)
    tree, found = outputs(scenario, measure)
    names = list(found)
    if out is None:
        for name, value in (("workers", workers), ("shard", shard), ("ray", ray)):
            if value is not None:
                raise ValueError(
                    f"{name} needs out, the folder that processes share; got {value!r}"
                )
        size = chunk or default_chunk(scenario, measure)
        merged, values = _in_memory(
            Evaluator(measure, size, devices), key, scenario, realizations, sketch, rows, progress
        )
        every = tree.unflatten([values[name] for name in names]) if rows else None
        return Result(realizations, tree.unflatten([merged[name] for name in names]), every)
    if devices is not None:
        raise ValueError("devices has no effect beside out, which takes all of each process")
    if jax.process_count() > 1:
        raise ValueError("out is for independent processes: leave it out with jax.distributed")
    # The part that touches the disk, and needs pyarrow.
    from lsajax.runs import montecarlo as on_disk

    job = on_disk.Job.of(out, key, scenario, measure, sketch=sketch, rows=rows)
    with on_disk.engine(workers=workers, ray=ray) as engine:
        (parts,) = on_disk.run(
            [job], realizations, chunk=chunk, engine=engine, shard=shard, progress=progress
        )
    if parts is None:
        return None
    return Result(realizations, tree.unflatten([parts[name] for name in names]))


def _in_memory(
    evaluator: "Evaluator",
    key: jax.Array,
    scenario: Scenario,
    realizations: int,
    sketch: bool,
    rows: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[Summaries, Values]:
    merging, kept = Accumulator(sketch), []
    chunks = -(-realizations // evaluator.chunk)
    for done, values in evaluator.chunks(key, scenario, 0, chunks, realizations):
        merging.add(values)
        if rows:
            kept.append(values)
        if progress is not None:
            progress(done, realizations)
    every = {name: np.concatenate([one[name] for one in kept]) for name in kept[0]} if rows else {}
    return merging.result(), every


def check_key(key: jax.Array) -> None:
    """Raises ValueError unless it is one typed key."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key must be a key of jax.random.key, got {type(key).__name__}")
    if key.shape:
        raise ValueError(f"key must be one, got a batch {key.shape}")


def check(scenario: Scenario, realizations: int, chunk: int | None) -> None:
    """Raises ValueError where these are no arguments of a study; JAX is not started for it."""
    for name, value, most in (
        ("realizations", realizations, MOST),
        ("chunk", 1 if chunk is None else chunk, 2**24),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} must be an integer, got {value!r}")
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be within 1..{most}, got {value}")
    if not isinstance(scenario, Scenario):
        raise ValueError(f"scenario must be a Scenario, got {type(scenario).__name__}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(scenario):
        if np.ndim(leaf) != 0:
            name = jax.tree_util.keystr(path, simple=True)
            raise ValueError(
                f"scenario must be one, got a batch: {name} has shape {np.shape(leaf)}"
            )


def draw(key: jax.Array, scenario: Scenario, index: jax.Array | int) -> tuple[jax.Array, Instance]:
    """Realisation `index` of a study: the key that its measure gets, and its instance."""
    own = jax.random.fold_in(key, index)
    instance = sample_instance(hashing.named_key(own, "instance"), scenario)
    return hashing.named_key(own, "measure"), instance


def outputs(
    scenario: Scenario, measure: Measure
) -> tuple[jax.tree_util.PyTreeDef, dict[str, Output]]:
    """Structure of what a measure returns, and its values by name; nothing is computed.

    Raises:
        ValueError: it does not trace, or returns something that is no number.
    """
    wanted = "measure must be a function (key, inst) -> pytree of numbers that jits"
    try:
        tree = jax.eval_shape(lambda key: measure(*draw(key, scenario, 0)), jax.random.key(0))
    except (TypeError, jax.errors.JAXIndexError) as error:
        raise ValueError(f"{wanted}; tracing it: {str(error).splitlines()[0]}") from error
    found: dict[str, Output] = {}
    for name, leaf in _named(tree):
        real = jnp.issubdtype(leaf.dtype, jnp.number) or leaf.dtype == bool
        if not real or jnp.issubdtype(leaf.dtype, jnp.complexfloating) or name in found:
            what = "twice" if name in found else f"of type {leaf.dtype}"
            raise ValueError(f"{wanted}, each with a name of its own; {name!r} came {what}")
        found[name] = Output(leaf.shape, leaf.dtype)
    if not found:
        raise ValueError(f"{wanted}, got none")
    return jax.tree.structure(tree), found


def _named(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator=".") or "value", leaf


def chunk_function(measure: Measure, chunk: int) -> Callable[..., dict[str, jax.Array]]:
    """`(key, scenario, first) -> values`: those of realisations first to first + chunk - 1."""

    def one(key: jax.Array, scenario: Scenario, index: jax.Array) -> dict[str, jax.Array]:
        return {n: jnp.asarray(x) for n, x in _named(measure(*draw(key, scenario, index)))}

    def of_chunk(key: jax.Array, scenario: Scenario, first: jax.Array) -> dict[str, jax.Array]:
        index = first + jnp.arange(chunk, dtype=jnp.uint32)
        return jax.vmap(one, (None, None, 0))(key, scenario, index)

    return of_chunk


def fingerprint(key: jax.Array, scenario: Scenario, measure: Measure, chunk: int) -> str:
    """A digest of the program that a chunk is; another measure, or another JAX, has another."""
    lowered = _lowered(key, scenario, measure, chunk)
    return hashlib.sha256(lowered.as_text().encode()).hexdigest()[:32]


def default_chunk(scenario: Scenario, measure: Measure) -> int:
    """The chunk that `study` takes where none is given; compiles once to see its memory."""
    chunk, most = _CPU if jax.default_backend() == "cpu" else _ACCELERATOR
    memory = _lowered(jax.random.key(0), scenario, measure, chunk).compile().memory_analysis()
    needed = memory.temp_size_in_bytes + memory.output_size_in_bytes if memory else 0
    while needed > most and chunk > 1:
        needed, chunk = needed / 2, chunk // 2
    return chunk


def _lowered(key: jax.Array, scenario: Scenario, measure: Measure, chunk: int) -> Any:
    return jax.jit(chunk_function(measure, chunk)).lower(key, scenario, jnp.uint32(0))


class Evaluator:
    """A measure compiled for one shape of chunk, on one device or many.

    Args:
        measure: `(key, inst) -> pytree` of numbers.
        chunk: realisations that a device computes at once.
        devices: None takes all, those of other processes of `jax.distributed` included.
    """

    def __init__(
        self, measure: Measure, chunk: int, devices: Sequence[jax.Device] | None = None
    ) -> None:
        self.chunk = chunk
        self._mesh = Mesh(np.array(jax.devices() if devices is None else list(devices)), (AXIS,))
        of_chunk = chunk_function(measure, chunk)

        def of_device(
            key_data: jax.Array, scenario: Scenario, first: jax.Array, impl: str
        ) -> dict[str, jax.Array]:
            # The key as plain words: those may come from the host in every process.
            key = jax.random.wrap_key_data(key_data, impl=impl)
            own = first + jax.lax.axis_index(AXIS).astype(jnp.uint32) * jnp.uint32(chunk)
            return of_chunk(key, scenario, own)

        @functools.partial(jax.jit, static_argnames="impl")
        def of_all(
            key_data: jax.Array, scenario: Scenario, first: jax.Array, impl: str
        ) -> dict[str, jax.Array]:
            mapped = jax.shard_map(
                functools.partial(of_device, impl=impl),
                mesh=self._mesh,
                in_specs=(P(), P(), P()),
                out_specs=P(AXIS),
                check_vma=False,  # solvers loop over what is and what is not the same everywhere
            )
            return mapped(key_data, scenario, first)

        self._of_all = of_all

    @property
    def width(self) -> int:
        """Chunks at a time: one per device."""
        return self._mesh.size

    def chunks(
        self, key: jax.Array, scenario: Scenario, start: int, stop: int, realizations: int
    ) -> Iterator[tuple[int, Values]]:
        """Chunks `start` to `stop` - 1 in their order, while the next ones are being computed.

        Yields:
            Index after the last realisation so far, and the values [up to chunk, ...] of a chunk:
            those of realisations beyond `realizations` are left out.
        """
        data, impl = np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key))
        ahead = None
        for at in range(start, stop, self.width):
            # Beyond the last realisation it may wrap: such values are never looked at.
            first = np.uint32(at * self.chunk % MOST)
            begun = at, self._of_all(data, scenario, first, impl=impl)
            if ahead is not None:
                yield from self._end(*ahead, stop, realizations)
            ahead = begun
        if ahead is not None:
            yield from self._end(*ahead, stop, realizations)

    def _end(
        self, at: int, values: dict[str, jax.Array], stop: int, realizations: int
    ) -> Iterator[tuple[int, Values]]:
        whole = {name: _on_host(value) for name, value in values.items()}
        for place in range(min(self.width, stop - at)):
            first = (at + place) * self.chunk
            count = min(self.chunk, realizations - first)
            low = place * self.chunk
            yield first + count, {n: value[low : low + count] for n, value in whole.items()}


def _on_host(value: jax.Array) -> np.ndarray:
    if jax.process_count() == 1:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))

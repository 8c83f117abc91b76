"""Parts of a study on disk: each a small Parquet file that carries its own checksum.

    OUT/study.json                                   what the study is, and how it is cut into parts
    OUT/parts/0000/000012-65536-8c1f….parquet        part 12: 65536 realisations, and their digest
    OUT/rows/0000/000012-65536-03ab….parquet         its values, where rows were asked for
    OUT/result.parquet                               all parts merged, once they are there

A part is a function of the study and its index alone, down to the bytes. It is written under
another name and renamed when it is whole; the name has the SHA-256 of the content, so that a file
that was cut or changed is told from a good one. Folders hold 1000 parts each.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lsajax.accumulators import Sketch, Summary
from lsajax.montecarlo import Output, Values
from lsajax.runs.folder import BadRun

PARTS, ROWS, RESULT = "parts", "rows", "result.parquet"
_FOLDER = 1000
_DIGITS = 16  # of the digest, in a name
_NEW = ".new"
_META = b"lsajax"


@dataclasses.dataclass(frozen=True)
class Part:
    """Which realisations a part has.

    Attributes:
        index: of the part.
        first: realisation.
        count: of realisations.
    """

    index: int
    first: int
    count: int


def cut(realizations: int, size: int) -> list[Part]:
    """The parts of so many realisations, `size` in each but the last."""
    starts = range(0, realizations, size)
    return [Part(i, at, min(size, realizations - at)) for i, at in enumerate(starts)]


def find(folder: pathlib.Path, kind: str = PARTS) -> dict[tuple[int, int], pathlib.Path]:
    """Files that are there by index and count; nothing is read."""
    found = {}
    for file in sorted((folder / kind).glob("[0-9]*/[0-9]*-*-*.parquet")):
        index, count, _ = file.stem.split("-")
        found[int(index), int(count)] = file
    return found


def place(folder: pathlib.Path, part: Part) -> pathlib.Path | None:
    """The file of a part where it is there; not read."""
    pattern = f"{part.index:06d}-{part.count}-*.parquet"
    return next(iter(sorted(_home(folder, PARTS, part).glob(pattern))), None)


def _home(folder: pathlib.Path, kind: str, part: Part) -> pathlib.Path:
    return folder / kind / f"{part.index // _FOLDER:04d}"


def write(
    folder: pathlib.Path,
    study: str,
    part: Part,
    summaries: Mapping[str, Summary],
    rows: pathlib.Path | None,
) -> pathlib.Path:
    """Writes a part, after its rows: it counts from now on.

    Args:
        folder: of the study.
        study: digest of what the study is.
        part: which.
        summaries: by the name of the value.
        rows: of `write_rows`.

    Raises:
        OSError: the disk is full, say; nothing is left behind.
    """
    meta = {**dataclasses.asdict(part), "study": study, "rows": rows.name if rows else None}
    table = table_of(summaries).replace_schema_metadata({_META: json.dumps(meta).encode()})

    def content(file: Any) -> None:
        pq.write_table(table, file)

    return _put(folder, PARTS, part, content)


def write_rows(
    folder: pathlib.Path, part: Part, outputs: Mapping[str, Output], chunks: Iterable[Values]
) -> pathlib.Path:
    """Writes the values of a part as they come, a row per realisation."""
    columns = {name: _column_type(output) for name, output in outputs.items()}
    schema = pa.schema({"realization": pa.int64(), **columns})

    def content(file: Any) -> None:
        at = part.first
        with pq.ParquetWriter(file, schema) as writer:
            for values in chunks:
                count = len(next(iter(values.values())))
                arrays = [pa.array(np.arange(at, at + count))]
                arrays += [_column(values[name], kind) for name, kind in columns.items()]
                writer.write_table(pa.table(arrays, schema=schema))
                at += count

    return _put(folder, ROWS, part, content)


def _column_type(output: Output) -> pa.DataType:
    half = jnp.issubdtype(output.dtype, jnp.floating) and np.dtype(output.dtype).itemsize < 4
    number = pa.float32() if half else pa.from_numpy_dtype(output.dtype)
    return pa.list_(number, int(np.prod(output.shape))) if output.shape else number


def _column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(values.astype(kind.to_pandas_dtype()))
    flat = pa.array(values.reshape(-1).astype(kind.value_type.to_pandas_dtype()))
    return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)


def _put(
    folder: pathlib.Path, kind: str, part: Part, content: Callable[[Any], None]
) -> pathlib.Path:
    home = _home(folder, kind, part)
    home.mkdir(parents=True, exist_ok=True)
    # A name that no other process has, here or on another machine.
    new = home / f".{part.index:06d}-{socket.gethostname()}-{uuid.uuid4().hex}{_NEW}"
    try:
        with open(new, "xb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        digest = _digest(new)
        target = home / f"{part.index:06d}-{part.count}-{digest}.parquet"
        os.replace(new, target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return target


def _digest(file: pathlib.Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:_DIGITS]


def is_whole(file: pathlib.Path) -> bool:
    """Whether a file's content is what its name says; False where there is none."""
    try:
        return _digest(file) == file.stem.rsplit("-", 1)[-1]
    except FileNotFoundError:
        return False


def read(file: pathlib.Path, study: str, part: Part) -> dict[str, Summary] | None:
    """Summaries of a part; None where the file is damaged, or its rows are.

    Raises:
        BadRun: it is a part of another study.
    """
    if not is_whole(file):
        return None
    table = pq.read_table(pa.BufferReader(file.read_bytes()))
    meta = json.loads(table.schema.metadata[_META])
    if meta["study"] != study:
        raise BadRun(f"{file} is a part of another study; remove it, or give another folder")
    if meta["rows"] is not None:
        folder = file.parents[2]
        if not is_whole(_home(folder, ROWS, part) / meta["rows"]):
            return None
    return summaries_of(table)


_NUMBERS = {
    "count": pa.int64(),
    "missing": pa.int64(),
    "mean": pa.float64(),
    "m2": pa.float64(),
    "smallest": pa.float64(),
    "largest": pa.float64(),
}
_SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "element": pa.int64(),
        **_NUMBERS,
        "shape": pa.list_(pa.int64()),
        "bins": pa.list_(pa.int32()),
        "bin_counts": pa.list_(pa.int64()),
    }
)


def table_of(summaries: Mapping[str, Summary]) -> pa.Table:
    """A row per value and element of it; the sketch of a value is in the row of its first."""
    tables = []
    for name, summary in summaries.items():
        shape = np.shape(summary.count)
        size = int(np.prod(shape))
        numbers = [np.ravel(getattr(summary, column)) for column in _NUMBERS]
        sketch = summary.sketch
        bins = None if sketch is None else sketch.bins
        counts = None if sketch is None else sketch.counts
        rest = [None] * (size - 1)
        arrays = [[name] * size, np.arange(size), *numbers, [list(shape)] * size]
        arrays += [[bins, *rest][:size], [counts, *rest][:size]]
        columns = [pa.array(a, f.type) for a, f in zip(arrays, _SCHEMA, strict=True)]
        tables.append(pa.table(columns, schema=_SCHEMA))
    return pa.concat_tables(tables)


def summaries_of(table: pa.Table) -> dict[str, Summary]:
    """What `table_of` made a table of."""
    names = table["name"].to_pylist()
    starts = [i for i, element in enumerate(table["element"].to_pylist()) if element == 0]
    found = {}
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        own = table.slice(start, stop - start)
        shape = own["shape"][0].as_py()
        numbers = {c: own[c].to_numpy().reshape(shape)[()] for c in _NUMBERS}
        sketch = None
        if own["bins"][0].is_valid:
            bins, counts = (own[c][0].values.to_numpy() for c in ("bins", "bin_counts"))
            sketch = Sketch(bins, counts)
        found[names[start]] = Summary(**numbers, sketch=sketch)
    return found


def leftovers(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files that killed processes were writing."""
    for kind in (PARTS, ROWS):
        yield from (folder / kind).glob(f"[0-9]*/.*{_NEW}")

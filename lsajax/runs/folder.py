"""What a run leaves on disk: rows in small files that are never rewritten, and their record.

    OUT/run.json             configuration, versions, device, commit, sessions, wall time
    OUT/parts/000000.parquet one file per `append`, until the run is finished
    OUT/rows.parquet         all rows, once it is

A kill at any moment leaves every row of the appends that returned.
"""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from lsajax.runs import provenance

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS = "rows.parquet"
RUN = "run.json"
PARTS = "parts"
_LOCK = ".lock"

Row = Mapping[str, Any]


class BadRun(ValueError):  # noqa: N818 - it is the run's arguments that are bad
    """The output folder cannot be used as asked; the message says what would do."""


class RunFolder:
    """Rows of one run in one folder.

    The folder is made with the first row. One process at a time may write to it.

    Args:
        path: the folder.
        config: what determines the numbers, JSON-able. A run is resumed only under the same.
        identity: columns that every row has and that tell it from every other row.
        resume: go on with the rows that are there.

    Attributes:
        identities: of the rows that are there, values in the order of `identity`.
        metadata: what the caller adds to `run.json`, JSON-able.

    Raises:
        BadRun: the folder cannot be written, holds results already (without `resume`), holds those
            of another configuration, or files that no run of this kind made; or another process is
            writing to it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        identity: Sequence[str],
        resume: bool,
    ) -> None:
        self.path = pathlib.Path(path)
        # Through JSON once, so that tuples compare equal to the lists that come back from disk.
        self.config = json.loads(json.dumps(dict(config)))
        self.identity = tuple(identity)
        self.metadata: dict[str, Any] = {}
        self.identities: set[tuple[Any, ...]] = set()
        self._next = 0
        self._before_s = 0.0
        self._sessions: list[dict[str, Any]] = []
        self._started, self._started_at = time.time(), provenance.utc_now()
        self._origin: dict[str, Any] = {}
        self._lock: IO[str] | None = None
        _check_writable(self.path)
        self._found = self._contents()
        if self._found:
            try:
                self._open(resume)
            except BadRun:
                self.close()
                raise

    def _contents(self) -> list[str]:
        """Names of what a run leaves: its record and files of rows."""
        files = [self.path / RUN, self.path / ROWS, *self._parts()]
        return sorted(file.name for file in files if file.exists())

    def _open(self, resume: bool) -> None:
        if not (self.path / RUN).exists():
            raise BadRun(f"--out {self.path} holds rows without the {RUN} of a run; give another")
        before = self._read_run()
        if not resume:
            raise BadRun(
                f"--out {self.path} holds results already; give --resume to go on with them, "
                "or another folder"
            )
        self._check_config(before["config"])
        self._take_lock()
        self._before_s, self._sessions = before["wall_s"], before["sessions"]
        if (self.path / ROWS).exists():
            self.identities |= self._identities_of(self.path / ROWS)
        for part in self._parts():
            known = self._identities_of(part)
            # A kill between writing rows.parquet and removing the parts leaves both.
            if known <= self.identities:
                part.unlink()
            self.identities |= known
            self._next = int(part.stem) + 1

    def _read_run(self) -> dict[str, Any]:
        try:
            before = json.loads((self.path / RUN).read_text())
            return {name: before[name] for name in ("config", "wall_s", "sessions")}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise BadRun(
                f"{self.path / RUN} cannot be read as the record of a run ({error!r}); "
                "give another --out"
            ) from None

    def _check_config(self, before: Mapping[str, Any]) -> None:
        old, new = _flat(before), _flat(self.config)
        changed = [
            f"{name} was {old.get(name)!r}, now {new.get(name)!r}"
            for name in dict.fromkeys([*new, *old])
            if old.get(name) != new.get(name)
        ]
        if changed:
            raise BadRun(
                f"--resume needs the configuration that {self.path} was made with: "
                f"{'; '.join(changed)}; give another --out to keep both"
            )

    def _identities_of(self, file: pathlib.Path) -> set[tuple[Any, ...]]:
        table = _read(file, columns=self.identity)
        lacking = ", ".join(set(self.identity) - set(table.column_names))
        if lacking:
            raise BadRun(f"{file} is none of this run's: it lacks {lacking}; give another --out")
        return set(zip(*(table[name].to_pylist() for name in self.identity), strict=True))

    def _parts(self) -> list[pathlib.Path]:
        return sorted((self.path / PARTS).glob("[0-9]*.parquet"))

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = open(self.path / _LOCK, "w")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise BadRun(f"--out {self.path}: another process is writing to it") from None
        self._lock = lock
        if self._contents() != self._found:
            self.close()
            raise BadRun(
                f"--out {self.path}: another process wrote to it since this one started; "
                "--resume goes on with both"
            )

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another process write to the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def has(self, row: Row) -> bool:
        """Whether the row with this identity is there; other columns do not matter."""
        return self._identity_of(row) in self.identities

    def _identity_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.identity)

    def append(self, rows: Sequence[Row]) -> None:
        """Adds rows, which may have different columns; on return they are on disk.

        Raises:
            ValueError: a row is there already.
            BadRun: another process is writing to the folder, or wrote to it since it was opened.
            OSError: the disk is full, say. What was there stays, and `rows` are not.
        """
        if not rows:
            return
        new = [self._identity_of(row) for row in rows]
        twice = [i for n, i in enumerate(new) if i in self.identities or i in new[:n]]
        if twice:
            where = dict(zip(self.identity, twice[0], strict=True))
            raise ValueError(f"a row is there already: {where}")
        self.path.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self._write_run()
        (self.path / PARTS).mkdir(exist_ok=True)
        _write(self.path / PARTS / f"{self._next:06d}.parquet", _table(rows))
        self._next += 1
        self.identities |= set(new)

    def rows(self) -> "pd.DataFrame":
        """All rows so far, in the order they came."""
        return self._all().to_pandas()

    def _all(self) -> "pa.Table":
        import pyarrow as pa

        whole = [self.path / ROWS] if (self.path / ROWS).exists() else []
        files = [*whole, *self._parts()]
        if not files:
            return pa.table({name: [] for name in self.identity})
        return pa.concat_tables([_read(file) for file in files], promote_options="permissive")

    def finish(self) -> None:
        """Makes `rows.parquet` of the parts and brings `run.json` up to date."""
        if not self._parts():
            return
        self._take_lock()
        _write(self.path / ROWS, self._all())
        # Only now: until the new file is there, the rows are in the parts.
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        self._next = 0
        self._write_run()

    def _write_run(self) -> None:
        self._origin = self._origin or provenance.collect()
        # One entry per time the run was started: a resumed run may mix versions of the code.
        session = {name: self._origin[name] for name in ("command", "commit")}
        session |= {"started": self._started_at, "load": self._origin["device"]["load"]}
        record = {
            "config": self.config,
            "wall_s": round(self._before_s + time.time() - self._started, 3),
            **self._origin,
            "written": provenance.utc_now(),
            "sessions": [*self._sessions, session],
            **self.metadata,
        }
        content = json.dumps(record, indent=2) + "\n"
        provenance.replace_file(self.path / RUN, content.encode())


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of mappings within it, one level down, as `name.entry`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, Mapping) and value
        found |= {f"{name}.{k}": v for k, v in value.items()} if inner else {name: value}
    return found


def _check_writable(path: pathlib.Path) -> None:
    """Raises BadRun unless files can be written there; leaves nothing behind."""
    missing = list(itertools.takewhile(lambda p: not p.exists(), [path, *path.parents]))
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadRun(f"--out must be a folder that can be written: {error}") from None
    finally:
        for made in missing:
            with contextlib.suppress(OSError):  # not made, or somebody uses it by now
                made.rmdir()


def _table(rows: Iterable[Row]) -> "pa.Table":
    import pyarrow as pa

    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _write(path: pathlib.Path, table: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    provenance.replace_file(path, buffer.getvalue().to_pybytes())


def _read(path: pathlib.Path, columns: Sequence[str] | None = None) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadRun(
            f"{path} cannot be read ({reason}); remove it, and --resume computes its rows again"
        ) from None

"""What a run leaves on disk, `rows.parquet` and `run.json`; safe against being killed."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

import jax
import pandas as pd

ROWS = "rows.parquet"
RUN = "run.json"
_IDENTITY = ("scale", "method", "realization")
_VERSIONS = ("lsajax", "jax", "jaxlib", "numpy", "scipy", "torch", "transformers")


class BadRun(ValueError):  # noqa: N818 - it is the run's arguments that are bad
    """The output folder cannot be used as asked; the message says what would do."""


class RunFolder:
    """Rows of one run in one folder, written after every `append`.

    Args:
        path: the folder; made where it is missing.
        config: what determines the numbers, JSON-able. A run is resumed only under the same.
        resume: go on with the rows that are there.

    Raises:
        BadRun: the folder cannot be written, holds results already (without `resume`), or holds
            those of another configuration.
    """

    def __init__(self, path: str | os.PathLike, config: dict[str, Any], *, resume: bool) -> None:
        self.path = pathlib.Path(path)
        # Through JSON once, so that tuples compare equal to the lists that come back from disk.
        self.config = json.loads(json.dumps(config))
        self._rows: list[dict[str, Any]] = []
        self._started = time.time()
        self._before_s = 0.0
        self._sessions: list[dict[str, Any]] = []
        self._commit = _commit()
        self.metadata: dict[str, Any] = {}
        self._prepare(resume)

    def _prepare(self, resume: bool) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BadRun(f"--out must be a folder that can be written: {error}") from None
        if not (self.path / RUN).exists():
            return
        if not resume:
            raise BadRun(
                f"--out {self.path} holds results already; give --resume to go on with them, "
                "or another folder"
            )
        before = self._read_run()
        changed = {
            name: (before["config"].get(name), value)
            for name, value in self.config.items()
            if before["config"].get(name) != value
        }
        if changed:
            listed = "; ".join(f"{k} was {a!r}, now {b!r}" for k, (a, b) in changed.items())
            raise BadRun(
                f"--resume needs the configuration that {self.path} was made with: {listed}"
            )
        self._before_s = before["wall_s"]
        self._sessions = before["sessions"]
        if (self.path / ROWS).exists():
            self._rows = pd.read_parquet(self.path / ROWS).to_dict("records")

    def _read_run(self) -> dict[str, Any]:
        try:
            before = json.loads((self.path / RUN).read_text())
            return {name: before[name] for name in ("config", "wall_s", "sessions")}
        except (ValueError, KeyError, TypeError) as error:
            raise BadRun(
                f"{self.path / RUN} cannot be read as the record of a run ({error!r}); "
                "give another --out"
            ) from None

    @property
    def rows(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.DataFrame(self._rows)

    def has(self, **where: Any) -> bool:
        """Whether a row with these values is there."""
        return any(all(row.get(k) == v for k, v in where.items()) for row in self._rows)

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Adds rows; on return they are on disk. A kill leaves the old file or the new, whole."""
        for row in rows:
            identity = {name: row[name] for name in _IDENTITY if name in row}
            if identity and self.has(**identity):
                raise ValueError(f"a row is there already: {identity}")
        self._rows += rows
        self.write_run()
        temporary = self.path / f".{ROWS}.new"
        self.rows.to_parquet(temporary, index=False)
        os.replace(temporary, self.path / ROWS)

    def write_run(self) -> None:
        """`run.json`: configuration, versions, device, commit, wall time, what callers added."""
        started = datetime.datetime.fromtimestamp(self._started, datetime.UTC)
        started = started.isoformat(timespec="seconds")
        record = {
            "config": self.config,
            "wall_s": round(self._before_s + time.time() - self._started, 3),
            "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version(), **_versions()},
            "device": {
                "jax": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            },
            "commit": self._commit,
            # One entry per time the run was started: a resumed run may mix versions of the code.
            "sessions": [*self._sessions, {"started": started, "commit": self._commit}],
            **self.metadata,
        }
        temporary = self.path / f".{RUN}.new"
        temporary.write_text(json.dumps(record, indent=2) + "\n")
        os.replace(temporary, self.path / RUN)


def config_of(options: Any, *, without: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a dataclass of options that determine a run's numbers, by name."""
    return {k: v for k, v in dataclasses.asdict(options).items() if k not in without}


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The checkout's commit, with a mark where files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

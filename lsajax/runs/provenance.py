"""Where numbers come from: versions, commit, machine, load, command; the writer of every JSON."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import uuid
from typing import Any

_PACKAGES = ("lsajax", "jax", "jaxlib", "numpy", "scipy", "torch", "transformers", "trl")


def collect() -> dict[str, Any]:
    """What a reader needs to place or repeat a measurement, JSON-able.

    Returns:
        `written` (UTC), `command`, `commit`, `versions`, and `device`: `jax` (its devices; empty
        where the process has not loaded JAX), `machine`, `cpus` this process may use, `load` (the
        load average of the last minute; null where the system has none).
    """
    return {
        "written": utc_now(),
        "command": f"{program()} {shlex.join(sys.argv[1:])}".rstrip(),
        "commit": commit(),
        "versions": versions(),
        "device": {
            "jax": _jax_devices(),
            "machine": platform.machine(),
            "kernel": platform.release().split("-")[0],
            "cpus": cpus(),
            "load": load(),
        },
    }


def write(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Writes `record` with what `collect` returns beside it, as JSON; makes missing folders."""
    text = json.dumps({**record, **collect()}, indent=2) + "\n"
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())


def replace_file(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file so that a kill, a crash or a full disk leaves the old one or the new, whole."""
    path = pathlib.Path(path)
    # A name that no other process has: two may write the same file.
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name too outlives a power cut
        finally:
            os.close(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def utc_now() -> str:
    """The time, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def program() -> str:
    """How this process was started: `python -m module`, or the script's path."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return f"python -m {main.name.removesuffix('.__main__')}" if main else sys.argv[0]


def commit() -> str | None:
    """The checkout's commit, with a mark where files differ from it; None outside a checkout."""
    arguments = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine numbers, where they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Load average of the last minute; None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def busy() -> str | None:
    """A warning in one line where others use the CPUs; None on a machine that is quiet enough."""
    others, own = load(), cpus()
    if others is None or others <= own / 2:
        return None
    return (
        f"warning: this machine is busy (load average {others:.1f} on {own} CPUs): seconds will be "
        "too long, and methods with a time budget reach less in it"
    )


def _jax_devices() -> list[str]:
    # JAX is not loaded for this alone.
    jax = sys.modules.get("jax")
    return [f"{d.platform}: {d.device_kind}" for d in jax.devices()] if jax else []

"""Builds the C++ assignment kernel: `python -m lsajax.solvers.build_native`.

Optional: without it `linear_sum_assignment` runs its pure JAX path. Needs a C++17 compiler (g++ or
clang++, or what the environment variable CXX names); takes a few seconds.
"""

from __future__ import annotations

import argparse  # the command needs no extra, and tyro comes with one
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from lsajax.solvers import _host


def build(compiler: str | None = None, *, force: bool = False) -> Path:
    """Compiles the kernel for this machine and this jaxlib, unless it is there already.

    Args:
        compiler: command to call; None for `$CXX`, g++ or clang++, the first there is.
        force: build even if an up-to-date library exists.

    Returns:
        Path of the library.

    Raises:
        RuntimeError: no compiler, a folder that cannot be written, or a failed compilation.
    """
    target = _host.library_path()
    if target.exists() and not force:
        return target
    command = [*_compiler(compiler), *_host.FLAGS, f"-I{jax.ffi.include_dir()}"]
    try:
        # Built beside the target and moved into place: another process never sees half a file.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            part = Path(folder) / target.name
            command += [str(_host.SOURCE / "assignment.cc"), "-o", str(part)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")
            for stale in target.parent.glob(f"{_host.machine_stem()}-*.so"):
                stale.unlink(missing_ok=True)
            part.rename(target)
    except OSError as error:
        raise RuntimeError(f"cannot write {target}: {error}") from error
    return target


def _compiler(name: str | None) -> list[str]:
    chosen = name or os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not chosen:
        raise RuntimeError("no C++ compiler found: install g++ or clang++, or set CXX")
    command = shlex.split(chosen)
    if not shutil.which(command[0]):
        raise RuntimeError(f"C++ compiler {command[0]!r} not found; set CXX or --compiler")
    return command


def main() -> int:
    """Command line; exit code 2 with one line on failure."""
    parser = argparse.ArgumentParser(
        prog="python -m lsajax.solvers.build_native", description=__doc__
    )
    parser.add_argument("--compiler", help="C++ compiler (default: $CXX, g++ or clang++)")
    parser.add_argument("--force", action="store_true", help="build again even if up to date")
    options = parser.parse_args()
    try:
        path = build(options.compiler, force=options.force)
    except RuntimeError as error:
        print(f"build_native: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

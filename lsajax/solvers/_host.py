"""The C++ kernel, where it has been built: loading it, and calling it as one XLA custom call."""

import ctypes
import functools
import hashlib
import platform
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jaxtyping import Array, Bool, Float

from lsajax.solvers._shortest_path import Raw
from lsajax.solvers.solution import Duals

SOURCE = Path(__file__).parent / "native"
SOURCES = ("lanes.h", "costs.h", "assignment.h", "assignment.cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC", "-shared", "-pthread")
_TARGET = "lsajax_linear_assignment"
_NO_LIMIT = 2**62


def library_path() -> Path:
    """Where the library for this machine, source and jaxlib belongs.

    The name carries a digest of the machine and one of the rest, so a library that is out of date
    or was built on another kind of machine is simply not found.
    """
    source = hashlib.sha256(f"{jaxlib.__version__} {FLAGS}".encode())
    for name in SOURCES:
        source.update((SOURCE / name).read_bytes())
    return SOURCE / f"{machine_stem()}-{source.hexdigest()[:8]}.so"


def machine_stem() -> str:
    """How the names of all libraries built on this kind of machine begin."""
    machine = hashlib.sha256(f"{platform.machine()} {_processor()}".encode())
    return f"assignment-{machine.hexdigest()[:8]}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()


@functools.cache
def available() -> bool:
    """Whether the library is built; the first call loads and registers it."""
    path = library_path()
    if not path.exists():
        return False
    try:
        library = ctypes.cdll.LoadLibrary(str(path))
    except OSError as error:
        warnings.warn(f"{path} does not load, so the pure JAX path is used: {error}", stacklevel=2)
        return False
    handler = jax.ffi.pycapsule(library.LsajaxLinearAssignment)
    jax.ffi.register_ffi_target(_TARGET, handler, platform="cpu")
    return True


def missing() -> str:
    """Why `available` is False."""
    if library_path().exists():
        return f"{library_path()} does not load"
    return "not built, python -m lsajax.solvers.build_native"


def usable() -> bool:
    """Whether the library is built and JAX computes on the CPU."""
    return jax.default_backend() == "cpu" and available()


def solve_host(
    values: Float[Array, "n m"],
    maximize: bool,
    row_mask: Bool[Array, "n"] | None,
    col_mask: Bool[Array, "m"] | None,
    init_duals: Duals | None,
    max_steps: int | None,
) -> Raw:
    """`linear_sum_assignment` by the kernel; under vmap the whole batch goes in one call.

    It holds no interpreter lock and spreads a batch over the cores.
    """
    n, m = values.shape
    dtype = values.dtype
    start = Duals(jnp.zeros(n, dtype), jnp.zeros(m, dtype)) if init_duals is None else init_duals
    call = jax.ffi.ffi_call(
        _TARGET,
        (
            jax.ShapeDtypeStruct((n,), jnp.int32),
            jax.ShapeDtypeStruct((n,), dtype),
            jax.ShapeDtypeStruct((m,), dtype),
            jax.ShapeDtypeStruct((), jnp.int32),
        ),
        vmap_method="broadcast_all",
    )
    assignment, row_dual, column_dual, status = call(
        values,
        jnp.ones(n, bool) if row_mask is None else row_mask,
        jnp.ones(m, bool) if col_mask is None else col_mask,
        *start,
        maximize=bool(maximize),
        warm=init_duals is not None,
        max_scans=np.int64(_NO_LIMIT if max_steps is None else max_steps),
    )
    return Raw(assignment, row_dual, column_dual, status)

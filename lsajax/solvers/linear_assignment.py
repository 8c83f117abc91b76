"""`linear_sum_assignment`: exact assignment under jit and vmap, with a certificate."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from lsajax._numerics import exact_sum
from lsajax.solvers import _host
from lsajax.solvers._shortest_path import Raw, solve_device
from lsajax.solvers.solution import Duals, Solution, Status

METHODS = ("auto", "host", "device")
_LARGE = 400 * 400  # entries from which a missing kernel is worth a warning


def linear_sum_assignment(
    cost_matrix: ArrayLike,
    maximize: bool = False,
    *,
    row_mask: ArrayLike | None = None,
    col_mask: ArrayLike | None = None,
    method: str = "auto",
    init_duals: Duals | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Exact optimum of `sum_i cost_matrix[i, a_i]` with every column used at most once.

    The arguments are SciPy's, and like SciPy's function it minimises by default; the answer is a
    `Solution`. As many pairs are made as rows and columns allow: min(active rows, active columns).
    Works under jit, vmap (of vmap) and grad; the gradient of `value` is the assignment's indicator.

    The problem is solved in the precision in which it is given. NumPy's float64, integers and plain
    lists, which JAX would round to 32 bits, are solved in float64 whatever `jax_enable_x64` is;
    `value` and `duals` are then NumPy arrays of float64. JAX arrays and tracers keep their type,
    half precision is taken as the default float. An argument of a jitted or mapped function is
    rounded to float32 by JAX before this function sees it.

    Args:
        cost_matrix: [n, m] real numbers, any shape from empty on. `+inf` (`-inf` when maximising)
            forbids a pairing.
        maximize: maximise instead.
        row_mask: bool[n], False for a row that takes no part (assignment -1, dual 0).
        col_mask: bool[m], likewise for columns.
        method: `'host'` (C++ kernel, CPU only, built by `python -m
            lsajax.solvers.build_native`), `'device'` (pure JAX, any backend), or `'auto'`:
            the host kernel where it is built and the default backend is the CPU, see
            `assignment_kernel`.
        init_duals: duals of a similar problem (the slot before). Any values give the exact
            optimum; good ones save most of the work.
        max_steps: limit on the search, in rows scanned ('device' counts the hops along
            augmenting paths as well; what a cold search spends to find its start is not
            counted), None for no limit; when it is met the status is `ITERATION_LIMIT` and no row
            is assigned.

    Returns:
        Solution with `assignment` i32[n] (-1: no partner), `value` f[], `status` OPTIMAL,
        INFEASIBLE (the masks allow no such matching, or an active value is NaN or infinite in
        the wrong direction; value inf, -inf when maximising) or ITERATION_LIMIT (value NaN), and
        `duals` with `row[i] + column[j] <= cost_matrix[i, j]` (`>=` when maximising).

    Raises:
        ValueError: for shapes that do not agree, an unknown `method`, integers beyond 2^53, which
            float64 cannot tell apart, or integers of 32 bits and more under jit and vmap, where
            JAX may have wrapped larger ones.

    References:
        Jonker and Volgenant, Computing 38 (1987); Crouse, IEEE Trans. AES 52 (2016).
    """
    cost = as_matrix("cost_matrix", cost_matrix)
    n, m = cost.shape
    with precision_of(cost):
        solution = _solve(
            cost,
            None if row_mask is None else as_mask("row_mask", row_mask, n),
            None if col_mask is None else as_mask("col_mask", col_mask, m),
            _as_duals(init_duals, n, m, cost.dtype),
            bool(maximize),
            _choose(method, n * m),
            max_steps,
        )
    value, duals = readable((solution.value, solution.duals))
    return solution._replace(value=value, duals=duals)


@partial(jax.jit, static_argnums=(4, 5, 6))
def _solve(
    values: Float[Array, "n m"],
    row_mask: Bool[Array, "n"] | None,
    col_mask: Bool[Array, "m"] | None,
    init_duals: Duals | None,
    maximize: bool,
    solver: Callable[..., Raw],
    max_steps: int | None,
) -> Solution:
    fixed = lax.stop_gradient(values)
    raw = solver(fixed, maximize, row_mask, col_mask, init_duals, max_steps)
    value = _total(values, raw.assignment)
    worst = -jnp.inf if maximize else jnp.inf
    value = jnp.where(raw.status == Status.INFEASIBLE, worst, value)
    value = jnp.where(raw.status == Status.ITERATION_LIMIT, jnp.nan, value)
    return Solution(raw.assignment, value, raw.status, Duals(raw.row_dual, raw.column_dual))


def as_matrix(name: str, matrix: ArrayLike) -> Array | np.ndarray:
    """The matrix in float32 or float64, on the host unless it is a JAX array of floats.

    Raises:
        ValueError: not a matrix of real numbers, or integers that floats cannot tell apart.
    """
    try:
        array = matrix if isinstance(matrix, jax.Array) else np.asarray(matrix)
    except ValueError as error:
        raise ValueError(f"{name} must be a matrix [n, m], got rows of unequal length") from error
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; expected [n, m] (use vmap for a batch)")
    if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
        return _as_floats(name, array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} has dtype {array.dtype}; expected real numbers")
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float64 if array.dtype.itemsize > 8 else jnp.result_type(float))


def _as_floats(name: str, integers: Array | np.ndarray) -> Array | np.ndarray:
    if isinstance(integers, jax.core.Tracer):
        default = jnp.result_type(float)
        if default == np.float32 and integers.dtype.itemsize > 2:
            raise ValueError(
                f"{name} is {integers.dtype} under jit or vmap, where JAX wraps integers beyond 32 "
                "bits and float32 rounds those beyond 2^24: convert it to floats first"
            )
        return integers.astype(default)
    return exact_float64(name, integers)


def exact_float64(name: str, array: ArrayLike) -> np.ndarray:
    """A concrete array as float64. Raises ValueError for integers that it would round."""
    host = np.asarray(array)
    integers = np.issubdtype(host.dtype, np.integer)
    if integers and host.size and not -(2**53) <= int(host.min()) <= int(host.max()) <= 2**53:
        raise ValueError(
            f"{name} must lie within -2^53..2^53 where it is integers, got values from "
            f"{host.min()} to {host.max()}, which float64 cannot tell apart"
        )
    return host.astype(np.float64)


def precision_of(array: Array | np.ndarray) -> AbstractContextManager:
    """Where `array` is float64, a context in which JAX computes in float64."""
    return jax.enable_x64(True) if array.dtype == np.float64 else nullcontext()


def readable(tree: Any) -> Any:
    """The same tree, with concrete float64 as NumPy arrays where JAX's default is float32.

    The next operation of JAX would round them.
    """

    def read(x: Array) -> Array | np.ndarray:
        traced = isinstance(x, jax.core.Tracer)
        rounded = x.dtype == np.float64 and jnp.result_type(float) == np.float32
        return np.asarray(x) if rounded and not traced else x

    return jax.tree.map(read, tree)


def as_mask(name: str, mask: ArrayLike, size: int) -> Bool[Array, "size"]:
    """The mask as an array. Raises ValueError unless it is bool[size]."""
    mask = jnp.asarray(mask)
    if mask.shape != (size,) or mask.dtype != bool:
        raise ValueError(f"{name} is {mask.dtype}{list(mask.shape)}; expected bool[{size}]")
    return mask


def _as_duals(duals: Duals | None, n: int, m: int, dtype: jnp.dtype) -> Duals | None:
    if duals is None:
        return None
    row, column = (lax.stop_gradient(jnp.asarray(d, dtype)) for d in duals)
    if row.shape != (n,) or column.shape != (m,):
        shapes = f"row{list(row.shape)}, column{list(column.shape)}"
        raise ValueError(f"init_duals has {shapes}; expected row[{n}], column[{m}]")
    return Duals(row, column)


def assignment_kernel() -> str:
    """What `linear_sum_assignment` runs by default: `'C++ kernel (PATH)'` or `'pure JAX: WHY'`."""
    if jax.default_backend() != "cpu":
        return f"pure JAX: the default backend is {jax.default_backend()}"
    if _host.available():
        return f"C++ kernel ({_host.library_path()})"
    return f"pure JAX: {_host.missing()}"


def _choose(method: str, entries: int) -> Callable[..., Raw]:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "host" and not _host.available():
        raise ValueError(
            f"method is 'host', but there is no C++ kernel ({_host.missing()}); "
            "use 'auto' or 'device'"
        )
    if method == "host" or (method == "auto" and _host.usable()):
        return _host.solve_host
    if method == "auto" and jax.default_backend() == "cpu" and entries >= _LARGE:
        _warn_of_slow_path()
    return _solve_device


@cache
def _warn_of_slow_path() -> None:
    """Once per process."""
    warnings.warn(
        f"linear_sum_assignment runs as {assignment_kernel()}; on large matrices that takes "
        "several times as long as the C++ kernel",
        stacklevel=4,
    )


def _solve_device(
    values: Float[Array, "n m"],
    maximize: bool,
    row_mask: Bool[Array, "n"] | None,
    col_mask: Bool[Array, "m"] | None,
    init_duals: Duals | None,
    max_steps: int | None,
) -> Raw:
    """Brings the problem to minimisation with rows <= columns, and its answer back."""
    n, m = values.shape
    if min(n, m) == 0:
        none = jnp.full(n, -1, jnp.int32)
        zero = partial(jnp.zeros, dtype=values.dtype)
        return Raw(none, zero(n), zero(m), jnp.int32(Status.OPTIMAL))
    sign = -1.0 if maximize else 1.0
    cost = sign * values
    row_dual, column_dual = (None, None) if init_duals is None else init_duals
    if n <= m:
        start = None if column_dual is None else jnp.asarray(sign * column_dual)
        raw = solve_device(cost, row_mask, col_mask, start, max_steps)
        return raw._replace(row_dual=sign * raw.row_dual, column_dual=sign * raw.column_dual)
    start = None if row_dual is None else jnp.asarray(sign * row_dual)
    raw = solve_device(cost.T, col_mask, row_mask, start, max_steps)
    inverse = jnp.full(n, -1, jnp.int32)
    target = jnp.where(raw.assignment < 0, n, raw.assignment)
    inverse = inverse.at[target].set(jnp.arange(m, dtype=jnp.int32), mode="drop")
    return Raw(inverse, sign * raw.column_dual, sign * raw.row_dual, raw.status)


@jax.custom_jvp
def _total(values: Float[Array, "n m"], assignment: Int[Array, "n"]) -> Float[Array, ""]:
    """Sum of the chosen entries, to the last bit or so of the dtype.

    The rule below is the envelope theorem: where the optimum is unique, d value / d values is the
    indicator of the assignment; elsewhere the indicator is a subgradient.
    """
    return exact_sum(chosen(values, assignment))


@_total.defjvp
def _total_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    values, assignment = primals
    return _total(values, assignment), jnp.sum(chosen(tangents[0], assignment))


def chosen(values: Float[Array, "n m"], assignment: Int[Array, "n"]) -> Float[Array, "n"]:
    """values[i, a_i] [n]; 0 where a_i is -1."""
    n, m = values.shape
    if m == 0:
        return jnp.zeros(n, values.dtype)
    picked = values[jnp.arange(n), jnp.maximum(assignment, 0)]
    return jnp.where(assignment >= 0, picked, 0.0)

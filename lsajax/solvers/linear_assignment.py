"""`linear_sum_assignment`: exact assignment under jit and vmap, with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from lsajax._numerics import exact_sum
from lsajax.solvers import _host
from lsajax.solvers._shortest_path import Raw, solve_device
from lsajax.solvers.solution import Duals, Solution, Status

METHODS = ("auto", "host", "device")


def linear_sum_assignment(
    values: Float[Array, "n m"],
    *,
    maximize: bool = True,
    row_mask: Bool[Array, n] | None = None,
    col_mask: Bool[Array, m] | None = None,
    method: str = "auto",
    init_duals: Duals | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Exact optimum of `sum_i values[i, a_i]` with every column used at most once.

    As many pairs are made as rows and columns allow: min(active rows, active columns). Works
    under jit, vmap (of vmap) and grad; the gradient of `value` is the assignment's indicator.

    Args:
        values: f[n, m], any shape from empty on; integers and half precision are taken as the
            default float. `-inf` (`+inf` when minimising) forbids a pairing.
        maximize: maximise (default) or minimise.
        row_mask: bool[n], False for a row that takes no part (assignment -1, dual 0).
        col_mask: bool[m], likewise for columns.
        method: `'host'` (C++ kernel, CPU only, built by `python -m
            lsajax.solvers.build_native`), `'device'` (pure JAX, any backend), or `'auto'`:
            the host kernel where it is built and the default backend is the CPU.
        init_duals: duals of a similar problem (the slot before). Any values give the exact
            optimum; good ones save most of the work.
        max_steps: limit on the search, in rows scanned ('device' counts the hops along
            augmenting paths as well; what a cold search spends to find its start is not
            counted), None for no limit; when it is met the status is `ITERATION_LIMIT` and no row
            is assigned.

    Returns:
        Solution with `assignment` i32[n] (-1: no partner), `value` f[], `status` OPTIMAL,
        INFEASIBLE (the masks allow no such matching, or an active value is NaN or infinite in
        the wrong direction; value -inf, +inf when minimising) or ITERATION_LIMIT (value NaN), and
        `duals` with `row[i] + column[j] >= values[i, j]` (`<=` when minimising).

    Raises:
        ValueError: for shapes that do not agree or an unknown `method`.

    References:
        Jonker and Volgenant, Computing 38 (1987); Crouse, IEEE Trans. AES 52 (2016).
    """
    values = as_matrix(values)
    n, m = values.shape
    row_mask = None if row_mask is None else as_mask("row_mask", row_mask, n)
    col_mask = None if col_mask is None else as_mask("col_mask", col_mask, m)
    init_duals = _as_duals(init_duals, n, m, values.dtype)
    return _solve(
        values, row_mask, col_mask, init_duals, bool(maximize), _choose(method), max_steps
    )


@partial(jax.jit, static_argnums=(4, 5, 6))
def _solve(
    values: Float[Array, "n m"],
    row_mask: Bool[Array, n] | None,
    col_mask: Bool[Array, m] | None,
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


def as_matrix(values: ArrayLike) -> Float[Array, "n m"]:
    """The matrix in float32 or float64. Raises ValueError unless it is real and 2-D."""
    values = jnp.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"values has shape {values.shape}; expected [n, m] (use vmap for a batch)")
    if jnp.issubdtype(values.dtype, jnp.complexfloating):
        raise ValueError(f"values has dtype {values.dtype}; expected real numbers")
    if values.dtype not in (jnp.float32, jnp.float64):
        values = values.astype(jnp.result_type(float))
    return values


def as_mask(name: str, mask: ArrayLike, size: int) -> Bool[Array, size]:
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


def _choose(method: str) -> Callable[..., Raw]:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "host" and not _host.available():
        raise ValueError(f"method is 'host', but {_host.missing()}; use 'auto' or 'device'")
    if method == "host" or (method == "auto" and _host.usable()):
        return _host.solve_host
    return _solve_device


def _solve_device(
    values: Float[Array, "n m"],
    maximize: bool,
    row_mask: Bool[Array, n] | None,
    col_mask: Bool[Array, m] | None,
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
        start = None if column_dual is None else sign * column_dual
        raw = solve_device(cost, row_mask, col_mask, start, max_steps)
        return raw._replace(row_dual=sign * raw.row_dual, column_dual=sign * raw.column_dual)
    start = None if row_dual is None else sign * row_dual
    raw = solve_device(cost.T, col_mask, row_mask, start, max_steps)
    inverse = jnp.full(n, -1, jnp.int32)
    target = jnp.where(raw.assignment < 0, n, raw.assignment)
    inverse = inverse.at[target].set(jnp.arange(m, dtype=jnp.int32), mode="drop")
    return Raw(inverse, sign * raw.column_dual, sign * raw.row_dual, raw.status)


@jax.custom_jvp
def _total(values: Float[Array, "n m"], assignment: Int[Array, n]) -> Float[Array, ""]:
    """Sum of the chosen entries, to the last bit or so of the dtype.

    The rule below is the envelope theorem: where the optimum is unique, d value / d values is the
    indicator of the assignment; elsewhere the indicator is a subgradient.
    """
    return exact_sum(chosen(values, assignment))


@_total.defjvp
def _total_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    values, assignment = primals
    return _total(values, assignment), jnp.sum(chosen(tangents[0], assignment))


def chosen(values: Float[Array, "n m"], assignment: Int[Array, n]) -> Float[Array, n]:
    """values[i, a_i] [n]; 0 where a_i is -1."""
    n, m = values.shape
    if m == 0:
        return jnp.zeros(n, values.dtype)
    picked = values[jnp.arange(n), jnp.maximum(assignment, 0)]
    return jnp.where(assignment >= 0, picked, 0.0)

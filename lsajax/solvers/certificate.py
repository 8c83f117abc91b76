"""Checking that an assignment is optimal, from its duals alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from lsajax._numerics import exact_sum
from lsajax.solvers.linear_assignment import as_mask, as_matrix, chosen, precision_of, readable
from lsajax.solvers.solution import Duals, Solution


def certify(
    cost_matrix: ArrayLike,
    solution: Solution,
    maximize: bool = False,
    *,
    row_mask: ArrayLike | None = None,
    col_mask: ArrayLike | None = None,
) -> Float[Array | np.ndarray, ""]:
    """Upper bound on how far `solution.assignment` is from the optimum, by weak duality.

    Nothing of the solver is trusted. The duals of the longer side are clipped to their sign, those
    of the shorter side are recomputed as the smallest feasible ones (the c-transform), so the dual
    objective is a bound whatever came in. The difference is summed as non-negative slacks, which
    keeps its precision where the two objectives agree in nearly all digits.

    Args:
        cost_matrix: the problem, as given to `linear_sum_assignment`; likewise `maximize` and the
            masks. For a solver of instances it is `value_matrix(inst)` with `maximize=True`,
            `row_mask=inst.user_mask` and `col_mask=~inst.occupied`.
        solution: its assignment and duals are read; value and status are not.
        maximize: whether the problem is a maximisation.
        row_mask: bool[n].
        col_mask: bool[m].

    Returns:
        f[] in the unit of `cost_matrix`: 0 for a proven optimum (up to rounding of the values),
        `inf` where the assignment is not a matching of full size over permitted pairings, or
        where there are no duals. A NumPy float64 where the problem is one.

    Raises:
        ValueError: what `linear_sum_assignment` raises for these arguments.
    """
    cost = as_matrix("cost_matrix", cost_matrix)
    n, m = cost.shape
    assignment = solution.assignment
    if not isinstance(assignment, jax.Array):
        # On the host first: JAX would wrap integers beyond 32 bits.
        assignment = np.clip(np.asarray(assignment), -1, m).astype(np.int32)
    with precision_of(cost):
        row_on = as_mask("row_mask", np.ones(n, bool) if row_mask is None else row_mask, n)
        col_on = as_mask("col_mask", np.ones(m, bool) if col_mask is None else col_mask, m)
        gap = _gap(cost, assignment, solution.duals, row_on, col_on, bool(maximize))
    return readable(gap)


@partial(jax.jit, static_argnames="maximize")
def _gap(
    values: Float[Array, "n m"],
    assignment: Int[Array, "n"],
    duals: Duals | None,
    row_on: Bool[Array, "n"],
    col_on: Bool[Array, "m"],
    maximize: bool,
) -> Float[Array, ""]:
    n, m = values.shape
    if duals is None:
        return jnp.full((), jnp.inf, values.dtype)
    sign = 1.0 if maximize else -1.0
    gain = jnp.where(row_on[:, None] & col_on, sign * values, -jnp.inf)
    row, column = (jnp.asarray(sign * dual, values.dtype) for dual in duals)
    valid = _is_full_matching(gain, assignment, row_on, col_on)
    if min(n, m) == 0:
        return jnp.where(valid, 0.0, jnp.inf).astype(values.dtype)
    partner = jnp.full(m, -1, jnp.int32)
    partner = partner.at[jnp.where(assignment < 0, m, assignment)].set(
        jnp.arange(n, dtype=jnp.int32), mode="drop"
    )
    rows, cols = row_on.sum(), col_on.sum()
    wide = _slack(gain, column, assignment, row_on, col_on, rows < cols)
    tall = _slack(gain.T, row, partner, col_on, row_on, cols < rows)
    return jnp.where(valid, jnp.where(rows <= cols, wide, tall), jnp.inf)


def _is_full_matching(
    gain: Float[Array, "n m"],
    assignment: Int[Array, "n"],
    row_on: Bool[Array, "n"],
    col_on: Bool[Array, "m"],
) -> Bool[Array, ""]:
    """Permitted pairings only, no column twice, as many pairs as the active sides allow."""
    m = gain.shape[1]
    served = assignment >= 0
    uses = jnp.zeros(m, jnp.int32).at[jnp.where(served, assignment, m)].add(1, mode="drop")
    permitted = jnp.all(jnp.isfinite(chosen(gain, assignment))) & jnp.all(assignment < m)
    size = jnp.minimum(row_on.sum(), col_on.sum())
    return permitted & jnp.all(uses <= 1) & (served.sum() == size)


def _slack(
    gain: Float[Array, "n m"],
    column: Float[Array, "m"],
    assignment: Int[Array, "n"],
    row_on: Bool[Array, "n"],
    col_on: Bool[Array, "m"],
    idle: Bool[Array, ""],
) -> Float[Array, ""]:
    """sum_i (f_i + g_{a_i} - gain_{i a_i}) + sum over idle columns of g, where f_i is feasible."""
    column = jnp.where(idle, jnp.maximum(column, 0.0), column)
    reduced = jnp.where(col_on, gain - column, -jnp.inf)
    row = jnp.max(reduced, axis=1)
    slack = jnp.where(row_on & (assignment >= 0), row - chosen(reduced, assignment), 0.0)
    m = gain.shape[1]
    used = jnp.zeros(m, bool).at[jnp.where(assignment < 0, m, assignment)].set(True, mode="drop")
    return exact_sum(slack) + exact_sum(jnp.where(col_on & ~used, column, 0.0))

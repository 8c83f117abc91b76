"""A batch of assignment problems solved and checked against SciPy in float64."""

import functools

import jax
import numpy as np
import scipy.optimize

from lsajax import solvers


@functools.cache
def _solver(method, maximize=True, masked=False, warm=False):
    """Jitted: a batch of problems -> (solutions, gaps)."""

    def solve(values, row_mask, col_mask, duals):
        masks = {"row_mask": row_mask, "col_mask": col_mask} if masked else {}
        solution = solvers.linear_sum_assignment(
            values,
            maximize=maximize,
            method=method,
            init_duals=duals if warm else None,
            **masks,
        )
        return solution, solvers.certify(values, solution, maximize=maximize, **masks)

    return jax.jit(jax.vmap(solve))


def run(values, method, maximize=True, row_mask=None, col_mask=None, duals=None):
    batch, n, m = values.shape
    masked = row_mask is not None
    if not masked:
        row_mask, col_mask = np.ones((batch, n), bool), np.ones((batch, m), bool)
    warm = duals is not None
    if not warm:
        duals = solvers.Duals(
            np.zeros((batch, n), values.dtype), np.zeros((batch, m), values.dtype)
        )
    return _solver(method, maximize, masked, warm)(values, row_mask, col_mask, duals)


def oracle(values, maximize, row_mask, col_mask):
    """Optimal value in float64; None where the masks allow no matching of full size."""
    part = values[np.ix_(row_mask, col_mask)].astype(np.float64)
    if part.size == 0:
        return 0.0
    try:
        pairs = scipy.optimize.linear_sum_assignment(part, maximize=maximize)
    except ValueError:
        return None
    return part[pairs].sum()


def check(values, solution, gap, maximize=True, row_mask=None, col_mask=None):
    """One problem of a batch: value, matching, duals, status."""
    n, m = values.shape
    row_mask = np.ones(n, bool) if row_mask is None else row_mask
    col_mask = np.ones(m, bool) if col_mask is None else col_mask
    expected = oracle(values, maximize, row_mask, col_mask)
    assignment = np.asarray(solution.assignment)
    assert assignment.shape == (n,) and assignment.dtype == np.int32
    if expected is None:
        assert solution.status == solvers.Status.INFEASIBLE
        assert (assignment == -1).all()
        assert solution.value == (-np.inf if maximize else np.inf)
        assert gap == np.inf
        return
    assert solution.status == solvers.Status.OPTIMAL
    served = assignment >= 0
    assert served.sum() == min(row_mask.sum(), col_mask.sum())
    assert (row_mask[served]).all() and (col_mask[assignment[served]]).all()
    assert len(np.unique(assignment[served])) == served.sum()
    chosen = values[served, assignment[served]].astype(np.float64)
    finite = np.abs(values[np.isfinite(values)])
    size = finite.max(initial=0.0) * max(1, served.sum())
    tolerance = 8 * np.finfo(values.dtype).eps * size + 1e-300
    assert abs(chosen.sum() - expected) <= tolerance
    assert abs(np.float64(solution.value) - chosen.sum()) <= tolerance
    assert 0 <= gap <= tolerance
    _check_weak_duality(values, solution.duals, expected, tolerance, maximize, row_mask, col_mask)


def _check_weak_duality(values, duals, expected, tolerance, maximize, row_mask, col_mask):
    """In float64 and independently of `certify`: feasible duals whose value bounds the optimum."""
    sign = 1.0 if maximize else -1.0
    row, column = (sign * np.asarray(dual, np.float64) for dual in duals)
    slack = (row[:, None] + column - sign * values)[np.ix_(row_mask, col_mask)]
    assert (slack >= -tolerance).all()
    if row_mask.sum() < col_mask.sum():
        assert (column[col_mask] >= -tolerance).all()
    if col_mask.sum() < row_mask.sum():
        assert (row[row_mask] >= -tolerance).all()
    total = row[row_mask].sum() + column[col_mask].sum()
    if row_mask.any() and col_mask.any():
        assert total >= sign * expected - len(row) * tolerance
        assert total <= sign * expected + len(row) * tolerance

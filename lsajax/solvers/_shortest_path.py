"""Exact linear assignment in pure JAX: what comes before and after the search of `_path_search`.

References:
    R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
    assignment problems", Computing 38 (1987). D. F. Crouse, "On implementing 2D rectangular
    assignment algorithms", IEEE Trans. AES 52 (2016).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lsajax.solvers._path_search import FREE, Problem, State, insert_rows, settle_idle_columns
from lsajax.solvers.solution import Status

_INT_MAX = 2**31 - 1
_LARGEST_START = 4.0  # duals, where costs lie between 0 and 2
_SAMPLE_SHARE, _SMALLEST_SAMPLE, _LARGEST_SAMPLE = 3, 6, 200


class Raw(NamedTuple):
    """A `Solution` but for its value.

    Attributes:
        assignment: column of each row, -1 for none.
        row_dual: of each row.
        column_dual: of each column.
        status: a `Status`.
    """

    assignment: Int[Array, "n"]
    row_dual: Float[Array, "n"]
    column_dual: Float[Array, "m"]
    status: Int[Array, ""]


def solve_device(
    cost: Float[Array, "n m"],
    row_mask: Bool[Array, "n"] | None,
    col_mask: Bool[Array, "m"] | None,
    init_dual: Float[Array, "m"] | None,
    max_steps: int | None,
) -> Raw:
    """Minimum-cost assignment of every active row, n <= m (see `linear_sum_assignment`).

    Args:
        cost: f[n, m], `inf` where a pairing is forbidden.
        row_mask: bool[n], False where a row does not take part.
        col_mask: bool[m], likewise for columns.
        init_dual: f[m] column duals to start from; the closer to optimal, the fewer steps.
        max_steps: limit on loop iterations (None: the worst case, which is never reached).
    """
    n, m = cost.shape
    problem = _prepare(cost, row_mask, col_mask)
    sampled = init_dual is None and n == m and n // _SAMPLE_SHARE >= _SMALLEST_SAMPLE
    if sampled:
        dual = _sample_duals(problem)
    elif init_dual is None:
        dual = jnp.zeros(m, cost.dtype)
    else:
        dual = jnp.where(problem.col_real, init_dual, 0.0) * problem.scale
        # Any start will do; one far above the costs would swallow them.
        dual = jnp.where(jnp.isfinite(dual), jnp.clip(dual, -_LARGEST_START, _LARGEST_START), 0.0)
    limit = min(_INT_MAX, (n + m) * (2 * m + 2) if max_steps is None else max_steps)
    state, waiting = _first_matching(problem, dual)
    state = insert_rows(problem, state, waiting, limit)
    may_idle = n < m or row_mask is not None or col_mask is not None
    stopped = state.start < n
    if (init_dual is not None or sampled) and may_idle:
        state = settle_idle_columns(problem, state, limit)
        stopped |= jnp.any(state.row4col == FREE) | state.hopping
    return _finish(problem, state, stopped)


def _prepare(
    cost: Float[Array, "n m"],
    row_mask: Bool[Array, "n"] | None,
    col_mask: Bool[Array, "m"] | None,
) -> Problem:
    n, m = cost.shape
    row_on = jnp.ones(n, bool) if row_mask is None else row_mask
    col_real = jnp.ones(m, bool) if col_mask is None else col_mask
    col_on = col_real
    if row_mask is not None or col_mask is not None:
        # More active rows than columns: as many masked columns as needed become dummy columns of
        # cost 0, so that every active row can be matched and every real column is used.
        lacking = row_on.sum() - col_real.sum()
        dummy = ~col_real & (jnp.cumsum(~col_real) <= lacking)
        col_on = col_real | dummy
        cost = jnp.where(col_real, cost, jnp.where(dummy, 0.0, jnp.inf))
        cost = jnp.where(row_on[:, None], cost, jnp.inf)
    bad = jnp.any(jnp.isnan(cost) | (cost == -jnp.inf))
    usable = jnp.isfinite(cost)
    # Powers of two near 1 / max|cost|: differences of huge costs must not overflow.
    most = jnp.finfo(cost.dtype).maxexp - 2
    _, exponent = jnp.frexp(jnp.max(jnp.where(usable, jnp.abs(cost), 0.0), initial=0.0))
    scale = jnp.ldexp(jnp.ones((), cost.dtype), jnp.clip(-exponent, -most, most))
    cost = cost * scale
    shift = jnp.min(cost, axis=1, where=usable, initial=jnp.inf)
    shift = jnp.where(jnp.isfinite(shift), shift, 0.0)
    cost = jnp.where(usable, cost - shift[:, None], jnp.inf)
    return Problem(cost, shift, scale, row_on, col_on, col_real, bad)


def _sample_duals(p: Problem) -> Float[Array, "m"]:
    """Duals of a random square sample, extended to all columns: min_i (cost_ij - u_i).

    Most searches then end near where they begin. Nothing depends on the sample but the speed.
    """
    n = p.cost.shape[0]
    size = min(n // _SAMPLE_SHARE, _LARGEST_SAMPLE)
    draw = np.random.default_rng(n)
    rows, cols = (np.sort(draw.choice(n, size, replace=False)) for _ in range(2))
    some_rows = p.cost[rows]
    cold = jnp.zeros(size, p.cost.dtype)  # not sampled again: each level is a loop to compile
    coarse = solve_device(some_rows[:, cols], None, None, cold, None)
    dual = jnp.min(some_rows - coarse.row_dual[:, None], axis=0)
    usable = (coarse.status == Status.OPTIMAL) & p.col_real & jnp.isfinite(dual)
    return jnp.where(usable, dual, 0.0)


def _first_matching(p: Problem, dual: Float[Array, "m"]) -> tuple[State, Bool[Array, "n"]]:
    """Each row asks for its cheapest column at these duals; the first row to ask gets it.

    Returns the state and which active rows are still without a column.
    """
    n, m = p.cost.shape
    rows = jnp.arange(n, dtype=jnp.int32)
    reduced = p.cost - dual
    wish = jnp.argmin(reduced, axis=1).astype(jnp.int32)
    asks = p.row_on & jnp.isfinite(jnp.min(reduced, axis=1))
    owner = jnp.full(m, n, jnp.int32).at[wish].min(jnp.where(asks, rows, n))
    waiting = p.row_on & ~(asks & (owner[wish] == rows))
    # Columns that take no part get an owner that does not exist (n + 1): never free, never scanned.
    row4col = jnp.where(owner == n, jnp.where(p.col_on, FREE, n + 1), owner)
    state = State(
        start=jnp.int32(0),
        inserted=jnp.int32(0),
        row=jnp.int32(0),
        col=jnp.int32(FREE),
        hopping=jnp.zeros((), bool),
        reach=jnp.zeros((), p.cost.dtype),
        open_at=jnp.full(m, jnp.inf, p.cost.dtype),
        settled_at=jnp.full(m, jnp.inf, p.cost.dtype),
        before=jnp.full(m, FREE, jnp.int32),
        dual=dual,
        row4col=row4col.astype(jnp.int32),
        steps=jnp.int32(0),
        failed=p.bad,
    )
    return state, waiting


def _finish(p: Problem, s: State, stopped: Bool[Array, ""]) -> Raw:
    n, m = p.cost.shape
    top = jnp.max(jnp.where(p.col_on, s.dual, -jnp.inf), initial=-jnp.inf)
    matched = jnp.any(p.row_on) & (s.row4col >= 0) & (s.row4col < n)
    idle = p.col_on & ~matched
    # Idle columns, or else the dummy columns, have dual 0; the rows take the difference.
    dummy = p.col_on & ~p.col_real
    anchor = jnp.max(jnp.where(dummy, s.dual, -jnp.inf), initial=-jnp.inf)
    offset = jnp.where(jnp.any(idle), top, jnp.where(jnp.any(dummy), anchor, 0.0))
    dual = jnp.where(p.col_on & ~idle & ~dummy, s.dual - offset, 0.0)
    # The row duals that are feasible in this arithmetic, whatever was rounded on the way.
    row_dual = jnp.min(jnp.where(p.col_on, p.cost - dual, jnp.inf), axis=1, initial=jnp.inf)
    row_dual = jnp.where(p.row_on & jnp.isfinite(row_dual), row_dual + p.shift, 0.0)
    status = jnp.where(stopped, Status.ITERATION_LIMIT, Status.OPTIMAL)
    status = jnp.where(s.failed, Status.INFEASIBLE, status).astype(jnp.int32)
    solved = status == Status.OPTIMAL
    owner = jnp.where(matched & p.col_real & solved, s.row4col, n)
    assignment = jnp.full(n, FREE, jnp.int32)
    return Raw(
        assignment.at[owner].set(jnp.arange(m, dtype=jnp.int32), mode="drop"),
        jnp.where(solved, row_dual / p.scale, 0.0),
        jnp.where(solved, dual / p.scale, 0.0),
        status,
    )

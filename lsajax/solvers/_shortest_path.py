"""Exact linear assignment in pure JAX: shortest augmenting paths as one flat loop.

The textbook method nests three loops (rows, Dijkstra steps, hops of the augmenting path). Under
vmap a nested loop makes every lane wait for the slowest lane at each level. Here one iteration of
one `while_loop` is either a Dijkstra step or a hop, and each lane is at its own place; lanes wait
for each other only once, at the end.

References:
    R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
    assignment problems", Computing 38 (1987). D. F. Crouse, "On implementing 2D rectangular
    assignment algorithms", IEEE Trans. AES 52 (2016).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lsajax.solvers.solution import Status

_FREE = -1  # a column without an owner, a row without a column
_INT_MAX = 2**31 - 1
_SAMPLE_SHARE, _SMALLEST_SAMPLE, _LARGEST_SAMPLE = 3, 6, 200


class Raw(NamedTuple):
    """Result for a minimisation with rows <= columns."""

    assignment: Int[Array, " n"]
    row_dual: Float[Array, " n"]
    column_dual: Float[Array, " m"]
    status: Int[Array, ""]


class _Problem(NamedTuple):
    """Scaled costs, every row shifted to a minimum of 0; `inf` marks a forbidden pairing."""

    cost: Float[Array, "n m"]
    shift: Float[Array, " n"]  # what was subtracted from each row
    scale: Float[Array, ""]  # a power of two, so that scaling is exact
    row_on: Bool[Array, " n"]
    col_on: Bool[Array, " m"]  # columns the search may use (real ones and stand-ins)
    col_real: Bool[Array, " m"]
    bad: Bool[Array, ""]  # NaN or an infinity of the wrong sign


class _State(NamedTuple):
    start: Int[Array, ""]  # row that is being inserted; n = none left, or the idle row
    inserted: Int[Array, ""]  # how many rows of the queue are done
    row: Int[Array, ""]  # row whose costs are scanned next
    col: Int[Array, ""]  # scanning: the column that led to `row`; hopping: the column to reassign
    hopping: Bool[Array, ""]
    reach: Float[Array, ""]  # length of the shortest path to `row`
    dist: Float[Array, " m"]
    pred: Int[Array, " m"]  # row before each column on its shortest path
    done: Bool[Array, " m"]
    dual: Float[Array, " m"]
    row4col: Int[Array, " m"]
    col4row: Int[Array, " n"]
    steps: Int[Array, ""]
    failed: Bool[Array, ""]


def solve_device(
    cost: Float[Array, "n m"],
    row_mask: Bool[Array, " n"] | None,
    col_mask: Bool[Array, " m"] | None,
    init_dual: Float[Array, " m"] | None,
    max_steps: int | None,
) -> Raw:
    """Minimum-cost assignment of every active row, n <= m (see `linear_sum_assignment`).

    Args:
        cost: f[n, m], `inf` where a pairing is forbidden.
        row_mask, col_mask: bool, False where a row or a column does not take part.
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
        dual = jnp.where(problem.col_real & jnp.isfinite(init_dual), init_dual, 0.0)
        dual = dual * problem.scale
    limit = min(_INT_MAX, (n + m) * (2 * m + 2)) if max_steps is None else max_steps
    state = _insert_rows(problem, _first_matching(problem, dual), limit)
    may_idle = n < m or row_mask is not None or col_mask is not None
    settle = (init_dual is not None or sampled) and may_idle
    if settle:
        state = _settle_idle_columns(problem, state, limit)
    return _finish(problem, state, settle)


def _prepare(
    cost: Float[Array, "n m"],
    row_mask: Bool[Array, " n"] | None,
    col_mask: Bool[Array, " m"] | None,
) -> _Problem:
    n, m = cost.shape
    row_on = jnp.ones(n, bool) if row_mask is None else row_mask
    col_real = jnp.ones(m, bool) if col_mask is None else col_mask
    col_on = col_real
    if row_mask is not None or col_mask is not None:
        # More active rows than columns: as many masked columns as needed stand in at cost 0, so
        # that every active row can be matched and every real column is used.
        lacking = row_on.sum() - col_real.sum()
        stand_in = ~col_real & (jnp.cumsum(~col_real) <= lacking)
        col_on = col_real | stand_in
        cost = jnp.where(col_real, cost, jnp.where(stand_in, 0.0, jnp.inf))
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
    return _Problem(cost, shift, scale, row_on, col_on, col_real, bad)


def _sample_duals(p: _Problem) -> Float[Array, " m"]:
    """Duals of a random square sample, extended to all columns: min_i (cost_ij - u_i).

    Most searches then end near where they begin. Nothing depends on the sample but the speed.
    """
    n = p.cost.shape[0]
    size = min(n // _SAMPLE_SHARE, _LARGEST_SAMPLE)
    draw = np.random.default_rng(n)
    rows, cols = (np.sort(draw.choice(n, size, replace=False)) for _ in range(2))
    some_rows = p.cost[rows]
    coarse = solve_device(some_rows[:, cols], None, None, None, None)
    dual = jnp.min(some_rows - coarse.row_dual[:, None], axis=0)
    usable = (coarse.status == Status.OPTIMAL) & p.col_real & jnp.isfinite(dual)
    return jnp.where(usable, dual, 0.0)


def _first_matching(p: _Problem, dual: Float[Array, " m"]) -> _State:
    """Each row asks for its cheapest column at these duals; the first row to ask gets it."""
    n, m = p.cost.shape
    rows = jnp.arange(n, dtype=jnp.int32)
    reduced = p.cost - dual
    wish = jnp.argmin(reduced, axis=1).astype(jnp.int32)
    asks = p.row_on & jnp.isfinite(jnp.min(reduced, axis=1))
    owner = jnp.full(m, n, jnp.int32).at[wish].min(jnp.where(asks, rows, n))
    col4row = jnp.where(asks & (owner[wish] == rows), wish, _FREE)
    # Columns that take no part are given away to nobody (n + 1): never free, never scanned.
    row4col = jnp.where(owner == n, jnp.where(p.col_on, _FREE, n + 1), owner)
    return _State(
        start=jnp.int32(0),
        inserted=jnp.int32(0),
        row=jnp.int32(0),
        col=jnp.int32(_FREE),
        hopping=jnp.zeros((), bool),
        reach=jnp.zeros((), p.cost.dtype),
        dist=jnp.full(m, jnp.inf, p.cost.dtype),
        pred=jnp.zeros(m, jnp.int32),
        done=jnp.zeros(m, bool),
        dual=dual,
        row4col=row4col.astype(jnp.int32),
        col4row=col4row.astype(jnp.int32),
        steps=jnp.int32(0),
        failed=p.bad,
    )


def _queue(p: _Problem, col4row: Int[Array, " n"]) -> Int[Array, " n+1"]:
    """Active rows without a column, in order, then n. A row that has a column keeps having one."""
    n = col4row.shape[0]
    (rows,) = jnp.nonzero((col4row < 0) & p.row_on, size=n, fill_value=n)
    return jnp.append(rows, n).astype(jnp.int32)


def _insert_rows(p: _Problem, state: _State, limit: int) -> _State:
    n = p.cost.shape[0]
    queue = _queue(p, state.col4row)

    def body(s: _State) -> _State:
        row_cost = lax.dynamic_index_in_dim(p.cost, s.row, 0, keepdims=False)
        at_col = row_cost[s.col] - s.dual[s.col]
        s, hit = _dijkstra_step(s, row_cost, jnp.where(s.col < 0, 0.0, at_col))
        s, finished = _hop(s, hit)
        s = s._replace(inserted=s.inserted + finished)
        return _restart(s, finished, queue[s.inserted])

    state = state._replace(start=queue[0], row=queue[0])
    return lax.while_loop(
        lambda s: (s.start < n) & ~s.failed & (s.steps < limit),
        body,
        state,
    )


def _settle_idle_columns(p: _Problem, state: _State, limit: int) -> _State:
    """Optimality of the columns left over, after a start from given duals.

    With fewer rows than columns the idle columns need equal duals, the highest of all; duals that
    came from elsewhere need not have that. It is the square problem with one row of cost 0 for
    each idle column: those rows are alike and own the columns of the highest dual from the
    beginning, so only columns below that are inserted, by the same search from the idle row n.
    """
    n = p.cost.shape[0]
    top = jnp.max(jnp.where(p.col_on, state.dual, -jnp.inf), initial=-jnp.inf)
    settled = (state.row4col == _FREE) & (state.dual >= top)
    row4col = jnp.where(settled, n, state.row4col)
    state = _start_idle(state._replace(row4col=row4col), jnp.ones((), bool))

    def body(s: _State) -> _State:
        idle = s.row == n
        row_cost = lax.dynamic_index_in_dim(p.cost, s.row, 0, keepdims=False)
        row_cost = jnp.where(idle, 0.0, row_cost)
        highest = jnp.max(jnp.where(p.col_on, s.dual, -jnp.inf))
        at_col = jnp.where(idle, -highest, row_cost[s.col] - s.dual[s.col])
        s, hit = _dijkstra_step(s, jnp.where(p.col_on, row_cost, jnp.inf), at_col)
        s, finished = _hop(s, hit)
        return _start_idle(s, finished)

    return lax.while_loop(
        lambda s: (jnp.any(s.row4col == _FREE) | s.hopping) & ~s.failed & (s.steps < limit),
        body,
        state,
    )


def _start_idle(s: _State, when: Bool[Array, ""]) -> _State:
    n = s.col4row.shape[0]
    s = _restart(s, when, jnp.int32(n))
    owned = when & (s.row4col == n)
    return s._replace(dist=jnp.where(owned, 0.0, s.dist), done=s.done | owned)


def _dijkstra_step(
    s: _State, row_cost: Float[Array, " m"], at_col: Float[Array, ""]
) -> tuple[_State, Bool[Array, ""]]:
    """Scans one row and settles the nearest column; True when that column is free."""
    m = s.dist.shape[0]
    cols = jnp.arange(m, dtype=jnp.int32)
    through = row_cost - s.dual - (at_col - s.reach)
    better = (through < s.dist) & ~s.done & ~s.hopping
    dist = jnp.where(better, through, s.dist)
    pred = jnp.where(better, s.row, s.pred)
    open_dist = jnp.where(s.done, jnp.inf, dist)
    nearest = jnp.min(open_dist)
    # Two plain reductions: XLA's argmin on a CPU is a scalar loop.
    col = jnp.min(jnp.where(open_dist == nearest, cols, m - 1))
    scanning = ~s.hopping
    col = jnp.where(scanning, col, s.col)
    owner = s.row4col[col]
    hit = scanning & (owner < 0)
    dual = jnp.where(hit & s.done, s.dual + dist - nearest, s.dual)
    s = s._replace(
        row=jnp.where(scanning & ~hit, owner, s.row),
        col=col,
        reach=jnp.where(scanning, nearest, s.reach),
        dist=dist,
        pred=pred,
        done=s.done | ((cols == col) & scanning),
        dual=dual,
        steps=s.steps + 1,
        failed=s.failed | (scanning & ~jnp.isfinite(nearest)),
    )
    return s, hit


def _hop(s: _State, hit: Bool[Array, ""]) -> tuple[_State, Bool[Array, ""]]:
    """Gives column `s.col` to its predecessor row, when a path has been found."""
    n, m = s.col4row.shape[0], s.row4col.shape[0]
    active = (hit | s.hopping) & ~s.failed
    row = s.pred[s.col]
    previous = s.col4row[jnp.minimum(row, n - 1)]
    row4col = jnp.where(active & (jnp.arange(m) == s.col), row, s.row4col)
    col4row = jnp.where(active & (jnp.arange(n) == row), s.col, s.col4row)
    finished = active & (row == s.start)
    s = s._replace(
        col=jnp.where(active, previous, s.col),
        hopping=active & ~finished,
        row4col=row4col,
        col4row=col4row,
    )
    return s, finished


def _restart(s: _State, when: Bool[Array, ""], start: Int[Array, ""]) -> _State:
    """Begins the search for the row `start` where `when` holds."""
    return s._replace(
        start=jnp.where(when, start, s.start),
        row=jnp.where(when, start, s.row),
        col=jnp.where(when, _FREE, s.col),
        reach=jnp.where(when, 0.0, s.reach),
        dist=jnp.where(when, jnp.inf, s.dist),
        done=s.done & ~when,
        hopping=s.hopping & ~when,
    )


def _finish(p: _Problem, s: _State, settle: bool) -> Raw:
    n = p.cost.shape[0]
    top = jnp.max(jnp.where(p.col_on, s.dual, -jnp.inf), initial=-jnp.inf)
    matched = jnp.any(p.row_on) & (s.row4col >= 0) & (s.row4col < n)
    idle = p.col_on & ~matched
    # Idle columns, or else the stand-ins, have dual 0; the rows take the difference.
    stand_in = p.col_on & ~p.col_real
    anchor = jnp.max(jnp.where(stand_in, s.dual, -jnp.inf), initial=-jnp.inf)
    offset = jnp.where(jnp.any(idle), top, jnp.where(jnp.any(stand_in), anchor, 0.0))
    dual = jnp.where(p.col_on & ~idle & ~stand_in, s.dual - offset, 0.0)
    # The row duals that are feasible in this arithmetic, whatever was rounded on the way.
    row_dual = jnp.min(jnp.where(p.col_on, p.cost - dual, jnp.inf), axis=1, initial=jnp.inf)
    row_dual = jnp.where(p.row_on & jnp.isfinite(row_dual), row_dual + p.shift, 0.0)
    stopped = s.start < n
    if settle:
        stopped |= jnp.any(s.row4col == _FREE) | s.hopping
    status = jnp.where(stopped, Status.ITERATION_LIMIT, Status.OPTIMAL)
    status = jnp.where(s.failed, Status.INFEASIBLE, status).astype(jnp.int32)
    solved = status == Status.OPTIMAL
    real = p.col_real[jnp.maximum(s.col4row, 0)] & (s.col4row >= 0)
    return Raw(
        jnp.where(solved & real, s.col4row, _FREE),
        jnp.where(solved, row_dual / p.scale, 0.0),
        jnp.where(solved, dual / p.scale, 0.0),
        status,
    )

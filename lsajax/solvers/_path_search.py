"""The search of the pure JAX path: shortest augmenting paths as one flat loop.

The textbook method nests three loops (rows, Dijkstra steps, hops of the augmenting path). Under
vmap a nested loop makes every lane wait for the slowest lane at each level. Here one iteration of
one `while_loop` is either a Dijkstra step or a hop, and each lane is at its own place; lanes wait
for each other only once, at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

FREE = -1  # a column without an owner, a row without a column


class Problem(NamedTuple):
    """Scaled costs, every row shifted to a minimum of 0; `inf` marks a forbidden pairing."""

    cost: Float[Array, "n m"]
    shift: Float[Array, " n"]  # what was subtracted from each row
    scale: Float[Array, ""]  # a power of two, so that scaling is exact
    row_on: Bool[Array, " n"]
    col_on: Bool[Array, " m"]  # columns the search may use (real ones and stand-ins)
    col_real: Bool[Array, " m"]
    bad: Bool[Array, ""]  # NaN or an infinity of the wrong sign


class State(NamedTuple):
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


def _queue(p: Problem, col4row: Int[Array, " n"]) -> Int[Array, " n+1"]:
    """Active rows without a column, in order, then n. A row that has a column keeps having one."""
    n = col4row.shape[0]
    (rows,) = jnp.nonzero((col4row < 0) & p.row_on, size=n, fill_value=n)
    return jnp.append(rows, n).astype(jnp.int32)


def insert_rows(p: Problem, state: State, limit: int) -> State:
    """Augments once for every active row without a column, in at most `limit` iterations."""
    n = p.cost.shape[0]
    queue = _queue(p, state.col4row)

    def body(s: State) -> State:
        # Under vmap a gather with an index per lane and row: an index into the flat batch would
        # overflow int32 from 537 lanes of 2000 x 2000 on.
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


def settle_idle_columns(p: Problem, state: State, limit: int) -> State:
    """Optimality of the columns left over, after a start from given duals.

    With fewer rows than columns the idle columns need equal duals, the highest of all; duals that
    came from elsewhere need not have that. It is the square problem with one row of cost 0 for
    each idle column: those rows are alike and own the columns of the highest dual from the
    beginning, so only columns below that are inserted, by the same search from the idle row n.
    """
    n = p.cost.shape[0]
    top = jnp.max(jnp.where(p.col_on, state.dual, -jnp.inf), initial=-jnp.inf)
    settled = (state.row4col == FREE) & (state.dual >= top)
    row4col = jnp.where(settled, n, state.row4col)
    state = _start_idle(state._replace(row4col=row4col), jnp.ones((), bool))

    def body(s: State) -> State:
        idle = s.row == n
        row_cost = lax.dynamic_index_in_dim(p.cost, s.row, 0, keepdims=False)
        row_cost = jnp.where(idle, 0.0, row_cost)
        highest = jnp.max(jnp.where(p.col_on, s.dual, -jnp.inf))
        at_col = jnp.where(idle, -highest, row_cost[s.col] - s.dual[s.col])
        s, hit = _dijkstra_step(s, jnp.where(p.col_on, row_cost, jnp.inf), at_col)
        s, finished = _hop(s, hit)
        return _start_idle(s, finished)

    return lax.while_loop(
        lambda s: (jnp.any(s.row4col == FREE) | s.hopping) & ~s.failed & (s.steps < limit),
        body,
        state,
    )


def _start_idle(s: State, when: Bool[Array, ""]) -> State:
    n = s.col4row.shape[0]
    s = _restart(s, when, jnp.int32(n))
    owned = when & (s.row4col == n)
    return s._replace(dist=jnp.where(owned, 0.0, s.dist), done=s.done | owned)


def _dijkstra_step(
    s: State, row_cost: Float[Array, " m"], at_col: Float[Array, ""]
) -> tuple[State, Bool[Array, ""]]:
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


def _hop(s: State, hit: Bool[Array, ""]) -> tuple[State, Bool[Array, ""]]:
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


def _restart(s: State, when: Bool[Array, ""], start: Int[Array, ""]) -> State:
    """Begins the search for the row `start` where `when` holds."""
    return s._replace(
        start=jnp.where(when, start, s.start),
        row=jnp.where(when, start, s.row),
        col=jnp.where(when, FREE, s.col),
        reach=jnp.where(when, 0.0, s.reach),
        dist=jnp.where(when, jnp.inf, s.dist),
        done=s.done & ~when,
        hopping=s.hopping & ~when,
    )

"""The search of the pure JAX path: shortest augmenting paths as one flat loop.

The textbook method nests three loops (rows, Dijkstra steps, hops of the augmenting path). Under
vmap a nested loop makes every lane wait for the slowest lane at each level. Here one iteration of
one `while_loop` is either a Dijkstra step or a hop, and each lane is at its own place; lanes wait
for each other only once, at the end.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# From about this width on XLA's CPU code is faster if what is closer is read off `open_at`.
_WIDE = 64

FREE = -1  # a column without an owner, a row without a column


class Problem(NamedTuple):
    """Scaled costs, every row shifted to a minimum of 0; `inf` marks a forbidden pairing.

    Attributes:
        cost: the matrix.
        shift: what was subtracted from each row.
        scale: a power of two, so that scaling is exact.
        row_on: rows that take part.
        col_on: columns that the search may use, dummy ones included.
        col_real: columns that take part.
        bad: whether there is NaN or an infinity of the wrong sign.
    """

    cost: Float[Array, "n m"]
    shift: Float[Array, "n"]
    scale: Float[Array, ""]
    row_on: Bool[Array, "n"]
    col_on: Bool[Array, "m"]
    col_real: Bool[Array, "m"]
    bad: Bool[Array, ""]


class State(NamedTuple):
    """Where the search is; lengths and duals in the unit of `Problem.cost`.

    Attributes:
        start: row that is being inserted; n = none left, or the idle row.
        inserted: how many rows of the queue are done.
        row: row whose costs are scanned next.
        col: scanning: the column that led to `row`; hopping: the column to reassign.
        hopping: whether a path has been found and is being followed back.
        reach: length of the shortest path to `row`.
        open_at: length of the shortest path to a column; inf where it is settled.
        settled_at: the same where it is settled or ends the path, else inf.
        before: column before each column on its path; FREE: it starts the path.
        dual: of each column.
        row4col: row that owns each column.
        steps: iterations so far.
        failed: whether there is no matching.
    """

    start: Int[Array, ""]
    inserted: Int[Array, ""]
    row: Int[Array, ""]
    col: Int[Array, ""]
    hopping: Bool[Array, ""]
    reach: Float[Array, ""]
    open_at: Float[Array, "m"]
    settled_at: Float[Array, "m"]
    before: Int[Array, "m"]
    dual: Float[Array, "m"]
    row4col: Int[Array, "m"]
    steps: Int[Array, ""]
    failed: Bool[Array, ""]


def insert_rows(p: Problem, state: State, waiting: Bool[Array, "n"], limit: int) -> State:
    """Augments once for every row that is waiting, in at most `limit` iterations."""
    n = waiting.shape[0]
    (rows,) = jnp.nonzero(waiting, size=n, fill_value=n)
    queue = jnp.append(rows, n).astype(jnp.int32)

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
    state = _start_idle(state._replace(row4col=row4col), jnp.ones((), bool), n)

    def body(s: State) -> State:
        idle = s.row == n
        row_cost = lax.dynamic_index_in_dim(p.cost, s.row, 0, keepdims=False)
        row_cost = jnp.where(idle, 0.0, row_cost)
        highest = jnp.max(jnp.where(p.col_on, s.dual, -jnp.inf))
        at_col = jnp.where(idle, -highest, row_cost[s.col] - s.dual[s.col])
        s, hit = _dijkstra_step(s, jnp.where(p.col_on, row_cost, jnp.inf), at_col)
        s, finished = _hop(s, hit)
        return _start_idle(s, finished, n)

    return lax.while_loop(
        lambda s: (jnp.any(s.row4col == FREE) | s.hopping) & ~s.failed & (s.steps < limit),
        body,
        state,
    )


def _start_idle(s: State, when: Bool[Array, ""], n: int) -> State:
    s = _restart(s, when, jnp.int32(n))
    return s._replace(settled_at=jnp.where(when & (s.row4col == n), 0.0, s.settled_at))


def _dijkstra_step(
    s: State, row_cost: Float[Array, "m"], at_col: Float[Array, ""]
) -> tuple[State, Bool[Array, ""]]:
    """Scans one row and settles the nearest column; True when that column is free.

    Conditions on the lane are folded into numbers (an infinite length compares as never) where
    that saves a pass over the columns.
    """
    m = s.open_at.shape[0]
    cols = jnp.arange(m, dtype=jnp.int32)
    scanning = ~s.hopping
    through = row_cost - s.dual + jnp.where(scanning, s.reach - at_col, jnp.inf)
    closer = (through < s.open_at) & (s.settled_at == jnp.inf)
    open_at = jnp.where(closer, through, s.open_at)
    if m >= _WIDE:
        closer = open_at < s.open_at
    nearest = jnp.min(open_at)
    # Two plain reductions: XLA's argmin on a CPU is a scalar loop.
    col = jnp.min(jnp.where(open_at == nearest, cols, m - 1))
    owner = s.row4col[col]
    hit = scanning & (owner < 0)
    newly = jnp.where(scanning, col, FREE)
    s = s._replace(
        row=jnp.where(scanning & ~hit, owner, s.row),
        col=jnp.where(scanning, col, s.col),
        reach=jnp.where(scanning, nearest, s.reach),
        open_at=jnp.where(cols == newly, jnp.inf, open_at),
        settled_at=jnp.where(cols == newly, nearest, s.settled_at),
        before=jnp.where(closer, s.col, s.before),
        # Settled columns are nearer than the end of the path: their duals fall.
        dual=s.dual + jnp.minimum(s.settled_at - jnp.where(hit, nearest, -jnp.inf), 0.0),
        steps=s.steps + 1,
        failed=s.failed | (scanning & ~jnp.isfinite(nearest)),
    )
    return s, hit


def _hop(s: State, hit: Bool[Array, ""]) -> tuple[State, Bool[Array, ""]]:
    """Gives column `s.col` the row of the column before it, when a path has been found."""
    active = (hit | s.hopping) & ~s.failed
    before = s.before[s.col]
    first = before < 0
    row = jnp.where(first, s.start, s.row4col[jnp.maximum(before, 0)])
    cols = jnp.arange(s.row4col.shape[0])
    finished = active & first
    s = s._replace(
        col=jnp.where(active, before, s.col),
        hopping=active & ~first,
        row4col=jnp.where(cols == jnp.where(active, s.col, FREE), row, s.row4col),
    )
    return s, finished


def _restart(s: State, when: Bool[Array, ""], start: Int[Array, ""]) -> State:
    """Begins the search for the row `start` where `when` holds."""
    return s._replace(
        start=jnp.where(when, start, s.start),
        row=jnp.where(when, start, s.row),
        col=jnp.where(when, FREE, s.col),
        reach=jnp.where(when, 0.0, s.reach),
        open_at=jnp.where(when, jnp.inf, s.open_at),
        settled_at=jnp.where(when, jnp.inf, s.settled_at),
        hopping=s.hopping & ~when,
    )

"""Grouped Kuhn-Munkres: exact inside disjoint blocks, better with every new partition."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from lsajax import link, objective
from lsajax.hashing import named_key
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers import _anytime
from lsajax.solvers.linear_assignment import linear_sum_assignment
from lsajax.solvers.solution import Solution, Status, Trace


class _Layout(NamedTuple):
    """Static sizes of a partition.

    Attributes:
        blocks: how many.
        users: rows of a block.
        spare: channels of a block beyond those its users hold.
        columns: channels, and dummy columns of value 0 where users outnumber channels.
    """

    blocks: int
    users: int
    spare: int
    columns: int


class _State(NamedTuple):
    """A search under way.

    Attributes:
        held: column of each row.
        value: of the objective.
        rounds: partitions solved.
    """

    held: Int32[Array, "users"]
    value: Float[Array, ""]
    rounds: Int32[Array, ""]


def grouped(
    key: jax.Array,
    inst: Instance,
    *,
    block_size: int = 100,
    rounds: int = 20,
    budget_s: float | None = None,
    method: str = "auto",
) -> Solution:
    """Splits users and channels into blocks at random and solves each block exactly.

    The first partition is the static Grouped-KM of the paper (`rounds=0` stops there). Each
    further round deals the users, with the channels they hold, and the idle channels into new
    blocks and solves those: the value never falls, and the method may stop at any time.

    Args:
        key: PRNG key.
        inst: one slot.
        block_size: users per block; a block has as many channels, plus its share of the rest.
        rounds: partitions after the first; works under jit and vmap.
        budget_s: wall-clock seconds instead of a number of rounds. The clock starts once
            everything is compiled and is looked at between rounds, so this needs a concrete
            instance (no jit); at least the first partition is always solved.
        method: of `linear_sum_assignment`.

    Returns:
        Solution with status FEASIBLE, and a trace with the value after
        each partition (times NaN without `budget_s`).

    Raises:
        ValueError: `block_size` below 1, `rounds` below 0, `budget_s` not above 0 or traced input;
            the objective is 'coupled', see `hungarian`.
    """
    check_one_slot(inst)
    objective.check_separable(inst, "grouped")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    layout = _plan(inst, block_size)
    if budget_s is None:
        assignment, values = _by_rounds(key, inst, layout, rounds, method)
        trace = Trace(jnp.full_like(values, jnp.nan), values)
    else:
        _anytime.check_budget(budget_s)
        _anytime.check_concrete("grouped with budget_s", (key, inst))
        search, static = _search(key, inst, layout, method), ("grouped", layout, method)
        state, trace = _anytime.run_budget(search, budget_s, (key, inst), *static)
        assignment = search.read(state)
    value = _value(inst, assignment)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE), trace=trace)


def _search(key: jax.Array, inst: Instance, layout: _Layout, method: str) -> _anytime.Search:
    deal_key, round_key = (named_key(key, "grouped", name) for name in ("deal", "rounds"))

    def advance(state: _State, rounds: int, begin: float, end: float) -> _State:
        return _advance(round_key, inst, state, jnp.int32(rounds), layout, method)

    return _anytime.Search(
        init=lambda: _deal(deal_key, inst, layout),
        phases=(_anytime.Phase(advance),),
        best=lambda state: state.value,
        read=lambda state: _served(inst, state.held),
        chunk=1,  # a round is long enough, and the trace has each one
    )


@partial(jax.jit, static_argnames=("layout", "rounds", "method"))
def _by_rounds(
    key: jax.Array, inst: Instance, layout: _Layout, rounds: int, method: str
) -> tuple[Int32[Array, "users"], Float[Array, "partitions"]]:
    """The assignment after the first partition and `rounds` more, and the value after each."""
    search = _search(key, inst, layout, method)
    (phase,) = search.phases

    def step(state: _State, _: None) -> tuple[_State, Array]:
        state = phase.advance(state, 1, 0.0, 1.0)
        return state, search.best(state)

    state, values = jax.lax.scan(step, search.init(), length=rounds + 1)
    return search.read(state), values


@partial(jax.jit, static_argnames=("layout", "method"))
def _advance(
    key: jax.Array,
    inst: Instance,
    state: _State,
    rounds: Int32[Array, ""],
    layout: _Layout,
    method: str,
) -> _State:
    def step(_: Array, state: _State) -> _State:
        held = _reblock(jax.random.fold_in(key, state.rounds), inst, state.held, layout, method)
        value = _value(inst, held)
        # Equal but for rounding where a block was already optimal; the trace must not fall.
        better = value >= state.value
        held = jnp.where(better, held, state.held)
        return _State(held, jnp.where(better, value, state.value), state.rounds + 1)

    return jax.lax.fori_loop(0, rounds, step, state)


def _plan(inst: Instance, block_size: int) -> _Layout:
    K = inst.num_rows
    columns = max(K, inst.num_channels)
    blocks = max(1, -(-K // block_size))
    return _Layout(blocks, -(-K // blocks), -(-(columns - K) // blocks), columns)


@partial(jax.jit, static_argnames="layout")
def _deal(key: jax.Array, inst: Instance, layout: _Layout) -> _State:
    """A distinct column for each row, at random, idle channels to requesting users.

    Rows hold a column at all times, be it an occupied channel or a dummy column, both of value 0:
    then all shapes are static, and giving a user no channel is one more pairing.
    """
    row = jax.random.permutation(named_key(key, "rows"), inst.num_rows)
    row = row[jnp.argsort(~inst.user_mask[row])]  # a stable sort: requesting users come first
    closed = jnp.ones(layout.columns, bool).at[: inst.num_channels].set(inst.occupied)
    column = jax.random.permutation(named_key(key, "columns"), layout.columns)
    column = column[jnp.argsort(closed[column])]
    dealt = column[: inst.num_rows].astype(jnp.int32)
    held = jnp.zeros(inst.num_rows, jnp.int32).at[row].set(dealt)
    return _State(held, _value(inst, held), jnp.int32(0))


def _reblock(
    key: jax.Array, inst: Instance, held: Int32[Array, "users"], layout: _Layout, method: str
) -> Int32[Array, "users"]:
    """One new partition, solved block by block."""
    K = inst.num_rows
    order = jax.random.permutation(named_key(key, "users"), K)
    rows = _split(order, layout.blocks, layout.users)
    own = jnp.where(rows < 0, -1, held[rows])
    is_held = jnp.zeros(layout.columns, bool).at[held].set(True)
    (free,) = jnp.nonzero(~is_held, size=layout.columns - K, fill_value=-1)
    free = jax.random.permutation(named_key(key, "free columns"), free)
    free = _split(free, layout.blocks, layout.spare)
    columns = jnp.concatenate([own, free], axis=1)  # [block, column]

    def solve(block_rows: Array, block_columns: Array) -> Array:
        values = _block_values(inst, block_rows, block_columns)
        best = linear_sum_assignment(
            values,
            maximize=True,
            row_mask=block_rows >= 0,
            col_mask=block_columns >= 0,
            method=method,
        )
        return block_columns[best.assignment]

    given = jax.vmap(solve)(rows, columns)
    target = jnp.where(rows < 0, K, rows)
    return held.at[target].set(given, mode="drop")


def _split(items: Array, blocks: int, size: int) -> Int32[Array, "blocks size"]:
    """Deals items into blocks of a static size, padded with -1."""
    padded = jnp.full(blocks * size, -1, jnp.int32)
    padded = padded.at[: items.shape[0]].set(items.astype(jnp.int32))
    # Dealt like cards: the padding is spread over the blocks.
    return padded.reshape(size, blocks).T


def _block_values(
    inst: Instance, rows: Int32[Array, "rows"], columns: Int32[Array, "columns"]
) -> Float[Array, "rows columns"]:
    """v_im of a block alone: the full matrix is never formed."""
    row, column = jnp.maximum(rows, 0), jnp.clip(columns, 0, inst.num_channels - 1)
    idle = (columns >= 0) & (columns < inst.num_channels) & ~inst.occupied[column]
    open_ = (inst.user_mask[row] & (rows >= 0))[:, None] & idle
    value = objective.value_at(inst, row[:, None], column)
    return jnp.where(open_, value, 0.0)


@jax.jit
def _served(inst: Instance, held: Int32[Array, "users"]) -> Int32[Array, "users"]:
    return jnp.where(link.is_served(inst, held), held, -1)


@jax.jit
def _value(inst: Instance, held: Int32[Array, "users"]) -> Float[Array, ""]:
    return jnp.sum(objective.assigned_values(inst, held))

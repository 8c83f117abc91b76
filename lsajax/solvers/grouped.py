"""Grouped Kuhn-Munkres: exact inside disjoint blocks, better with every new partition."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from lsajax import link
from lsajax.instance import Instance
from lsajax.solvers import _anytime
from lsajax.solvers.linear_assignment import linear_sum_assignment
from lsajax.solvers.solution import Solution, Status, Trace


class _Layout(NamedTuple):
    """Static sizes of a partition."""

    blocks: int
    users: int  # rows of a block
    spare: int  # channels of a block beyond those its users hold
    columns: int  # channels, and stand-ins of rate 0 where users outnumber channels


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
        Solution with the throughput [bit/s], status FEASIBLE, and a trace with the value after
        each partition (times NaN without `budget_s`).

    Raises:
        ValueError: `block_size` below 1, `rounds` below 0, `budget_s` not above 0 or traced input.
    """
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    layout = _plan(inst, block_size)
    if budget_s is not None:
        return _within_budget(key, inst, layout, budget_s, method)

    held, values = _rounds(key, inst, layout, rounds, method)
    return _solution(inst, held, Trace(jnp.full_like(values, jnp.nan), values))


@partial(jax.jit, static_argnames=("layout", "rounds", "method"))
def _rounds(
    key: jax.Array, inst: Instance, layout: _Layout, rounds: int, method: str
) -> tuple[Int32[Array, users], Float[Array, rounds]]:
    def step(held: Array, index: Array) -> tuple[Array, Array]:
        held = _reblock(jax.random.fold_in(key, index), inst, held, layout, method)
        return held, _value(inst, held)

    return jax.lax.scan(step, _deal(key, layout, inst), jnp.arange(1, rounds + 2))


def _plan(inst: Instance, block_size: int) -> _Layout:
    K = inst.num_rows
    columns = max(K, inst.num_channels)
    blocks = max(1, -(-K // block_size))
    return _Layout(blocks, -(-K // blocks), -(-(columns - K) // blocks), columns)


def _deal(key: jax.Array, layout: _Layout, inst: Instance) -> Int32[Array, users]:
    """A distinct column for each row, at random, idle channels to requesting users.

    Rows hold a column at all times, be it an occupied channel or a stand-in, both of rate 0: then
    all shapes are static, and giving a user no channel is one more pairing.
    """
    row_key, column_key = jax.random.split(jax.random.fold_in(key, 0))
    row = jax.random.permutation(row_key, inst.num_rows)
    row = row[jnp.argsort(~inst.user_mask[row])]  # a stable sort: requesting users come first
    closed = jnp.ones(layout.columns, bool).at[: inst.num_channels].set(inst.occupied)
    column = jax.random.permutation(column_key, layout.columns)
    column = column[jnp.argsort(closed[column])]
    dealt = column[: inst.num_rows].astype(jnp.int32)
    return jnp.zeros(inst.num_rows, jnp.int32).at[row].set(dealt)


def _reblock(
    key: jax.Array, inst: Instance, held: Int32[Array, users], layout: _Layout, method: str
) -> Int32[Array, users]:
    """One new partition, solved block by block."""
    K = inst.num_rows
    user_key, spare_key = jax.random.split(key)
    rows = _split(jax.random.permutation(user_key, K), layout.blocks, layout.users)
    own = jnp.where(rows < 0, -1, held[rows])
    is_held = jnp.zeros(layout.columns, bool).at[held].set(True)
    (free,) = jnp.nonzero(~is_held, size=layout.columns - K, fill_value=-1)
    free = _split(jax.random.permutation(spare_key, free), layout.blocks, layout.spare)
    columns = jnp.concatenate([own, free], axis=1)  # [block, column]

    def solve(block_rows: Array, block_columns: Array) -> Array:
        rates = _block_rates(inst, block_rows, block_columns)
        best = linear_sum_assignment(
            rates, row_mask=block_rows >= 0, col_mask=block_columns >= 0, method=method
        )
        return block_columns[best.assignment]

    given = jax.vmap(solve)(rows, columns)
    target = jnp.where(rows < 0, K, rows)
    new = held.at[target].set(given, mode="drop")
    # Equal but for rounding where a block was already optimal; the trace must not fall.
    return jnp.where(_value(inst, new) >= _value(inst, held), new, held)


def _split(items: Array, blocks: int, size: int) -> Int32[Array, "blocks size"]:
    """Deals items into blocks of a static size, padded with -1."""
    padded = jnp.full(blocks * size, -1, jnp.int32).at[: items.shape[0]].set(items)
    # Dealt like cards: the padding is spread over the blocks.
    return padded.reshape(size, blocks).T


def _block_rates(
    inst: Instance, rows: Int32[Array, rows], columns: Int32[Array, columns]
) -> Float[Array, "rows columns"]:
    """r_im of a block alone: the full matrix is never formed."""
    user = jnp.repeat(jnp.maximum(rows, 0), columns.shape[0])
    entry = inst.replace(
        user_id=inst.user_id[user],
        user_mask=inst.user_mask[user],
        position_m=inst.position_m[user],
        mean_power_w=inst.mean_power_w[user],
    )
    channel = jnp.tile(columns, rows.shape[0])
    return link.assigned_rate(entry, channel).reshape(rows.shape[0], columns.shape[0])


def _value(inst: Instance, held: Int32[Array, users]) -> Float[Array, ""]:
    return jnp.sum(link.assigned_rate(inst, held))


def _solution(inst: Instance, held: Int32[Array, users], trace: Trace) -> Solution:
    assignment, value = _served(inst, held)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE), trace=trace)


@jax.jit
def _served(inst: Instance, held: Array) -> tuple[Array, Array]:
    assignment = jnp.where(link.is_served(inst, held), held, -1)
    return assignment, _value(inst, assignment)


_first = jax.jit(_deal, static_argnums=1)


@partial(jax.jit, static_argnames=("layout", "method"))
def _timed_round(
    key: jax.Array, inst: Instance, held: Array, round_index: Array, layout: _Layout, method: str
) -> tuple[Array, Array]:
    held = _reblock(jax.random.fold_in(key, round_index), inst, held, layout, method)
    return held, _value(inst, held)


def _within_budget(
    key: jax.Array, inst: Instance, layout: _Layout, budget_s: float, method: str
) -> Solution:
    _anytime.check_budget(budget_s)
    _anytime.check_concrete("grouped with budget_s", (key, inst))
    run = partial(_run_clock, key, inst, layout, method)
    _anytime.compile_first(run, (key, inst), layout, method)
    return run(budget_s)


def _run_clock(
    key: jax.Array, inst: Instance, layout: _Layout, method: str, budget_s: float
) -> Solution:
    clock = _anytime.Clock()
    held = _first(key, layout, inst)
    rounds = 0
    while rounds == 0 or clock.elapsed() < budget_s:
        rounds += 1
        held, value = _timed_round(key, inst, held, jnp.int32(rounds), layout, method)
        clock.record(float(value))
    return _solution(inst, held, clock.trace())

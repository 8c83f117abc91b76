"""Every assignment there is, tried."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int32

from lsajax import coupling, link, objective
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers import _local_moves
from lsajax.solvers.solution import Solution, Status

_CHUNK = 2**17  # assignments valued at a time
_MOST_DIGITS = 15  # of a count of assignments that is still worth an estimate
_RATE = 5e7  # assignments per second of one CPU core, for the estimate in the error message


@partial(jax.jit, static_argnames=("max_assignments",))
def exhaustive(key: jax.Array, inst: Instance, *, max_assignments: int = 1_000_000) -> Solution:
    """The best of all injections of the users into the channels (the paper's "Exhaustive").

    There are M! / (M - K)! of them, K! / (K - M)! with more users than channels; all are valued,
    in chunks of bounded memory.

    Args:
        key: unused; the method is deterministic.
        inst: one slot.
        max_assignments: refuse problems with more assignments than this; raise it to have a
            larger problem enumerated.

    Returns:
        Solution with status OPTIMAL; under the coupling of Eq. (8) it is the best of those that
        serve as many users as there are idle channels.

    Raises:
        ValueError: there are more assignments than `max_assignments`; says how many, what storing
            them would take, and how long the enumeration would last.
    """
    del key
    check_one_slot(inst)
    items, places = sorted((inst.num_rows, inst.num_channels))
    count = math.perm(places, items)
    if count > max_assignments:
        raise ValueError(
            f"max_assignments is {max_assignments}, but {inst.num_rows} users and "
            f"{inst.num_channels} channels have {_estimate(items, places)}"
        )
    linear, pairs = objective.value_matrix(inst.without_coupling()), None
    if inst.objective == "coupled":
        # Whom to leave unserved is not up to the coupling: service outweighs all of it.
        bonus = jnp.max(linear) + _local_moves.most_loss(inst)
        linear = jnp.where(inst.user_mask[:, None] & ~inst.occupied, linear + bonus, 0.0)
        open_ = ~inst.occupied[:, None] & ~inst.occupied
        leakage = jnp.where(open_, coupling.channel_leakage(inst), 0.0)
        pairs = (2 * inst.coupling_bps * coupling.user_coupling(inst), leakage)
    transposed = inst.num_rows > inst.num_channels
    if transposed:
        linear, pairs = linear.T, None if pairs is None else (pairs[1], pairs[0])
    best = _best_injection(linear, pairs)
    if transposed:
        row = jnp.full(inst.num_rows, -1, jnp.int32)
        best = row.at[best].set(jnp.arange(inst.num_channels, dtype=jnp.int32))
    assignment = jnp.where(link.is_served(inst, best), best, -1)
    value = objective.feasible_value(inst, assignment)
    return Solution(assignment, value, jnp.int32(Status.OPTIMAL))


def _estimate(items: int, places: int) -> str:
    digits = (math.lgamma(places + 1) - math.lgamma(places - items + 1)) / math.log(10)
    if digits > _MOST_DIGITS:  # beyond what a float holds, and what Python prints
        return f"about 10^{digits:.0f} assignments: too many to enumerate"
    count = math.perm(places, items)
    return (
        f"{count} assignments ({_size(4.0 * count * items)} if stored; roughly "
        f"{count / _RATE:.1f} s in chunks): raise it to enumerate them"
    )


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.0f} TB"


def _best_injection(
    linear: Float[Array, "items places"], pairs: tuple[Array, Array] | None
) -> Int32[Array, "items"]:
    """The injection p of the largest sum_k linear[k, p_k] - sum_{k<l} a[k, l] b[p_k, p_l].

    Items in front are placed by a loop; all ways to place the others are valued at once. `pairs`
    is (a, b), both symmetric, or None.
    """
    items, places = linear.shape
    front = 0
    while front < items and math.perm(places - front, items - front) > _CHUNK:
        front += 1
    rest = places - front
    # [way, item]: places of the items behind, among the places still free.
    ways = np.fromiter(
        itertools.chain.from_iterable(itertools.permutations(range(rest), items - front)),
        np.int32,
        count=math.perm(rest, items - front) * (items - front),
    ).reshape(-1, items - front)

    def visit(index: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        head, free = _decode(index, places, front)
        place = [*head, *(free[way] for way in ways.T)]  # of each item: [] or [way]
        total = jnp.zeros(ways.shape[0], linear.dtype)
        for k in range(items):
            total = total + linear[k][place[k]]
            if pairs is None:
                continue
            for j in range(k):
                total = total - pairs[0][k, j] * pairs[1][place[k], place[j]]
        way = jnp.argmax(total)
        injection = jnp.concatenate([head, free[jnp.asarray(ways)[way]]])
        better = total[way] > best[0]
        return jnp.where(better, total[way], best[0]), jnp.where(better, injection, best[1])

    none = (jnp.asarray(-jnp.inf, linear.dtype), jnp.zeros(items, jnp.int32))
    return lax.fori_loop(0, math.perm(places, front), visit, none)[1]


def _decode(index: Array, places: int, front: int) -> tuple[Int32[Array, "front"], Array]:
    """The `index`-th way to place the first `front` items, and the places left over."""
    free = jnp.arange(places, dtype=jnp.int32)
    head = []
    for k in range(front):
        left = places - k
        digit, index = index % left, index // left
        head.append(free[digit])
        keep = jnp.arange(left - 1)
        free = free[keep + (keep >= digit)]
    return jnp.stack(head) if head else jnp.zeros(0, jnp.int32), free

"""The strongest user first, each on the best channel that is left."""

import jax
import jax.numpy as jnp

from lsajax import objective
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.repair import repair
from lsajax.solvers.solution import Solution, Status


@jax.jit
def greedy(key: jax.Array, inst: Instance) -> Solution:
    """In order of mean received power, each user takes the idle channel of its highest value.

    The coupling of Eq. (8) is not looked at, but counted. O(K M) values, one row at a time: no
    matrix is stored.

    Args:
        key: unused; the method is deterministic.
        inst: one slot.

    Returns:
        Solution with status FEASIBLE.
    """
    del key
    check_one_slot(inst)
    unassigned = jnp.full(inst.num_rows, -1, jnp.int32)
    assignment = repair(inst, unassigned, rule="greedy")
    value = objective.feasible_value(inst, assignment)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE))

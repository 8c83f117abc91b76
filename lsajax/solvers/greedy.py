"""The strongest user first, each on the best channel that is left."""

import jax
import jax.numpy as jnp

from lsajax import link
from lsajax.instance import Instance
from lsajax.repair import repair
from lsajax.link import check_one_slot
from lsajax.solvers.solution import Solution, Status


@jax.jit
def greedy(key: jax.Array, inst: Instance) -> Solution:
    """In order of mean received power, each user takes the idle channel of its highest rate.

    O(K M) rates, one row at a time: no matrix is stored.

    Args:
        key: unused; the method is deterministic.
        inst: one slot.

    Returns:
        Solution with status FEASIBLE and the throughput as its value [bit/s].
    """
    del key
    check_one_slot(inst)
    unassigned = jnp.full(inst.num_rows, -1, jnp.int32)
    assignment = repair(inst, unassigned, rule="greedy")
    value = jnp.sum(link.assigned_rate(inst, assignment))
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE))

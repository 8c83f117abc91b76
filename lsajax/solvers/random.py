"""A random valid assignment."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from lsajax import assignments, hashing, objective
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers.solution import Solution, Status


@partial(jax.jit, static_argnames=("exchangeable",))
def random(key: jax.Array, inst: Instance, *, exchangeable: bool = False) -> Solution:
    """An assignment drawn uniformly from all that serve as many users as there are idle channels.

    Args:
        key: PRNG key of the draw.
        inst: one slot.
        exchangeable: skip the draw and give the k-th requesting user the k-th idle channel. Where
            the users of the instance are independent and identically distributed, as those of
            `sample_instance` are, the pair (instance, assignment) then has the same law as with a
            drawn permutation, at a fraction of the cost. Not to be used for repeated draws on one
            instance, nor where the rows carry an order (sorted by power, say). Where the channels
            do, by `carrier_gain` or in the coupling of Eq. (8), the draw is made nevertheless.

    Returns:
        Solution with status FEASIBLE.
    """
    check_one_slot(inst)
    channels_alike = inst.carrier_gain is None and inst.objective != "coupled"
    if exchangeable and channels_alike:
        assignment = _in_order(inst)
    else:
        assignment = assignments.random(hashing.named_key(key, "random"), inst, 1)[0]
    value = objective.feasible_value(inst, assignment)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE))


def _in_order(inst: Instance) -> jax.Array:
    (idle,) = jnp.nonzero(~inst.occupied, size=inst.num_channels, fill_value=-1)
    place = jnp.cumsum(inst.user_mask) - 1
    given = idle.at[place].get(mode="fill", fill_value=-1)
    return jnp.where(inst.user_mask, given, -1).astype(jnp.int32)

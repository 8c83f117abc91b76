"""Random valid assignments of an instance."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from lsajax import hashing
from lsajax._numerics import argsort, one_program
from lsajax.instance import Instance


@partial(one_program, static_argnames="num_samples")
def random(key: jax.Array, inst: Instance, num_samples: int) -> Int32[Array, "samples users"]:
    """`num_samples` random valid assignments [samples, users], each uniform over all of them.

    One permutation of the idle channels, shifted cyclically by different amounts: every sample has
    the law of an independent draw, at the cost of one sort for all. They are dependent of one
    another, and spread evenly over the channels, so their mean varies no more than that of
    independent ones.
    """
    K, M = inst.num_rows, inst.num_channels
    idle, users = jnp.sum(~inst.occupied), jnp.sum(inst.user_mask)
    # With more users than idle channels blanks are permuted too, so that any may stay unserved;
    # they take the places of occupied channels, and of some beyond M.
    usable = jnp.pad(~inst.occupied, (0, max(K - M, 0)))
    blank = ~usable & (jnp.cumsum(~usable) <= users - idle)
    word = hashing.bits(hashing.seed(key, "order"), jnp.arange(usable.size))
    order = argsort(jnp.where(usable | blank, word >> 1, jnp.uint32(2**32 - 1)))
    channel = jnp.where(usable[order], order, -1).astype(jnp.int32)
    slots = jnp.maximum(jnp.maximum(idle, users), 1)
    start = hashing.uniform(hashing.seed(key, "shift"), jnp.arange(num_samples)) * slots
    rank = jnp.cumsum(inst.user_mask) - 1
    place = (rank + start.astype(jnp.int32)[:, None]) % slots
    return jnp.where(inst.user_mask, channel[place], -1)

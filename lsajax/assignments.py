"""Random valid assignments of an instance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from lsajax import hashing
from lsajax.instance import Instance


def random_assignments(
    key: jax.Array, inst: Instance, num_samples: int
) -> Int32[Array, "samples users"]:
    """`num_samples` random valid assignments [samples, users], each uniform over all of them.

    One permutation of the idle channels, shifted cyclically by different amounts: every sample has
    the law of an independent draw, at the cost of one sort for all. They are dependent of one
    another, and spread evenly over the channels, so their mean varies no more than that of
    independent ones.
    """
    seed = hashing.seeds(key, 3)
    channel = jnp.arange(inst.num_channels)
    order = jnp.argsort(jnp.where(inst.occupied, 2.0, hashing.uniform(seed[0], channel)))
    idle = jnp.sum(~inst.occupied)
    users = jnp.sum(inst.user_mask)
    slots = jnp.maximum(idle, users)
    start = hashing.uniform(seed[1], jnp.arange(num_samples)) * slots
    row = jnp.arange(inst.num_rows)
    # With more users than idle channels the permutation is of channels and blanks, so that who
    # stays unserved is random too.
    place = (row + start.astype(jnp.int32)[:, None]) % jnp.maximum(slots, 1)
    given = jnp.where(place < idle, order[jnp.minimum(place, order.size - 1)], -1)
    return jnp.where(inst.user_mask, given, -1).astype(jnp.int32)

"""A ring buffer of transitions inside jit."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32


class Buffer(NamedTuple):
    """The last transitions, oldest overwritten first.

    Attributes:
        data: pytree with leaves [capacity, ...].
        position: where the next one goes.
        size: how many there are.
    """

    data: Any
    position: Int32[Array, ""]
    size: Int32[Array, ""]


def empty(one: Any, capacity: int) -> Buffer:
    """A buffer for items like `one`, of which only shapes and types matter."""
    data = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), one)
    return Buffer(data, jnp.int32(0), jnp.int32(0))


def add(buffer: Buffer, batch: Any) -> Buffer:
    """Adds the items of `batch` [count, ...] in their order; count is at most the capacity.

    Raises:
        ValueError: there are more items than places: some would write over each other.
    """
    capacity, count = _length(buffer.data), _length(batch)
    if count > capacity:
        raise ValueError(f"batch must have at most capacity={capacity} items, got {count}")
    at = (buffer.position + jnp.arange(count)) % capacity
    data = jax.tree.map(lambda old, new: old.at[at].set(new), buffer.data, batch)
    size = jnp.minimum(buffer.size + count, capacity)
    return Buffer(data, (buffer.position + count) % capacity, size)


def sample(key: jax.Array, buffer: Buffer, count: int) -> Any:
    """`count` items [count, ...] drawn with replacement; zeros from an empty buffer."""
    at = jax.random.randint(key, (count,), 0, jnp.maximum(buffer.size, 1))
    return jax.tree.map(lambda leaf: leaf[at], buffer.data)


def _length(tree: Any) -> int:
    return jax.tree.leaves(tree)[0].shape[0]

"""Spaces of observations and actions, in gymnax's form: `sample(key)` and `contains(x)` under jit.

A module of its own so that gymnax need not be installed. Code that asks for gymnax's own classes,
such as some of its wrappers, is served by `spaces=gymnax.environments.spaces` of an environment.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool


class Discrete:
    """The integers from 0 to `n` - 1."""

    def __init__(self, num_categories: int) -> None:
        self.n = num_categories
        self.shape: tuple[int, ...] = ()
        self.dtype = jnp.dtype(jnp.int32)

    def sample(self, key: jax.Array) -> Array:
        """One of them, all as likely."""
        return jax.random.randint(key, (), 0, self.n, self.dtype)

    def contains(self, x: ArrayLike) -> Bool[Array, ""]:
        """Whether `x` is one of them."""
        x = jnp.asarray(x)
        return (x >= 0) & (x < self.n)


class Box:
    """Arrays of one shape with entries from `low` to `high`."""

    def __init__(
        self, low: ArrayLike, high: ArrayLike, shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> None:
        self.low, self.high, self.shape, self.dtype = low, high, shape, dtype

    def sample(self, key: jax.Array) -> Array:
        """Uniform entries."""
        draw = jax.random.uniform(key, self.shape, minval=self.low, maxval=self.high)
        return (draw > 0.5) if self.dtype == bool else draw.astype(self.dtype)

    def contains(self, x: ArrayLike) -> Bool[Array, ""]:
        """Whether every entry of `x` lies within."""
        return jnp.all((jnp.asarray(x) >= self.low) & (jnp.asarray(x) <= self.high))


class Dict:
    """Records with a field for each of `spaces`."""

    def __init__(self, spaces: dict[str, Any]) -> None:
        self.spaces = spaces
        self.num_spaces = len(spaces)

    def sample(self, key: jax.Array) -> dict[str, Array]:
        """A draw of each field."""
        keys = jax.random.split(key, self.num_spaces)
        return {
            name: space.sample(k)
            for (name, space), k in zip(self.spaces.items(), keys, strict=True)
        }

    def contains(self, x: Any) -> Bool[Array, ""]:
        """Whether each field of the NamedTuple `x` lies in its space."""
        inside = [space.contains(getattr(x, name)) for name, space in self.spaces.items()]
        return jnp.all(jnp.stack([jnp.asarray(one) for one in inside]))

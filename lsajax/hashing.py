"""Counter-based random draws: the value at (i, j) is a hash of (seed, i, j).

A draw that is a function of its index can be evaluated at the entries somebody asks for, in any
order and shape, and equals the same entry of the full matrix, which need never be stored. The
32-bit finaliser is the "lowbias32" permutation of C. Wellons' search for low-bias hash functions.
"""

import hashlib

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt32

_GOLDEN_RATIO_32 = 0x9E3779B9


def named_key(key: jax.Array, *names: str | int) -> jax.Array:
    """A key of its own for each consumer of `key`: a stable hash of `names` folded in.

    The same names give the same key in every process and version; consumers with other names
    (`named_key(key, "topology")`, `named_key(key, "scale", "I", "realization", 3)`) draw from
    independent streams, whatever is added or removed beside them.

    Args:
        key: a typed PRNG key, traced or not.
        names: what the stream is for; static.
    """
    digest = hashlib.sha256(repr(names).encode()).digest()
    for word in (digest[:4], digest[4:8]):
        key = jax.random.fold_in(key, int.from_bytes(word, "little"))
    return key


def seeds(key: jax.Array, num: int) -> UInt32[Array, "num 2"]:
    """Independent seeds [num, 2] for the functions below, from a key of any implementation."""
    return jax.random.bits(key, (num, 2), jnp.uint32)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def bits(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> UInt32[Array, "..."]:
    """Uniform 32-bit words at the counters `i` (and `j`), which broadcast against each other.

    Rows and columns are mixed apart, so over a matrix [K, 1] x [1, M] the work per entry is one
    finaliser.
    """
    row = _mix(jnp.asarray(i).astype(jnp.uint32) * jnp.uint32(_GOLDEN_RATIO_32) + seed[0])
    if j is None:
        return _mix(row ^ seed[1])
    column = _mix(jnp.asarray(j).astype(jnp.uint32) * jnp.uint32(_GOLDEN_RATIO_32) + seed[1])
    return _mix(row + column)


def uniform(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Uniform draws in the open interval (0, 1), in the default float type.

    float32 takes 2^23 equally spaced values, symmetric about 1/2 and exact, so that neither end is
    ever met and a logarithm is finite.
    """
    return _to_unit(bits(seed, i, j), jnp.zeros(()).dtype)


def _to_unit(word: UInt32[Array, "..."], dtype: jnp.dtype) -> Float[Array, "..."]:
    if dtype != jnp.float32:
        return (word.astype(dtype) + 0.5) * 2.0**-32
    # Half a step more would need a 24th bit, and round the largest value up to 1. The conversion is
    # the signed one: that is a single instruction on a CPU.
    return ((word >> 9).astype(jnp.int32).astype(dtype) + 0.5) * 2.0**-23


def exponential(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Exponential draws of mean 1: the power gain of a Rayleigh fading channel."""
    return -jnp.log(uniform(seed, i, j))


def normal(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Standard normal draws, by inversion."""
    return jax.scipy.special.ndtri(uniform(seed, i, j))

"""Counter-based random draws: the value at (i, j) is a hash of (seed, i, j).

A draw that is a function of its index can be evaluated at the entries somebody asks for, in any
order and shape, and equals the same entry of the full matrix, which need never be stored. The
32-bit finaliser is the "lowbias32" permutation of C. Wellons' search for low-bias hash functions.

A consumer of a key draws from a stream of its own, named for its purpose: `seed(key, "positions")`.
"""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer, UInt32

from lsajax._numerics import one_program

# Odd multipliers, different ones for rows and columns: 2^32 over the golden ratio, and a prime of
# xxHash.
_ROW, _COLUMN = 0x9E3779B9, 0xC2B2AE3D


def named_key(key: jax.Array, *names: str | int | np.integer) -> jax.Array:
    """A key of its own for each consumer of `key`: a stable hash of `names` folded in.

    The same names give the same key in every process and version; consumers with other names
    (`named_key(key, "topology")`, `named_key(key, "scale", "I", "realization", 3)`) draw from
    independent streams, whatever is added or removed beside them.

    Args:
        key: a typed PRNG key, traced or not.
        names: what the stream is for; static. A NumPy scalar counts as the Python one.
    """
    plain = tuple(name.item() if isinstance(name, np.generic) else name for name in names)
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return _folded(key, *np.frombuffer(digest[:8], "<u4"))


@one_program
def _folded(key: jax.Array, *words: ArrayLike) -> jax.Array:
    for word in words:
        key = jax.random.fold_in(key, word)
    return key


def seed(key: jax.Array, *names: str | int | np.integer) -> UInt32[Array, "2"]:
    """The seed of the stream that `names` name, see `named_key`, for the functions below."""
    return jax.random.bits(named_key(key, *names), (2,), jnp.uint32)


def seeds(key: jax.Array, num: int) -> UInt32[Array, "num 2"]:
    """Independent seeds [num, 2] for as many repetitions of one purpose.

    Different purposes take `seed(key, name)` each.
    """
    return jax.random.bits(key, (num, 2), jnp.uint32)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@one_program
def bits(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> UInt32[Array, "..."]:
    """Uniform 32-bit words at the counters `i` (and `j`), which broadcast against each other.

    Rows and columns are mixed apart, so over a matrix [K, 1] x [1, M] the work per entry is one
    finaliser. Both words of the seed enter rows and columns, each in another way, so no seed makes
    a symmetric matrix and no two seeds transposed ones. Over `i` alone no word comes twice.
    """
    row_key = _mix(seed[0] + _mix(seed[1] + jnp.uint32(_COLUMN)))
    column_key = _mix(seed[1] + row_key)
    row = _mix(jnp.asarray(i).astype(jnp.uint32) * jnp.uint32(_ROW) + row_key)
    if j is None:
        return _mix(row ^ column_key)
    column = _mix(jnp.asarray(j).astype(jnp.uint32) * jnp.uint32(_COLUMN) + column_key)
    return _mix(row + column)


@one_program
def uniform(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Uniform draws in the open interval (0, 1), in the default float type.

    float32 takes 2^23 equally spaced values, symmetric about 1/2 and exact, so that neither end is
    ever met and a logarithm is finite.
    """
    return _to_unit(bits(seed, i, j), jax.dtypes.canonicalize_dtype(float))


def _to_unit(word: UInt32[Array, "..."], dtype: jnp.dtype) -> Float[Array, "..."]:
    if dtype != jnp.float32:
        return (word.astype(dtype) + 0.5) * 2.0**-32
    # Half a step more would need a 24th bit, and round the largest value up to 1. The conversion is
    # the signed one: that is a single instruction on a CPU.
    return ((word >> 9).astype(jnp.int32).astype(dtype) + 0.5) * 2.0**-23


@one_program
def exponential(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Exponential draws of mean 1: the power gain of a Rayleigh fading channel."""
    return -jnp.log(uniform(seed, i, j))


@one_program
def normal(
    seed: UInt32[Array, "2"], i: ArrayLike, j: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Standard normal draws, by inversion."""
    return jax.scipy.special.ndtri(uniform(seed, i, j))


@one_program
def subset(
    seed: UInt32[Array, "2"], member: Bool[Array, "n"], count: Integer[Array, ""] | int
) -> Bool[Array, "n"]:
    """A uniform random subset of `count` of the members, or all of them where there are fewer.

    Those with the smallest words. A bound that as many words reach up to is found by interpolation:
    words are uniform, so that some ten passes over them do, where bisection takes 32; nothing is
    sorted, and words of one axis are distinct.
    """
    word = bits(seed, jnp.arange(member.shape[0]))
    most = jnp.sum(member, dtype=jnp.int32)
    count = jnp.minimum(jnp.asarray(count, jnp.int32), most)

    def up_to(bound: Array) -> Array:
        return jnp.sum(member & (word <= bound), dtype=jnp.int32)

    # `below` words, fewer than `count`, reach up to `low`, and `above` of them up to `high`; the
    # bound that was tried last has `found`.
    def going(state: tuple[Array, ...]) -> Array:
        _, low, _, high, _, _, found = state
        return (found != count) & (high - low > 1)

    def narrowed(state: tuple[Array, ...]) -> tuple[Array, ...]:
        step, low, below, high, above, bound, found = state
        less = found < count
        low, below = jnp.where(less, bound, low), jnp.where(less, found, below)
        high, above = jnp.where(less, high, bound), jnp.where(less, above, found)
        # Between the two words, but for the last passes of a search that does not end: by halves.
        share = (count - below + 0.5) / (above - below + 1)
        share = jnp.where(step < 16, jnp.minimum(share, 0.999), 0.5).astype(jnp.float32)
        gap = high - low
        bound = (gap.astype(jnp.float32) * share).astype(jnp.uint32)
        bound = low + jnp.clip(bound, jnp.uint32(1), jnp.maximum(gap, 2) - 1)
        return step + 1, low, below, high, above, bound, up_to(bound)

    last = jnp.uint32(2**32 - 1)
    zero = jnp.int32(0)
    state: tuple[Array, ...] = (zero, jnp.uint32(0), zero, last, most, last, most)
    *_, high, _, bound, found = jax.lax.while_loop(going, narrowed, state)
    return member & (word <= jnp.where(found == count, bound, high)) & (count > 0)

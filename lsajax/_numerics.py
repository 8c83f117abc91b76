"""Arithmetic that keeps float32's last bits where the plain form loses them, and a fast argsort."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, Integer, UInt32

one_program = functools.partial(jax.jit, inline=True)
"""For a function of many small operations that somebody may call by itself.

There it is compiled once, where each operation would be a program of its own, with a compilation of
its own. Within another program it is no more than its operations.
"""


def as_float(x: ArrayLike) -> Float[Array, "..."]:
    """`x` as floats; an integer beyond int32 keeps its value, where `jnp.asarray` would wrap it."""
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return jnp.asarray(x) if jnp.issubdtype(dtype, jnp.floating) else jnp.asarray(x, float)


def log1p(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + x) for x >= 0, to a few units in the last place, without a branch.

    XLA's own log1p costs two and a half times its log on a CPU. Here log sees y = fl(1 + x), and
    what the rounding dropped, x - (y - 1), is added to first order. The reduction to the type's own
    precision keeps XLA from simplifying (1 + x) - 1 to x.
    """
    info = jnp.finfo(x.dtype)
    y = jax.lax.reduce_precision(1.0 + x, info.nexp, info.nmant)
    return jnp.log(y) + (x - (y - 1.0)) / y


@jax.custom_jvp
def log1p_ratio(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Array:
    """log(1 + a / b) for a >= 0 and b > 0 of one type; finite, as is its gradient.

    A ratio beyond the type's range counts as its largest number. JAX's own gradient of a quotient
    has b^-2 in it, which is infinite in float32 from b = 5e-20 on.
    """
    return log1p(jnp.minimum(numerator / denominator, jnp.finfo(numerator.dtype).max))


@log1p_ratio.defjvp
def _log1p_ratio_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (a, b), (da, db) = primals, tangents
    ratio = jnp.minimum(a / b, jnp.finfo(a.dtype).max)
    return log1p_ratio(a, b), (da - ratio * db) / (a + b)


def exact_sum(x: Float[Array, "n"]) -> Float[Array, ""]:
    """Pairwise sum that also carries what each addition rounds away (Knuth's two-sum)."""
    if x.shape[0] == 0:
        return jnp.zeros((), x.dtype)
    lost = jnp.zeros_like(x)
    while x.shape[0] > 1:
        if x.shape[0] % 2:
            x, lost = jnp.pad(x, (0, 1)), jnp.pad(lost, (0, 1))
        a, b = x[::2], x[1::2]
        x = a + b
        back = x - a
        lost = lost[::2] + lost[1::2] + ((a - (x - back)) + (b - back))
    # An overflow to infinity is the answer then, not the NaN of its rounding error.
    return jnp.where(jnp.isfinite(x[0]), x[0] + lost[0], x[0])


def sum_of_others(
    x: Float[Array, "n"], group: Int32[Array, "n"], num_groups: int
) -> Float[Array, "n"]:
    """For each x_i >= 0 the sum over the other members of its group, to a few last places.

    Total minus own would cancel where x_i exceeds the sum of its rivals. So the largest of each
    group is left out of the group's sum: its own answer is that sum, and that of another member is
    the largest plus the rest, of which it is no more than the half.

    Args:
        x: at least 0.
        group: index of each one's group; `num_groups` for those in none, whose answer is undefined.
        num_groups: static.
    """
    # A float at least 0 orders as its bits do; their last ones give way to the row, so that each
    # group's largest key names one row, whose value is the largest or within a factor of two of it.
    row = jnp.arange(x.size, dtype=jnp.dtype(f"int{8 * x.dtype.itemsize}"))
    room = (1 << max(x.size - 1, 0).bit_length()) - 1
    key = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), row.dtype) & ~room | row
    top = jnp.full(num_groups, -1, key.dtype).at[group].max(key, mode="drop")
    holder = (top[jnp.minimum(group, num_groups - 1)] & room).astype(jnp.int32)
    is_top = holder == row
    rest = jnp.zeros(num_groups, x.dtype).at[group].add(jnp.where(is_top, 0, x), mode="drop")
    rest = rest[jnp.minimum(group, num_groups - 1)]
    return jnp.where(is_top, rest, x[holder] + (rest - x))


def argsort(x: Float[Array, "n"] | Integer[Array, "n"]) -> Int32[Array, "n"]:
    """Indices that sort x [n], as `jnp.argsort` has them: ties in their order, NaN last.

    On a CPU XLA sorts one array of words some five times as fast as values beside indices, which it
    compares by a function. So there value and index are one word where a value has 32 bits.
    """
    if x.dtype.itemsize != 4:
        return _argsort_pairs(x)
    return jax.lax.platform_dependent(x, cpu=_argsort_words, default=_argsort_pairs)


def _argsort_pairs(x: Array) -> Int32[Array, "n"]:
    return jnp.argsort(x).astype(jnp.int32)


def _argsort_words(x: Array) -> Int32[Array, "n"]:
    # 64 bits for the keys alone, whatever the caller's setting for his numbers.
    with jax.enable_x64(True):
        word = _ordered_bits(x).astype(jnp.uint64) << 32
        word = word | jnp.arange(x.size, dtype=jnp.uint64)
        return jax.lax.sort(word, is_stable=False).astype(jnp.uint32).astype(jnp.int32)


def _ordered_bits(x: Array) -> UInt32[Array, "n"]:
    """Words in the order of 32-bit numbers: -0 is 0, NaN follows infinity."""
    sign = jnp.uint32(1 << 31)
    if jnp.issubdtype(x.dtype, jnp.floating):
        # Compared as integers: XLA on a CPU takes numbers below 1.2e-38 for 0.
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
        nan = (bits & ~sign) > jnp.uint32(0x7F800000)
        bits = jnp.where(nan, jnp.uint32(0x7FC00000), jnp.where(bits == sign, 0, bits))
        # The larger a negative float's bits the smaller it is.
        return jnp.where(bits >= sign, ~bits, bits | sign)
    bits = x.astype(jnp.uint32)
    return bits ^ sign if jnp.issubdtype(x.dtype, jnp.signedinteger) else bits

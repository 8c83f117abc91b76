"""Conversions at the edges; everything inside is in W, Hz, m and bit/s."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lsajax._numerics import as_float

SPEED_OF_LIGHT_M_S = 299_792_458.0


def db_to_linear(value_db: ArrayLike) -> Float[Array, "..."]:
    """Power ratio [1] of `value_db` [dB]."""
    return 10.0 ** (as_float(value_db) / 10.0)


def linear_to_db(ratio: ArrayLike) -> Float[Array, "..."]:
    """Decibels of a power ratio [1]; -inf at 0."""
    return 10.0 * jnp.log10(as_float(ratio))


def dbm_to_w(power_dbm: ArrayLike) -> Float[Array, "..."]:
    """Watts of `power_dbm` [dBm]; dBm/Hz to W/Hz alike."""
    return db_to_linear(as_float(power_dbm) - 30.0)


def w_to_dbm(power_w: ArrayLike) -> Float[Array, "..."]:
    """dBm of `power_w` [W]; -inf at 0."""
    return linear_to_db(power_w) + 30.0

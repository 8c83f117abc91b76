"""An instance from one's own data, and checks of instances and assignments on the host."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32
from numpy.typing import ArrayLike

from lsajax import link, units
from lsajax.instance import Instance


def make_instance(
    received_power_w: ArrayLike,
    bandwidth_hz: ArrayLike,
    *,
    interference_w: ArrayLike | None = None,
    occupied: ArrayLike | None = None,
    user_id: ArrayLike | None = None,
    position_m: ArrayLike | None = None,
    noise_psd_dbm_hz: float = -174.0,
) -> Instance:
    """An instance from measured data, checked.

    Args:
        received_power_w: [users] received power [W], at least 0.
        bandwidth_hz: [channels] bandwidth [Hz], above 0.
        interference_w: [channels] I_m [W], at least 0; None for none.
        occupied: [channels] bool; None for all idle.
        user_id: [users] distinct ids; None for 0, 1, 2, ...
        position_m: [users, 2] [m], used by the coupling of Eq. (8) only; None for the origin.
        noise_psd_dbm_hz: noise power spectral density [dBm/Hz].

    Raises:
        ValueError: an argument of another shape or type, or with a value out of range; the message
            names it, what came and what is accepted.
    """
    power = np.atleast_1d(_numbers("received_power_w", received_power_w))
    bandwidth = np.atleast_1d(_numbers("bandwidth_hz", bandwidth_hz))
    K, M = power.shape[0], bandwidth.shape[0]

    def given(name: str, value: ArrayLike | None, default: np.ndarray) -> np.ndarray:
        return default if value is None else _numbers(name, value)

    ids = np.arange(K) if user_id is None else np.asarray(user_id)
    taken = np.zeros(M, bool) if occupied is None else np.asarray(occupied)
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"user_id must be integers, got {ids.dtype}")
    if taken.dtype != bool:
        raise ValueError(f"occupied must be True or False per channel, got {taken.dtype}")
    # Before the conversion to int32, which would wrap them.
    if ids.size and not (ids.min() >= 0 and ids.max() <= np.iinfo(np.int32).max):
        raise ValueError(
            f"user_id must be at least 0 and fit 32 bits, got {ids.min()} to {ids.max()}"
        )
    noise_psd_w_hz = units.dbm_to_w(noise_psd_dbm_hz)
    if np.shape(noise_psd_w_hz) or not 0 < float(noise_psd_w_hz) < np.inf:
        raise ValueError(
            "noise_psd_dbm_hz must be a number, and finite and above 0 in W/Hz, "
            f"got {noise_psd_dbm_hz}"
        )
    inst = Instance(
        user_id=jnp.asarray(ids, jnp.int32),
        user_mask=jnp.ones(K, bool),
        position_m=jnp.asarray(given("position_m", position_m, np.zeros((K, 2)))),
        mean_power_w=jnp.asarray(power),
        bandwidth_hz=jnp.asarray(bandwidth),
        carrier_gain=jnp.ones(M),
        interference_w=jnp.asarray(given("interference_w", interference_w, np.zeros(M))),
        occupied=jnp.asarray(taken),
        noise_psd_w_hz=noise_psd_w_hz,
        fading_seed=jnp.zeros(2, jnp.uint32),
        coupling_bps=jnp.asarray(0.0),
        coupling_length_m=jnp.asarray(1.0),
        adjacent_leakage=jnp.asarray(0.0),
        interference=interference_w is not None,
    )
    return _checked(inst, power="received_power_w")


def check_instance(inst: Instance) -> Instance:
    """The instance itself, after a check of its shapes and values on the host.

    Raises:
        ValueError: shapes or types that disagree, or a value that is not finite or out of range;
            the message names the field, what came and what is accepted.
    """
    return _checked(inst, power="mean_power_w")


def check_assignment(inst: Instance, assignment: ArrayLike) -> Int32[Array, "users"]:
    """`assignment` as i32[users], after a check on the host.

    `throughput` and its kin take any integers, since a raw assignment may hold any, and count what
    is out of range as a violation; this is for input that is meant to be right.

    Raises:
        ValueError: wrong shape or type, or a channel outside -1..M-1.
    """
    value = np.asarray(assignment)
    checked = link.as_assignment(inst, value)
    bad = np.flatnonzero((value < -1) | (value >= inst.num_channels))
    if bad.size:
        raise ValueError(
            f"assignment must be within -1..{inst.num_channels - 1} (-1: unassigned), "
            f"got {value[bad[0]]} for row {bad[0]}"
        )
    return checked


def _numbers(name: str, value: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from error


def _checked(inst: Instance, power: str) -> Instance:
    """`check_instance`, with `power` the word for `mean_power_w` in messages."""
    K, M = inst.mean_power_w.shape, inst.bandwidth_hz.shape
    if len(K) != 1 or len(M) != 1:
        raise ValueError(
            f"{power} and bandwidth_hz must be one-dimensional, got shapes {K} and {M}; "
            "map over a batch with jax.vmap"
        )
    if 0 in (*K, *M):
        raise ValueError(f"an instance needs a user and a channel, got {K[0]} and {M[0]}")

    def field(
        name: str,
        shape: tuple[int, ...],
        kind: type = np.floating,
        accepts: Callable[[np.ndarray], np.ndarray] = np.isfinite,
        accepted: str = "finite",
    ) -> None:
        array, name = getattr(inst, name), power if name == "mean_power_w" else name
        value = np.asarray(array)
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
        if not np.issubdtype(value.dtype, kind):
            raise ValueError(f"{name} must be of type {kind.__name__}, got {value.dtype}")
        bad = np.argwhere(~(np.isfinite(value) & accepts(value)))
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            at = f" at index {where}" if where else ""
            raise ValueError(f"{name} must be {accepted}, got {value[where]}{at}")

    at_least_0 = (np.floating, lambda v: v >= 0, "finite and at least 0")
    above_0 = (np.floating, lambda v: v > 0, "finite and above 0")
    field("user_id", K, np.integer)
    field("user_mask", K, np.bool_)
    field("position_m", (*K, 2))
    field("mean_power_w", K, *at_least_0)
    field("bandwidth_hz", M, *above_0)
    field("carrier_gain", M, *above_0)
    field("interference_w", M, *at_least_0)
    field("occupied", M, np.bool_)
    field("noise_psd_w_hz", (), *above_0)
    field("fading_seed", (2,), np.uint32)
    field("coupling_bps", (), *at_least_0)
    field("coupling_length_m", (), *above_0)
    field("adjacent_leakage", (), np.floating, lambda v: (v >= 0) & (v <= 1), "within [0, 1]")
    ids = np.asarray(inst.user_id)[np.asarray(inst.user_mask)]
    if len(np.unique(ids)) != len(ids) or (ids < 0).any():
        raise ValueError("user_id must be distinct and at least 0, got a repeated or negative id")
    # The switches are static and decide what is computed: an array behind a closed one is not read.
    if not inst.interference and np.any(np.asarray(inst.interference_w)):
        raise ValueError("interference_w must be 0 with interference=False, got values above 0")
    if not inst.wideband and np.any(np.asarray(inst.carrier_gain) != 1):
        raise ValueError("carrier_gain must be 1 with wideband=False, got other values")
    return inst

"""An instance from one's own data, and a check of one's own assignment."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int32

from lsajax import link, units
from lsajax.checks import check_instance
from lsajax.fading import Fading
from lsajax.instance import OBJECTIVES, READ_BY, REPLACED_BY, Instance

Data = ArrayLike | Sequence[Any]
"""Numbers, arrays of them, and lists."""


def make_instance(
    received_power_w: Data,
    bandwidth_hz: Data,
    *,
    carrier_gain: Data | None = None,
    interference_w: Data | None = None,
    fading: Fading | None = None,
    occupied: Data | None = None,
    user_id: Data | None = None,
    user_mask: Data | None = None,
    position_m: Data | None = None,
    noise_psd_dbm_hz: Data = -174.0,
    snr_gap_db: Data | None = None,
    max_spectral_efficiency: Data | None = None,
    objective: str = "throughput",
    weight: Data | None = None,
    alpha: Data | None = None,
    min_rate_bps: Data | None = None,
    min_rate_value: Data | None = None,
    coupling_bps: Data | None = None,
    coupling_length_m: Data | None = None,
    adjacent_leakage: Data | None = None,
    coupling: Data | None = None,
    leakage: Data | None = None,
) -> Instance:
    """An instance from one's own data: measured, ray-traced, or made by other code.

    Works under jit, vmap and grad. Shapes, types and what fits together are always checked, values
    where they are known, which under jit they are not.

    Args:
        received_power_w: [users] received power, or [users, channels] where it is known per pair
            (fading included, then) [W], at least 0.
        bandwidth_hz: [channels] bandwidth [Hz], above 0.
        carrier_gain: [channels] factor of the received power; None for 1.
        interference_w: [channels] or [users, channels] I_m [W], at least 0; None for none.
        fading: what random power gains are drawn from, see `lsajax.fading`; None for none.
        occupied: [channels] bool; None for all idle.
        user_id: [users] distinct ids; None for 0, 1, 2, ...
        user_mask: [users] bool, False for padding; None for no padding.
        position_m: [users, 2] [m], used by the coupling of Eq. (8) only; None for the origin.
        noise_psd_dbm_hz: noise power spectral density, noise figure included [dBm/Hz].
        snr_gap_db: SINR that a real code needs over what Shannon's needs [dB]; None for 0.
        max_spectral_efficiency: most bit/s/Hz; None for no limit.
        objective: 'throughput', 'fair' or 'coupled', see `lsajax.objective`.
        weight: [users] priorities, at least 0 and not all 0; None for 1.
        alpha: of the objective 'fair', at least 0; None for 1.
        min_rate_bps: [users] or one for all, rate that each user needs [bit/s]; None for none.
        min_rate_value: worth of a user's reaching it, in proportion below; None for 0, with
            which the need is counted in `violations` alone.
        coupling_bps: mu of Eq. (8) [bit/s], for 'coupled', which needs it.
        coupling_length_m: see `coupling.user_coupling` [m]; for 'coupled', None for 200 m.
        adjacent_leakage: see `coupling.channel_leakage`; for 'coupled', None for 0.5.
        coupling: [users, users] one's own G of Eq. (8) in place of the one by `position_m`,
            symmetric, at least 0, 0 on the diagonal.
        leakage: [channels, channels] one's own rho of Eq. (8), likewise.

    Raises:
        ValueError: an argument of another shape or type, or with a value out of range, or that has
            no effect beside the others; the message names it, what came and what is accepted.
    """
    power = jnp.atleast_1d(_floats("received_power_w", received_power_w))
    bandwidth = jnp.atleast_1d(_floats("bandwidth_hz", bandwidth_hz))
    K, M = power.shape[0], bandwidth.shape[0]
    given = {
        "position_m": position_m,
        "carrier_gain": carrier_gain,
        "interference_w": interference_w,
        "snr_gap_db": snr_gap_db,
        "max_spectral_efficiency": max_spectral_efficiency,
        "weight": weight,
        "alpha": alpha,
        "min_rate_bps": min_rate_bps,
        "min_rate_value": min_rate_value,
        "coupling_bps": coupling_bps,
        "coupling_length_m": coupling_length_m,
        "adjacent_leakage": adjacent_leakage,
        "coupling": coupling,
        "leakage": leakage,
    }
    _check_fit(objective, {name for name, value in given.items() if value is not None})
    inst = Instance(
        user_id=_integers("user_id", user_id, K),
        user_mask=_bools("user_mask", user_mask, jnp.ones(K, bool)),
        mean_power_w=power,
        bandwidth_hz=bandwidth,
        occupied=_bools("occupied", occupied, jnp.zeros(M, bool)),
        noise_psd_w_hz=units.dbm_to_w(_floats("noise_psd_dbm_hz", noise_psd_dbm_hz)),
        fading=fading,
        objective=objective,
        **_fields(given, K),
    )
    return check_instance(inst, _ARGUMENTS)


_ARGUMENTS = {
    "mean_power_w": "received_power_w",
    "noise_psd_w_hz": "noise_psd_dbm_hz in W/Hz",
    "snr_gap": "snr_gap_db as a ratio",
}
_DEFAULTS = {
    "alpha": 1.0,
    "min_rate_value": 0.0,
    "coupling_bps": 0.0,
    "coupling_length_m": 200.0,
    "adjacent_leakage": 0.5,
}


def _check_fit(objective: str, given: set[str]) -> None:
    """Raises ValueError where arguments do not fit together: one without effect, one that lacks."""
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    for name, reader in READ_BY.items():
        if name in given and objective != reader:
            raise ValueError(
                f"{name} has no effect with objective={objective!r}: it is for {reader!r}"
            )
    if "min_rate_value" in given and "min_rate_bps" not in given:
        raise ValueError("min_rate_value has no effect without min_rate_bps: give both")
    for name, own in REPLACED_BY.items():
        if {name, own} <= given:
            raise ValueError(f"{name} has no effect beside {own}: give one of them")
    if objective != "coupled":
        return
    if "coupling_bps" not in given:
        raise ValueError("coupling_bps (mu of Eq. (8)) must be given with objective='coupled'")
    if not {"position_m", "coupling"} & given:
        raise ValueError(
            "position_m or coupling must be given with objective='coupled': without them all "
            "users would be at one place"
        )


def _fields(given: dict[str, Data | None], K: int) -> dict[str, Any]:
    """Fields of the instance: arrays of floats, None where absent."""
    fields: dict[str, Any] = {}
    for name, value in given.items():
        value = _DEFAULTS.get(name) if value is None else value
        fields[name] = None if value is None else _floats(name, value)
    if fields["position_m"] is None:
        fields["position_m"] = jnp.zeros((K, 2))
    if (need := fields["min_rate_bps"]) is not None and need.ndim == 0:
        fields["min_rate_bps"] = jnp.full(K, need)
    gap_db = fields.pop("snr_gap_db")
    fields["snr_gap"] = None if gap_db is None else units.db_to_linear(gap_db)
    return fields


def check_assignment(inst: Instance, assignment: Data) -> Int32[Array, "users"]:
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


def _floats(name: str, value: Data) -> Array:
    try:
        return jnp.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from error


def _bools(name: str, value: Data | None, default: Array) -> Array:
    if value is None:
        return default
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.dtype != bool:
        per = "channel" if name == "occupied" else "user"
        raise ValueError(f"{name} must be True or False per {per}, got {array.dtype}")
    return jnp.asarray(array)


def _integers(name: str, value: Data | None, size: int) -> Int32[Array, "n"]:
    if value is None:
        return jnp.arange(size, dtype=jnp.int32)
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    if isinstance(array, np.ndarray) and array.size:
        # Before the conversion to int32, which would wrap them.
        low, high = array.min(), array.max()
        if low < 0 or high > np.iinfo(np.int32).max:
            raise ValueError(f"{name} must be at least 0 and fit 32 bits, got {low} to {high}")
    return jnp.asarray(array, jnp.int32)

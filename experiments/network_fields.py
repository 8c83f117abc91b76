"""The fields of a network's file: names with units, accepted shapes and values; SI within."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Field(NamedTuple):
    """A field of a file.

    Attributes:
        quantity: what it says; two fields of one quantity exclude each other.
        shapes: accepted ones, a letter per axis: K users, M channels, S slots, 2 coordinates.
        to_si: what its numbers become.
        kind: 'linear' (finite, at least 0), 'decibels', 'any' (finite), 'bool' or 'id'.
    """

    quantity: str
    shapes: tuple[str, ...]
    to_si: Callable[[np.ndarray], np.ndarray] = np.asarray
    kind: str = "linear"


def _times(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda value: value * factor


def _from_db(value: np.ndarray) -> np.ndarray:
    return 10 ** (value / 10)


def _from_dbm(value: np.ndarray) -> np.ndarray:
    return 10 ** (value / 10 - 3)


_PAIRS = ("K", "KM", "KMS")
FIELDS = {
    "received_power_w": Field("received_power_w", _PAIRS),
    "received_power_dbm": Field("received_power_w", _PAIRS, _from_dbm, "decibels"),
    "gain": Field("gain", _PAIRS),
    "gain_db": Field("gain", _PAIRS, _from_db, "decibels"),
    "tx_power_w": Field("tx_power_w", ("", "K")),
    "tx_power_dbm": Field("tx_power_w", ("", "K"), _from_dbm, "any"),
    "bandwidth_hz": Field("bandwidth_hz", ("", "M")),
    "bandwidth_khz": Field("bandwidth_hz", ("", "M"), _times(1e3)),
    "bandwidth_mhz": Field("bandwidth_hz", ("", "M"), _times(1e6)),
    "interference_w": Field("interference_w", ("M", "KM", "KMS")),
    "interference_dbm": Field("interference_w", ("M", "KM", "KMS"), _from_dbm, "decibels"),
    "noise_psd_w_hz": Field("noise_psd_w_hz", ("",)),
    "noise_psd_dbm_hz": Field("noise_psd_w_hz", ("",), _from_dbm, "any"),
    "noise_figure_db": Field("noise_figure", ("",), _from_db, "any"),
    "user_id": Field("user_id", ("K",), kind="id"),
    "channel_id": Field("channel_id", ("M",), kind="id"),
    "user_mask": Field("user_mask", ("K", "KS"), kind="bool"),
    "occupied": Field("occupied", ("M", "MS"), kind="bool"),
    "position_m": Field("position_m", ("K2",), kind="any"),
    "snr_gap_db": Field("snr_gap_db", ("",), kind="any"),
    "max_spectral_efficiency": Field("max_spectral_efficiency", ("",)),
    "weight": Field("weight", ("K",)),
    "alpha": Field("alpha", ("",)),
    "min_rate_bps": Field("min_rate_bps", ("", "K")),
    "min_rate_mbps": Field("min_rate_bps", ("", "K"), _times(1e6)),
    "min_rate_value": Field("min_rate_value", ("",)),
    "coupling_bps": Field("coupling_bps", ("",)),
    "coupling_mbps": Field("coupling_bps", ("",), _times(1e6)),
    "coupling_length_m": Field("coupling_length_m", ("",)),
    "adjacent_leakage": Field("adjacent_leakage", ("",)),
    "coupling": Field("coupling", ("KK",)),
    "leakage": Field("leakage", ("MM",)),
}
"""Name in a file -> what it is. Needed: a received power, or a gain and a transmit power; and a
bandwidth. A name that begins with an underscore is the file's own affair."""


def quantities(
    name: str, fields: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Quantities by name in W, Hz, m and bit/s, and the sizes K, M and S.

    Args:
        name: begins every message.
        fields: arrays or numbers by a name in `FIELDS`.

    Raises:
        ValueError: an unknown field, two of one quantity, one that lacks, a wrong shape or value.
    """
    arrays = {key: np.asarray(v) for key, v in fields.items() if not key.startswith("_")}
    _check_names(name, arrays)
    sizes = _sizes(name, arrays)
    return {FIELDS[key].quantity: _value(name, key, v, sizes) for key, v in arrays.items()}, sizes


def _check_names(name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Which fields are there: known ones, of each quantity one, and all that is needed."""
    for key in arrays:
        if key not in FIELDS:
            near = difflib.get_close_matches(key, FIELDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"{name}: unknown field {key}{hint} Known: {', '.join(FIELDS)}")
    by_quantity: dict[str, list[str]] = {}
    for key in arrays:
        by_quantity.setdefault(FIELDS[key].quantity, []).append(key)
    for keys in by_quantity.values():
        if len(keys) > 1:
            raise ValueError(f"{name}: {' and '.join(keys)} say the same: give one of them")
    power, gain, sent = (k in by_quantity for k in ("received_power_w", "gain", "tx_power_w"))
    came = ", ".join(arrays) or "no field"
    if power and (gain or sent):
        raise ValueError(
            f"{name}: a received power and a gain or transmit power say the same: give "
            f"received_power_w (or _dbm), or gain (or gain_db) and tx_power_w (or _dbm); got {came}"
        )
    if not (power or (gain and sent)):
        lacking = "tx_power_w or tx_power_dbm beside the gain"
        if not gain:
            lacking = "received_power_w or received_power_dbm, or gain or gain_db and a tx_power"
        raise ValueError(f"{name}: needs the field {lacking}; got {came}")
    if "bandwidth_hz" not in by_quantity:
        raise ValueError(
            f"{name}: needs the field bandwidth_hz, bandwidth_khz or bandwidth_mhz; got {came}"
        )


def _sizes(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """K, M and S: by the power's axes first, then by what else has that axis."""
    by_quantity = {FIELDS[key].quantity: (key, value) for key, value in arrays.items()}
    key, power = by_quantity.get("received_power_w") or by_quantity["gain"]
    if power.ndim not in (1, 2, 3):
        raise ValueError(
            f"{name}: {key} must have axes users, users x channels or users x channels x slots, "
            f"got shape {power.shape}"
        )
    band, bandwidth = by_quantity["bandwidth_hz"]
    K, M = power.shape[0], bandwidth.size
    if M == 1 and power.ndim > 1:
        M = power.shape[1]
    slots = [power.shape[2]] if power.ndim == 3 else []
    for quantity, own, axes in (("occupied", M, 2), ("user_mask", K, 2), ("interference_w", K, 3)):
        _, value = by_quantity.get(quantity, (None, np.empty(0)))
        if value.ndim == axes and value.shape[0] == own:
            slots.append(value.shape[-1])
    if not (K and M):
        raise ValueError(f"{name}: {key} and {band} must have a user and a channel, got none")
    return {"K": K, "M": M, "S": max(slots, default=1), "2": 2}


_AXES = {"K": "users", "M": "channels", "S": "slots", "2": "x and y"}


def _value(name: str, key: str, value: np.ndarray, sizes: Mapping[str, int]) -> np.ndarray:
    """A field in SI units and in an accepted shape."""
    field = FIELDS[key]
    return field.to_si(_of_kind(name, key, _of_shape(name, key, value, field, sizes), field.kind))


def _of_shape(
    name: str, key: str, value: np.ndarray, field: Field, sizes: Mapping[str, int]
) -> np.ndarray:
    accepted = [tuple(sizes[axis] for axis in shape) for shape in field.shapes]
    if value.shape in accepted:
        return value

    def long_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(size for size in shape if size != 1)

    # MATLAB knows no vectors, and drops a last axis of length 1.
    for shape in accepted:
        if long_axes(shape) == long_axes(value.shape):
            return value.reshape(shape)
    words = [
        f"{shape} ({' x '.join(_AXES[axis] for axis in axes)})" if axes else "() (one number)"
        for axes, shape in zip(field.shapes, accepted, strict=True)
    ]
    raise ValueError(f"{name}: {key} must have shape {' or '.join(words)}, got {value.shape}")


def _of_kind(name: str, key: str, value: np.ndarray, kind: str) -> np.ndarray:
    """A field's numbers, checked."""
    if kind == "bool":
        if value.dtype != bool and not np.isin(value, (0, 1)).all():
            raise ValueError(f"{name}: {key} must be True or False (or 1 or 0), got other values")
        return value.astype(bool)
    if not (np.issubdtype(value.dtype, np.integer) or np.issubdtype(value.dtype, np.floating)):
        hint = ""
        if np.issubdtype(value.dtype, np.complexfloating):
            hint = ": a power or gain is the squared magnitude"
        raise ValueError(f"{name}: {key} must be real numbers, got {value.dtype}{hint}")
    if kind == "id":
        return _ids(name, key, value)
    value = value.astype(float)
    # No power at all is -inf dBm.
    good = np.isfinite(value) | ((kind == "decibels") & np.isneginf(value))
    accepted, hint = "finite", ""
    if kind == "linear":
        good &= value >= 0
        accepted = "finite and at least 0"
        unit = {"received_power_w": "received_power_dbm", "interference_w": "interference_dbm"}
        in_db = {**unit, "gain": "gain_db"}.get(key)
        if in_db and (value < 0).any():
            hint = f"; decibels go into {in_db}"
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        at = f" at index {where}" if where else ""
        raise ValueError(f"{name}: {key} must be {accepted}, got {value[where]}{at}{hint}")
    if kind == "decibels" and ((value > 0) & (value < 1e-3)).all():
        raise ValueError(
            f"{name}: {key} must be in decibels, got values between {value.min():g} and "
            f"{value.max():g}, which look linear: name the field {_linear_name(key)}"
        )
    return value


def _linear_name(key: str) -> str:
    return key.removesuffix("_db") if key.endswith("_db") else key.replace("_dbm", "_w")


def _ids(name: str, key: str, value: np.ndarray) -> np.ndarray:
    ids = value.astype(np.int64)
    if (ids != value).any() or (ids < 0).any() or len(np.unique(ids)) < len(ids):
        raise ValueError(f"{name}: {key} must be distinct integers of at least 0")
    return ids

"""Whether an instance is one: shapes, types and, where they are known, values of its fields."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from lsajax.fading import Fading
from lsajax.instance import OBJECTIVES, Instance


def check_instance(inst: Instance, names: dict[str, str] | None = None) -> Instance:
    """The instance itself, after a check of its shapes and, where they are known, its values.

    Args:
        inst: one slot.
        names: what messages call a field, where that is not its own name.

    Raises:
        ValueError: shapes or types that disagree, or a value that is not finite or out of range;
            the message names the field, what came and what is accepted.
    """
    names = names or {}
    power = names.get("mean_power_w", "mean_power_w")
    power_shape, bandwidth_shape = inst.mean_power_w.shape, inst.bandwidth_hz.shape
    if len(power_shape) not in (1, 2) or len(bandwidth_shape) != 1:
        raise ValueError(
            f"{power} must be [users] or [users, channels] and bandwidth_hz [channels], got shapes "
            f"{power_shape} and {bandwidth_shape}; map over a batch with jax.vmap"
        )
    if inst.objective not in OBJECTIVES:
        raise ValueError(
            f"objective must be one of {', '.join(OBJECTIVES)}, got {inst.objective!r}"
        )
    sizes = {"K": power_shape[0], "M": bandwidth_shape[0], "2": 2}
    if 0 in sizes.values():
        raise ValueError(
            f"an instance needs a user and a channel, got {sizes['K']} and {sizes['M']}"
        )
    for name, field in _FIELDS.items():
        value = getattr(inst, name)
        if value is not None:
            _check_field(names.get(name, name), value, field, sizes)
    _check_fading(inst.fading, sizes)
    _check_together(inst)
    return inst


class _Field(NamedTuple):
    """What a field of an instance must be.

    Attributes:
        shapes: accepted ones, a letter per axis: K users, M channels.
        kind: of its numbers.
        accepts: which values, element by element.
        accepted: the same in words.
    """

    shapes: tuple[str, ...]
    kind: type = np.floating
    accepts: Callable[[np.ndarray], np.ndarray] = np.isfinite
    accepted: str = "finite"


def _at_least_0(*shapes: str) -> _Field:
    return _Field(shapes, np.floating, lambda v: v >= 0, "finite and at least 0")


def _above_0(*shapes: str) -> _Field:
    return _Field(shapes, np.floating, lambda v: v > 0, "finite and above 0")


_FIELDS = {
    "user_id": _Field(("K",), np.integer),
    "user_mask": _Field(("K",), np.bool_),
    "position_m": _Field(("K2",)),
    "mean_power_w": _at_least_0("K", "KM"),
    "bandwidth_hz": _above_0("M"),
    "occupied": _Field(("M",), np.bool_),
    "noise_psd_w_hz": _above_0(""),
    "carrier_gain": _above_0("M"),
    "interference_w": _at_least_0("M", "KM"),
    "snr_gap": _above_0(""),
    "max_spectral_efficiency": _above_0(""),
    "weight": _at_least_0("K"),
    "alpha": _at_least_0(""),
    "min_rate_bps": _at_least_0("K"),
    "min_rate_value": _at_least_0(""),
    "coupling_bps": _at_least_0(""),
    "coupling_length_m": _above_0(""),
    "adjacent_leakage": _Field(("",), np.floating, lambda v: (v >= 0) & (v <= 1), "within [0, 1]"),
    "coupling": _at_least_0("KK"),
    "leakage": _at_least_0("MM"),
}


def _check_field(name: str, array: Any, field: _Field, sizes: dict[str, int]) -> None:
    shapes = [tuple(sizes[axis] for axis in shape) for shape in field.shapes]
    if array.shape not in shapes:
        accepted = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must have shape {accepted}, got {array.shape}")
    if not np.issubdtype(array.dtype, field.kind):
        raise ValueError(f"{name} must be of type {field.kind.__name__}, got {array.dtype}")
    if isinstance(array, jax.core.Tracer):
        return
    value = np.asarray(array)
    bad = np.argwhere(~(np.isfinite(value) & field.accepts(value)))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        at = f" at index {where}" if where else ""
        hint = ""
        if name == "received_power_w" and (value < 0).all():
            hint = "; all values are negative: lsajax.units.dbm_to_w makes W of dBm"
        raise ValueError(f"{name} must be {field.accepted}, got {value[where]}{at}{hint}")


def _check_fading(fading: Fading | None, sizes: dict[str, int]) -> None:
    if fading is None:
        return
    _check_field("fading.seed", fading.seed, _Field(("2",), np.uint32), sizes)
    if fading.rician_factor is not None:
        _check_field("fading.rician_factor", fading.rician_factor, _at_least_0(""), sizes)
    if fading.multipath is not None:
        for name, value in fading.multipath._asdict().items():
            field = _at_least_0("M" if name == "frequency_hz" else "")
            _check_field(f"fading.multipath.{name}", value, field, sizes)


def _check_together(inst: Instance) -> None:
    """What several values have to do with each other."""
    parts = (inst.user_id, inst.user_mask, inst.weight, inst.coupling, inst.leakage)
    if any(isinstance(part, jax.core.Tracer) for part in parts):
        return
    ids = np.asarray(inst.user_id)[np.asarray(inst.user_mask)]
    if len(np.unique(ids)) != len(ids) or (ids < 0).any():
        raise ValueError("user_id must be distinct and at least 0, got a repeated or negative id")
    if inst.weight is not None and not np.any(np.asarray(inst.weight)[np.asarray(inst.user_mask)]):
        raise ValueError("weight must be above 0 for at least one user, got 0 for all")
    for name in ("coupling", "leakage"):
        if (matrix := getattr(inst, name)) is not None:
            value = np.asarray(matrix)
            if not np.allclose(value, value.T) or np.diagonal(value).any():
                raise ValueError(f"{name} must be symmetric and 0 on the diagonal, and is not")

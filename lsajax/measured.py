"""An instance from one's own data, and checks of instances and assignments on the host."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int32

from lsajax import link, units
from lsajax.fading import Fading
from lsajax.instance import OBJECTIVES, Instance

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
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    coupled = {
        "coupling_bps": (coupling_bps, 0.0),
        "coupling_length_m": (coupling_length_m, 200.0),
        "adjacent_leakage": (adjacent_leakage, 0.5),
        "coupling": (coupling, None),
        "leakage": (leakage, None),
    }
    _check_fit(objective, {name: value for name, (value, _) in coupled.items()}, position_m, alpha)
    if min_rate_value is not None and min_rate_bps is None:
        raise ValueError("min_rate_value has no effect without min_rate_bps: give both")
    if min_rate_bps is not None and np.ndim(min_rate_bps) == 0:
        min_rate_bps = jnp.full(K, _floats("min_rate_bps", min_rate_bps))
    snr_gap = None
    if snr_gap_db is not None:
        snr_gap = units.db_to_linear(_floats("snr_gap_db", snr_gap_db))
    optional: dict[str, Any] = {
        "carrier_gain": carrier_gain,
        "interference_w": interference_w,
        "snr_gap": snr_gap,
        "max_spectral_efficiency": max_spectral_efficiency,
        "weight": weight,
        "min_rate_bps": min_rate_bps,
    }
    defaults: dict[str, Any] = {
        "position_m": (position_m, jnp.zeros((K, 2))),
        "alpha": (alpha, 1.0),
        "min_rate_value": (min_rate_value, 0.0),
        **coupled,
    }
    given: dict[str, Any] = {
        **optional,
        **{name: v if v is not None else d for name, (v, d) in defaults.items()},
    }
    fields: dict[str, Any] = {
        name: value if value is None else _floats(name, value) for name, value in given.items()
    }
    inst = Instance(
        user_id=_integers("user_id", user_id, K),
        user_mask=_bools("user_mask", user_mask, jnp.ones(K, bool)),
        mean_power_w=power,
        bandwidth_hz=bandwidth,
        occupied=_bools("occupied", occupied, jnp.zeros(M, bool)),
        noise_psd_w_hz=units.dbm_to_w(_floats("noise_psd_dbm_hz", noise_psd_dbm_hz)),
        fading=fading,
        objective=objective,
        **fields,
    )
    names = {
        "mean_power_w": "received_power_w",
        "noise_psd_w_hz": "noise_psd_dbm_hz in W/Hz",
        "snr_gap": "snr_gap_db as a ratio",
    }
    return _checked(inst, names)


def check_instance(inst: Instance) -> Instance:
    """The instance itself, after a check of its shapes and, where they are known, its values.

    Raises:
        ValueError: shapes or types that disagree, or a value that is not finite or out of range;
            the message names the field, what came and what is accepted.
    """
    return _checked(inst, {})


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


def _check_fit(
    objective: str,
    coupled: dict[str, Data | None],
    position_m: Data | None,
    alpha: Data | None,
) -> None:
    if alpha is not None and objective != "fair":
        raise ValueError(f"alpha has no effect with objective={objective!r}: it is for 'fair'")
    if objective != "coupled":
        for name, value in coupled.items():
            if value is not None:
                raise ValueError(
                    f"{name} has no effect with objective={objective!r}: it is for 'coupled'"
                )
        return
    if coupled["coupling_bps"] is None:
        raise ValueError("coupling_bps (mu of Eq. (8)) must be given with objective='coupled'")
    if coupled["coupling"] is None and position_m is None:
        raise ValueError(
            "position_m or coupling must be given with objective='coupled': without them all "
            "users would be at one place"
        )
    if coupled["coupling"] is not None and coupled["coupling_length_m"] is not None:
        raise ValueError("coupling_length_m has no effect beside coupling: give one of them")
    if coupled["leakage"] is not None and coupled["adjacent_leakage"] is not None:
        raise ValueError("adjacent_leakage has no effect beside leakage: give one of them")


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


def _checked(inst: Instance, names: dict[str, str]) -> Instance:
    """`check_instance`, with other `names` for some fields in messages."""
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

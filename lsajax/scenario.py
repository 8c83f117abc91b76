"""`Scenario`: what is simulated. Sizes are static under jit, physical constants are traced."""

import dataclasses
import functools
import math
import numbers
from typing import Any

import jax
import numpy as np


def _static(default: Any = dataclasses.MISSING) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One base station, `num_users` registered users and `num_channels` orthogonal channels.

    The paper's triple (N, M, K) is (`num_users`, `num_channels`, `num_active`). Sizes and switches
    are static: another value compiles anew. Everything else is a leaf of the pytree, so it may be
    traced, differentiated and batched; `vmap` over `radius_m`, say, needs no recompilation.

    Attributes:
        num_users: N, registered users.
        num_channels: M, channels.
        num_active: K, requesting users of a slot; the most of a slot where the number varies.
        num_active_min: fewest requesting users of a slot; None means exactly `num_active`.
        poisson: users form a Poisson process, so that the requesting ones, a thinning of it, are
            Poisson with mean `num_active`; rows are padded to `max_active` and masked.
        fading: independent Rayleigh fading per user and channel.
        shadowing: log-normal shadowing per user.
        wideband: a carrier per channel, uniform in [`carrier_min_hz`, `carrier_max_hz`].
        interference: I_m > 0 of Eq. (3) on some channels.
        radius_m: radius of the disc [m].
        tx_power_dbm: transmit power [dBm].
        tx_gain_dbi: transmit antenna gain [dBi].
        rx_gain_dbi: receive antenna gain [dBi].
        path_loss_exponent: alpha of Eq. (2).
        carrier_hz: carrier, and the reference carrier in the wideband variant [Hz].
        carrier_min_hz: lowest carrier of the wideband variant [Hz].
        carrier_max_hz: highest carrier of the wideband variant [Hz].
        shadowing_std_db: standard deviation of the shadowing [dB].
        noise_psd_dbm_hz: noise power spectral density [dBm/Hz].
        bandwidth_min_hz: narrowest channel [Hz].
        bandwidth_max_hz: widest channel [Hz].
        interference_share: share of channels with I_m > 0.
        interference_to_noise_db: mean of I_m / (N_0 B_m) on those channels [dB].
        occupancy: stationary share of channels held by a primary user.
        occupancy_dwell_slots: mean stay of a primary user [slots].
        activity_dwell_slots: mean length of a user's burst of requests [slots].
        coupling_bps: mu of Eq. (8), the rate lost per unit of coupling x leakage [bit/s].
        coupling_length_m: distance over which the coupling of two users falls by 1/e [m].
        adjacent_leakage: leakage between neighbouring channels; its square at distance two.

    Raises:
        ValueError: a value out of range, named with what came and what is accepted.
    """

    num_users: int = _static()
    num_channels: int = _static()
    num_active: int = _static()
    num_active_min: int | None = _static(None)
    poisson: bool = _static(False)
    fading: bool = _static(False)
    shadowing: bool = _static(False)
    wideband: bool = _static(False)
    interference: bool = _static(False)
    radius_m: float = 500.0
    tx_power_dbm: float = 23.0
    tx_gain_dbi: float = 0.0
    rx_gain_dbi: float = 0.0
    path_loss_exponent: float = 2.5
    carrier_hz: float = 2.4e9
    carrier_min_hz: float = 0.7e9
    carrier_max_hz: float = 3.8e9
    shadowing_std_db: float = 8.0
    noise_psd_dbm_hz: float = -174.0
    bandwidth_min_hz: float = 10e6
    bandwidth_max_hz: float = 20e6
    interference_share: float = 0.3
    interference_to_noise_db: float = 10.0
    occupancy: float = 0.1
    occupancy_dwell_slots: float = 10.0
    activity_dwell_slots: float = 5.0
    coupling_bps: float = 50e6
    coupling_length_m: float = 200.0
    adjacent_leakage: float = 0.5

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not field.metadata.get("static"):
                object.__setattr__(self, field.name, _as_constant(getattr(self, field.name)))
        _check_sizes(self)
        _check_constants(self)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        """Physical constants are leaves, the rest is static."""
        leaves = [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in _leaf_names()]
        return leaves, tuple(getattr(self, n) for n in _static_names())

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], leaves: Any) -> "Scenario":
        """Without validation: a tree's leaves may be tracers, axes or gradients, not constants."""
        scenario = object.__new__(cls)
        names = (*_static_names(), *_leaf_names())
        for name, value in zip(names, (*static, *leaves), strict=True):
            object.__setattr__(scenario, name, value)
        return scenario

    def replace(self, **changes: Any) -> "Scenario":
        """A copy with `changes`, validated again."""
        return dataclasses.replace(self, **changes)

    @property
    def max_users(self) -> int:
        """Ids of registered users lie in [0, max_users): N, or with `poisson` the padded count."""
        return _padded(self.num_users) if self.poisson else self.num_users

    @property
    def max_active(self) -> int:
        """Rows of an instance: K, or with `poisson` the padded count."""
        return _padded(self.num_active) if self.poisson else self.num_active

    @property
    def min_active(self) -> int:
        """Fewest requesting users of a slot."""
        return self.num_active if self.num_active_min is None else self.num_active_min


@functools.cache
def _static_names() -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(Scenario) if f.metadata.get("static"))


@functools.cache
def _leaf_names() -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(Scenario) if not f.metadata.get("static"))


def _as_constant(value: Any) -> Any:
    """Numbers as Python floats, integer arrays as arrays of floats, all else as it is.

    5_800_000_000 Hz is no int32, to which JAX would wrap it; and another type would compile anew.
    """
    value = value[()] if isinstance(value, np.ndarray) else value  # 0-d: a scalar
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, (jax.Array, np.ndarray)) and np.issubdtype(value.dtype, np.integer):
        return value.astype(float)
    return value


def _padded(mean: int) -> int:
    """Mean plus six standard deviations, and a few: a Poisson count passes it with p < 1e-7."""
    return math.ceil(mean + 6 * math.sqrt(mean) + 6)


def _check_sizes(s: Scenario) -> None:
    for name in ("num_users", "num_channels", "num_active", "num_active_min"):
        value = getattr(s, name)
        if name == "num_active_min" and value is None:
            continue
        # bool is an int to Python, and a slot of True users is a mistake.
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    for name in ("poisson", "fading", "shadowing", "wideband", "interference"):
        if not isinstance(getattr(s, name), bool):
            raise ValueError(f"{name} must be True or False, got {getattr(s, name)!r}")
    if s.num_active > s.num_users:
        raise ValueError(
            f"num_active must be at most num_users={s.num_users}, got {s.num_active}: "
            "more users would request than are registered"
        )
    if s.min_active > s.num_active:
        raise ValueError(
            f"num_active_min must be at most num_active={s.num_active}, got {s.num_active_min}"
        )
    if s.poisson and s.num_active_min is not None:
        raise ValueError("num_active_min must be None with poisson=True: the count is Poisson")


def _constant(s: Scenario, name: str) -> float | None:
    """The value where it is one concrete number; None for a tracer or a batch."""
    value = getattr(s, name)
    if isinstance(value, jax.core.Tracer):
        return None
    is_array = isinstance(value, (jax.Array, np.ndarray))
    if isinstance(value, bool) or not (is_array or isinstance(value, numbers.Real)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value) if np.ndim(value) == 0 else None


_POSITIVE = (
    "radius_m",
    "path_loss_exponent",
    "carrier_hz",
    "carrier_min_hz",
    "carrier_max_hz",
    "bandwidth_min_hz",
    "bandwidth_max_hz",
    "coupling_length_m",
)
_FINITE = (
    "tx_power_dbm",
    "tx_gain_dbi",
    "rx_gain_dbi",
    "noise_psd_dbm_hz",
    "interference_to_noise_db",
)
_BOUNDS: dict[str, tuple[float, float, str]] = {
    **{name: (math.ulp(0.0), math.inf, "a finite number above 0") for name in _POSITIVE},
    **dict.fromkeys(_FINITE, (-math.inf, math.inf, "a finite number")),
    "shadowing_std_db": (0, math.inf, "a finite number of at least 0"),
    "coupling_bps": (0, math.inf, "a finite number of at least 0"),
    "interference_share": (0, 1, "within [0, 1]"),
    "adjacent_leakage": (0, 1, "within [0, 1]"),
    "occupancy": (0, math.nextafter(1, 0), "within [0, 1)"),
    "occupancy_dwell_slots": (1, math.inf, "a finite number of at least 1 slot"),
    "activity_dwell_slots": (1, math.inf, "a finite number of at least 1 slot"),
}


def _check_constants(s: Scenario) -> None:
    for name, (low, high, accepted) in _BOUNDS.items():
        value = _constant(s, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{name} must be {accepted}, got {value!r}")
    for low_name, high_name in (
        ("bandwidth_min_hz", "bandwidth_max_hz"),
        ("carrier_min_hz", "carrier_max_hz"),
    ):
        a, b = _constant(s, low_name), _constant(s, high_name)
        if a is not None and b is not None and a > b:
            raise ValueError(f"{low_name} must be at most {high_name}={b:g}, got {a:g}")
    occupancy, dwell = _constant(s, "occupancy"), _constant(s, "occupancy_dwell_slots")
    if occupancy is not None and dwell is not None and occupancy / (1 - occupancy) > dwell:
        raise ValueError(
            f"occupancy_dwell_slots must be at least occupancy / (1 - occupancy) = "
            f"{occupancy / (1 - occupancy):g} for the Markov chain to exist, got {dwell:g}"
        )

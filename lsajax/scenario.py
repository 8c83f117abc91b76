"""`Scenario`: what is simulated. Sizes are static under jit, physical constants are traced."""

import dataclasses
import functools
import math
import numbers
from typing import Any

import jax
import numpy as np

from lsajax.instance import OBJECTIVES


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
        fading: independent Rayleigh fading per user and channel, drawn anew in each slot.
        multipath: fading by paths of each user: alike on near channels and in near slots.
        shadowing: log-normal shadowing per user.
        wideband: power falls with the carrier's square along the band, see `band_start_hz`.
        interference: I_m > 0 of Eq. (3) on some channels.
        objective: 'throughput', 'fair' or 'coupled', see `lsajax.objective`.
        radius_m: radius of the disc [m].
        tx_power_dbm: transmit power [dBm].
        tx_gain_dbi: transmit antenna gain [dBi].
        rx_gain_dbi: receive antenna gain [dBi].
        path_loss_exponent: alpha of Eq. (2).
        carrier_hz: carrier, and the reference carrier in the wideband variant [Hz].
        band_start_hz: lower edge of channel 0; the channels lie side by side above it, in the
            order of their indices [Hz].
        rician_factor_db: power of the direct path over that of all others, with `fading` or
            `multipath` [dB]; None for no direct path (Rayleigh).
        delay_spread_s: mean delay of the paths of `multipath` after the first; its inverse over
            2 pi is the distance of channels at which their correlation falls to 0.7 [s].
        speed_m_s: of the users, which sets the Doppler shift of `multipath` [m/s].
        slot_s: time from slot to slot [s].
        shadowing_std_db: standard deviation of the shadowing [dB].
        shadowing_distance_m: distance over which the correlation of two users' shadowing falls
            by 1/e (Gudmundson's model) [m]; None for independent users.
        noise_psd_dbm_hz: noise power spectral density [dBm/Hz].
        noise_figure_db: noise that the receiver adds [dB].
        snr_gap_db: SINR that a real code needs over what Shannon's needs [dB]; None for 0.
        max_spectral_efficiency: most bit/s/Hz of a link; None for no limit.
        bandwidth_min_hz: narrowest channel [Hz].
        bandwidth_max_hz: widest channel [Hz].
        interference_share: share of channels with I_m > 0.
        interference_to_noise_db: mean of I_m / (N_0 B_m) on those channels [dB].
        occupancy: stationary share of channels held by a primary user.
        occupancy_dwell_slots: mean stay of a primary user [slots].
        activity_dwell_slots: mean length of a user's burst of requests [slots].
        weight_max: priorities of the users are uniform in [1, `weight_max`]; None for none.
        alpha: of the objective 'fair': 0 is throughput, 1 proportional fairness.
        min_rate_bps: rate that every user needs [bit/s]; None for no needs.
        min_rate_value: worth of a user's reaching it, in the objective's unit.
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
    multipath: bool = _static(False)
    shadowing: bool = _static(False)
    wideband: bool = _static(False)
    interference: bool = _static(False)
    objective: str = _static("throughput")
    radius_m: float = 500.0
    tx_power_dbm: float = 23.0
    tx_gain_dbi: float = 0.0
    rx_gain_dbi: float = 0.0
    path_loss_exponent: float = 2.5
    carrier_hz: float = 2.4e9
    band_start_hz: float = 0.7e9
    rician_factor_db: float | None = None
    delay_spread_s: float = 20e-9
    speed_m_s: float = 1.0
    slot_s: float = 1e-3
    shadowing_std_db: float = 8.0
    shadowing_distance_m: float | None = None
    noise_psd_dbm_hz: float = -174.0
    noise_figure_db: float = 0.0
    snr_gap_db: float | None = None
    max_spectral_efficiency: float | None = None
    bandwidth_min_hz: float = 10e6
    bandwidth_max_hz: float = 20e6
    interference_share: float = 0.3
    interference_to_noise_db: float = 10.0
    occupancy: float = 0.1
    occupancy_dwell_slots: float = 10.0
    activity_dwell_slots: float = 5.0
    weight_max: float | None = None
    alpha: float = 1.0
    min_rate_bps: float | None = None
    min_rate_value: float = 0.0
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
    for name in ("poisson", "fading", "multipath", "shadowing", "wideband", "interference"):
        if not isinstance(getattr(s, name), bool):
            raise ValueError(f"{name} must be True or False, got {getattr(s, name)!r}")
    if s.objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {s.objective!r}")
    if s.min_rate_bps is None and _constant(s, "min_rate_value") not in (None, 0.0):
        raise ValueError("min_rate_value has no effect without min_rate_bps: give both")
    if s.fading and s.multipath:
        raise ValueError("fading and multipath exclude each other: each is a law of the same gain")
    if s.rician_factor_db is not None and not (s.fading or s.multipath):
        raise ValueError("rician_factor_db has no effect without fading=True or multipath=True")
    if s.shadowing_distance_m is not None and not s.shadowing:
        raise ValueError("shadowing_distance_m has no effect without shadowing=True")
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
    if isinstance(value, jax.core.Tracer) or (value is None and name in _OPTIONAL):
        return None
    is_array = isinstance(value, (jax.Array, np.ndarray))
    if isinstance(value, bool) or not (is_array or isinstance(value, numbers.Real)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return float(value) if np.ndim(value) == 0 else None


_POSITIVE = (
    "radius_m",
    "path_loss_exponent",
    "carrier_hz",
    "band_start_hz",
    "bandwidth_min_hz",
    "bandwidth_max_hz",
    "coupling_length_m",
    "shadowing_distance_m",
    "max_spectral_efficiency",
    "slot_s",
)
_FINITE = (
    "tx_power_dbm",
    "tx_gain_dbi",
    "rx_gain_dbi",
    "noise_psd_dbm_hz",
    "interference_to_noise_db",
    "rician_factor_db",
    "noise_figure_db",
    "snr_gap_db",
)
_NOT_NEGATIVE = (
    "shadowing_std_db",
    "coupling_bps",
    "delay_spread_s",
    "speed_m_s",
    "alpha",
    "min_rate_bps",
    "min_rate_value",
)
_OPTIONAL = (
    "rician_factor_db",
    "shadowing_distance_m",
    "snr_gap_db",
    "max_spectral_efficiency",
    "weight_max",
    "min_rate_bps",
)
_BOUNDS: dict[str, tuple[float, float, str]] = {
    **{name: (math.ulp(0.0), math.inf, "a finite number above 0") for name in _POSITIVE},
    **dict.fromkeys(_FINITE, (-math.inf, math.inf, "a finite number")),
    **dict.fromkeys(_NOT_NEGATIVE, (0, math.inf, "a finite number of at least 0")),
    "weight_max": (1, math.inf, "a finite number of at least 1"),
    "interference_share": (0, 1, "within [0, 1]"),
    "adjacent_leakage": (0, 1, "within [0, 1]"),
    "occupancy": (0, math.nextafter(1, 0), "within [0, 1)"),
    "occupancy_dwell_slots": (1, math.inf, "a finite number of at least 1 slot"),
    "activity_dwell_slots": (1, math.inf, "a finite number of at least 1 slot"),
}


def _check_constants(s: Scenario) -> None:
    for name, (least, most, accepted) in _BOUNDS.items():
        value = _constant(s, name)
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            raise ValueError(f"{name} must be {accepted}, got {value!r}")
    low, high = _constant(s, "bandwidth_min_hz"), _constant(s, "bandwidth_max_hz")
    if low is not None and high is not None and low > high:
        raise ValueError(f"bandwidth_min_hz must be at most bandwidth_max_hz={high:g}, got {low:g}")
    occupancy, dwell = _constant(s, "occupancy"), _constant(s, "occupancy_dwell_slots")
    if occupancy is not None and dwell is not None and occupancy / (1 - occupancy) > dwell:
        raise ValueError(
            f"occupancy_dwell_slots must be at least occupancy / (1 - occupancy) = "
            f"{occupancy / (1 - occupancy):g} for the Markov chain to exist, got {dwell:g}"
        )

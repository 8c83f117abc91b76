"""`HostSlot`: one instance on the host in float64, for prompt, programs and actions."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Int64

import lsajax as lsa
from lsajax import link

_CHUNK = 2**24  # pairs of which the fading is evaluated at a time


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HostSlot:
    """The requesting users and the idle channels of one instance: what a decision is about.

    Made once per instance, by `host_slot`. Padding and occupied channels are left out; what is
    None is absent, as in `lsajax.Instance`, where each field is explained.

    Attributes:
        num_rows: rows of the instance, padding included.
        num_channels: M, occupied channels included.
        rows: row of each user in the instance.
        users: id of each user.
        channels: id of each idle channel, ascending.
        occupied: ids of the occupied channels, ascending.
        mean_power_w: received power without carrier gain and fading, of users or of pairs [W].
        bandwidth_hz: B_m [Hz].
        noise_psd_w_hz: N_0 [W/Hz].
        power_w: returns the received power [W], [users, 1] where it is alike on all channels and
            [users, channels] otherwise; computed at each call, since it has K x M entries.
        position_m: positions [m].
        carrier_gain: (lambda_m / lambda_reference)^2 [1].
        interference_w: I_m, of channels or of pairs [W].
        fading: None, or in a word how power gains are drawn: `Rayleigh`, `Rician` or `multipath`.
        snr_gap: a ratio [1].
        max_spectral_efficiency: most bit/s/Hz.
        objective: one of `lsajax.OBJECTIVES`.
        weight: priority of each user [1].
        alpha: of the objective 'fair' [1].
        min_rate_bps: rate that each user needs [bit/s].
        min_rate_value: worth of a user's reaching it.
        coupling_bps: mu of Eq. (8) [bit/s].
        coupling_length_m: over which the coupling falls by 1/e [m].
        adjacent_leakage: rho between neighbouring channels [1].
        coupling: one's own G of the users [1].
        leakage: one's own rho of the idle channels [1].
    """

    num_rows: int
    num_channels: int
    rows: Int64[np.ndarray, "users"]
    users: Int64[np.ndarray, "users"]
    channels: Int64[np.ndarray, "channels"]
    occupied: Int64[np.ndarray, "occupied"]
    mean_power_w: Float[np.ndarray, "users *channels"]
    bandwidth_hz: Float[np.ndarray, "channels"]
    noise_psd_w_hz: float
    power_w: Callable[[], Float[np.ndarray, "users columns"]]
    position_m: Float[np.ndarray, "users 2"]
    carrier_gain: Float[np.ndarray, "channels"] | None
    interference_w: Float[np.ndarray, "*users channels"] | None
    fading: str | None
    snr_gap: float | None
    max_spectral_efficiency: float | None
    objective: str
    weight: Float[np.ndarray, "users"] | None
    alpha: float
    min_rate_bps: Float[np.ndarray, "users"] | None
    min_rate_value: float
    coupling_bps: float
    coupling_length_m: float
    adjacent_leakage: float
    coupling: Float[np.ndarray, "users users"] | None
    leakage: Float[np.ndarray, "channels channels"] | None

    @property
    def power_per_pair(self) -> bool:
        """Whether the received power of a user differs between channels."""
        parts = (self.carrier_gain, self.fading)
        return self.mean_power_w.ndim > 1 or any(part is not None for part in parts)

    @property
    def setting(self) -> str:
        """What rates depend on, in the names of `lsajax.SETTINGS`, joined by `+`; or `plain`.

        Power that is given per pair is `measured`.
        """
        fading = "multipath" if self.fading == "multipath" else "fading"
        kinds = {
            "measured": self.mean_power_w.ndim > 1,
            fading: self.fading is not None,
            "wideband": self.carrier_gain is not None,
            "interference": self.interference_w is not None,
        }
        return "+".join(kind for kind, there in kinds.items() if there) or "plain"

    @property
    def servable(self) -> int:
        """How many users can have a channel of their own."""
        return min(len(self.users), len(self.channels))

    @functools.cached_property
    def by_id(self) -> Int64[np.ndarray, "users"]:
        """Places in `users` in the order of the ids."""
        return np.argsort(self.users)


def host_slot(inst: lsa.Instance | HostSlot) -> HostSlot:
    """The host's arrays of an instance; a `HostSlot` is returned as it is."""
    if isinstance(inst, HostSlot):
        return inst
    rows = np.flatnonzero(np.asarray(inst.user_mask))
    occupied = np.asarray(inst.occupied)
    idle = np.flatnonzero(~occupied)
    pairs = np.ix_(rows, idle)

    def part(value: Array | None, *axes: np.ndarray) -> np.ndarray | None:
        return None if value is None else np.asarray(value, np.float64)[np.ix_(*axes)]

    def scalar(value: Array | None) -> float | None:
        return None if value is None else float(value)

    def of_pairs(value: Array, axis: np.ndarray) -> np.ndarray:
        """Per pair, or per user or channel alone."""
        array = np.asarray(value, np.float64)
        return array[pairs] if array.ndim == 2 else array[axis]

    mean_power_w = of_pairs(inst.mean_power_w, rows)
    carrier_gain = part(inst.carrier_gain, idle)

    def power_w() -> Float[np.ndarray, "users columns"]:
        if inst.fading is not None:
            return _faded_power(inst, rows, idle)
        # The product in float64 directly: no K x M matrix is drawn for it.
        power = mean_power_w if mean_power_w.ndim == 2 else mean_power_w[:, None]
        return power if carrier_gain is None else power * carrier_gain

    coupled = inst.objective == "coupled"
    return HostSlot(
        num_rows=inst.num_rows,
        num_channels=inst.num_channels,
        rows=rows,
        users=np.asarray(inst.user_id, np.int64)[rows],
        channels=idle,
        occupied=np.flatnonzero(occupied),
        mean_power_w=mean_power_w,
        bandwidth_hz=np.asarray(inst.bandwidth_hz, np.float64)[idle],
        noise_psd_w_hz=float(inst.noise_psd_w_hz),
        power_w=power_w,
        position_m=np.asarray(inst.position_m, np.float64)[rows],
        carrier_gain=carrier_gain,
        interference_w=None if inst.interference_w is None else of_pairs(inst.interference_w, idle),
        fading=_fading_kind(inst),
        snr_gap=scalar(inst.snr_gap),
        max_spectral_efficiency=scalar(inst.max_spectral_efficiency),
        objective=inst.objective,
        weight=part(inst.weight, rows),
        alpha=float(inst.alpha),
        min_rate_bps=part(inst.min_rate_bps, rows),
        min_rate_value=float(inst.min_rate_value),
        coupling_bps=float(inst.coupling_bps),
        coupling_length_m=float(inst.coupling_length_m),
        adjacent_leakage=float(inst.adjacent_leakage),
        coupling=part(inst.coupling if coupled else None, rows, rows),
        leakage=part(inst.leakage if coupled else None, idle, idle),
    )


def host_slots(instances: Sequence[lsa.Instance]) -> list[HostSlot]:
    """A slot for each instance; the same object in several places has one slot."""
    slots: dict[int, HostSlot] = {}
    for inst in instances:
        if id(inst) not in slots:
            slots[id(inst)] = host_slot(inst)
    return [slots[id(inst)] for inst in instances]


def warm_up(inst: lsa.Instance) -> None:
    """Compile what `HostSlot.power_w` needs for this shape."""
    if inst.fading is not None:
        _power_rows(inst, _chunks(inst)[0])


def _fading_kind(inst: lsa.Instance) -> str | None:
    if inst.fading is None:
        return None
    if inst.fading.multipath is not None:
        return "multipath"
    return "Rayleigh" if inst.fading.rician_factor is None else "Rician"


def _faded_power(
    inst: lsa.Instance, rows: Int64[np.ndarray, "users"], idle: Int64[np.ndarray, "channels"]
) -> Float[np.ndarray, "users channels"]:
    """Rows of the instance in chunks of one shape: nothing but the result is ever whole."""
    power_w = np.empty((len(rows), len(idle)))
    start = 0
    for chunk in _chunks(inst):
        wanted = rows[(rows >= chunk[0]) & (rows <= chunk[-1])]
        if wanted.size:
            found = np.asarray(_power_rows(inst, chunk))[np.ix_(wanted - chunk[0], idle)]
            power_w[start : start + len(wanted)] = found
            start += len(wanted)
    return power_w


def _chunks(inst: lsa.Instance) -> list[Int[np.ndarray, "rows"]]:
    """Rows in chunks of equal length; the last is filled up with its last row."""
    length = max(1, min(inst.num_rows, _CHUNK // inst.num_channels))
    starts = range(0, inst.num_rows, length)
    return [np.minimum(np.arange(s, s + length), inst.num_rows - 1) for s in starts]


@jax.jit
def _power_rows(inst: lsa.Instance, rows: Int[Array, "rows"]) -> Float[Array, "rows channels"]:
    return link.power_at(inst, rows, None)

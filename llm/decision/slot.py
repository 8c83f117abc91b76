"""`HostSlot`: one instance on the host in float64, for prompt, programs and actions."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int64

import lsajax as lsa


@dataclasses.dataclass(frozen=True, eq=False)
class HostSlot:
    """The requesting users and the idle channels of one instance: what a decision is about.

    Made once per instance, by `host_slot`. Padding and occupied channels are left out.

    Attributes:
        num_rows: rows of the instance, padding included.
        num_channels: M, occupied channels included.
        rows: row of each user in the instance.
        users: id of each user.
        channels: id of each idle channel, ascending.
        occupied: ids of the occupied channels, ascending.
        mean_power_w: received power without carrier gain and fading [W].
        bandwidth_hz: B_m [Hz].
        carrier_gain: (lambda_m / lambda_reference)^2 [1].
        interference_w: I_m [W].
        noise_psd_w_hz: N_0 [W/Hz].
        power_w: returns the received power [W], [users, 1] where it is alike on all channels and
            [users, channels] otherwise; computed at each call, being all that has K x M entries.
        fading: as in `lsajax.Instance`.
        wideband: as in `lsajax.Instance`.
        interference: as in `lsajax.Instance`.
    """

    num_rows: int
    num_channels: int
    rows: Int64[np.ndarray, "users"]
    users: Int64[np.ndarray, "users"]
    channels: Int64[np.ndarray, "channels"]
    occupied: Int64[np.ndarray, "occupied"]
    mean_power_w: Float[np.ndarray, "users"]
    bandwidth_hz: Float[np.ndarray, "channels"]
    carrier_gain: Float[np.ndarray, "channels"]
    interference_w: Float[np.ndarray, "channels"]
    noise_psd_w_hz: float
    power_w: Callable[[], Float[np.ndarray, "users columns"]]
    fading: bool
    wideband: bool
    interference: bool

    @property
    def setting(self) -> str:
        """The kind of setting as the prompt names it: `plain`, or switches joined by `+`."""
        kinds = [k for k in ("fading", "wideband", "interference") if getattr(self, k)]
        return "+".join(kinds) or "plain"

    @property
    def servable(self) -> int:
        """How many users can have a channel of their own."""
        return min(len(self.users), len(self.channels))

    @functools.cached_property
    def by_id(self) -> Int64[np.ndarray, "users"]:
        """Places in `users` in the order of the ids."""
        return np.argsort(self.users)


_channel_power = jax.jit(lsa.channel_power)


def host_slot(inst: lsa.Instance | HostSlot) -> HostSlot:
    """The host's arrays of an instance; a `HostSlot` is returned as it is."""
    if isinstance(inst, HostSlot):
        return inst
    rows = np.flatnonzero(np.asarray(inst.user_mask))
    occupied = np.asarray(inst.occupied)
    idle = np.flatnonzero(~occupied)
    mean_power_w = np.asarray(inst.mean_power_w, np.float64)[rows]
    carrier_gain = np.asarray(inst.carrier_gain, np.float64)[idle]

    def power_w() -> Float[np.ndarray, "users columns"]:
        if inst.fading:
            return np.asarray(_channel_power(inst), np.float64)[np.ix_(rows, idle)]
        # The outer product in float64 directly: no K x M matrix is drawn for it.
        return mean_power_w[:, None] * (carrier_gain if inst.wideband else 1.0)

    return HostSlot(
        num_rows=inst.num_rows,
        num_channels=inst.num_channels,
        rows=rows,
        users=np.asarray(inst.user_id, np.int64)[rows],
        channels=idle,
        occupied=np.flatnonzero(occupied),
        mean_power_w=mean_power_w,
        bandwidth_hz=np.asarray(inst.bandwidth_hz, np.float64)[idle],
        carrier_gain=carrier_gain,
        interference_w=np.asarray(inst.interference_w, np.float64)[idle],
        noise_psd_w_hz=float(inst.noise_psd_w_hz),
        power_w=power_w,
        fading=inst.fading,
        wideband=inst.wideband,
        interference=inst.interference,
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
    if inst.fading:
        _channel_power(inst)

"""`Instance`: the data of one slot, a pytree that jits, vmaps and differentiates."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int32, UInt32


def _static(default: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Instance:
    """K requesting users (rows, padded) and M channels of one slot.

    Received power is `mean_power_w[i] * carrier_gain[m] * h_im` with h_im the fading power gain,
    a hash of (`fading_seed`, `user_id[i]`, m): nothing here has K x M entries.

    Attributes:
        user_id: id in 0..N-1 of each row; the keys of an action are such ids.
        user_mask: False where a row is padding.
        position_m: positions, the station at the origin [m].
        mean_power_w: Eq. (2) at the reference carrier, with shadowing [W].
        bandwidth_hz: B_m [Hz].
        carrier_gain: (lambda_m / lambda_reference)^2 [1].
        interference_w: I_m [W].
        occupied: o_m, channels held by a primary user; forbidden.
        noise_psd_w_hz: N_0 [W/Hz].
        fading_seed: counter key of the fading.
        coupling_bps: mu of Eq. (8) [bit/s].
        coupling_length_m: see `objective.user_coupling` [m].
        adjacent_leakage: see `objective.channel_leakage` [1].
        fading: power depends on (user, channel) through h_im (static).
        wideband: `carrier_gain` is not all ones (static).
        interference: `interference_w` is not all zeros (static).
    """

    user_id: Int32[Array, "users"]
    user_mask: Bool[Array, "users"]
    position_m: Float[Array, "users 2"]
    mean_power_w: Float[Array, "users"]
    bandwidth_hz: Float[Array, "channels"]
    carrier_gain: Float[Array, "channels"]
    interference_w: Float[Array, "channels"]
    occupied: Bool[Array, "channels"]
    noise_psd_w_hz: Float[Array, ""]
    fading_seed: UInt32[Array, "2"]
    coupling_bps: Float[Array, ""]
    coupling_length_m: Float[Array, ""]
    adjacent_leakage: Float[Array, ""]
    fading: bool = _static()
    wideband: bool = _static()
    interference: bool = _static()

    def replace(self, **changes: Any) -> "Instance":
        """A copy with `changes`."""
        return dataclasses.replace(self, **changes)

    @property
    def num_rows(self) -> int:
        """K, padding included."""
        return self.mean_power_w.shape[-1]

    @property
    def num_channels(self) -> int:
        """M."""
        return self.bandwidth_hz.shape[-1]

    @property
    def sortable(self) -> bool:
        """Whether sorting both sides is exactly optimal: power alike on all channels, I_m = 0."""
        return not (self.fading or self.wideband or self.interference)

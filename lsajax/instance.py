"""`Instance`: the data of one slot, a pytree that jits, vmaps and differentiates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from lsajax.fading import Fading

OBJECTIVES = ("throughput", "fair", "coupled")
"""What an assignment is worth, see `lsajax.objective.objective_value`."""

READ_BY = {
    "alpha": "fair",
    **dict.fromkeys(
        ("coupling_bps", "coupling_length_m", "adjacent_leakage", "coupling", "leakage"), "coupled"
    ),
}
"""Fields that one objective alone reads -> that objective."""
REPLACED_BY = {"coupling_length_m": "coupling", "adjacent_leakage": "leakage"}
"""Fields that are not read where one's own matrix is given -> that matrix."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
    """K requesting users (rows, padded) and M channels of one slot, on the uplink to one station.

    Received power is `mean_power_w[i] * carrier_gain[m] * h_im` with h_im the fading power gain, a
    hash of (seed, user, channel): nothing has K x M entries unless it is given so. Users on one
    channel interfere at the station, each with its own received power. A downlink, where what a
    user hears is its own affair, is expressed by `interference_w` per pair.

    What is None is absent, which is static: nothing is computed for it.

    Attributes:
        user_id: id in 0..N-1 of each row; the keys of an action are such ids.
        user_mask: False where a row is padding.
        position_m: positions, the station at the origin [m].
        mean_power_w: received power of each user, Eq. (2) at the reference carrier with
            shadowing, or of each user on each channel [W].
        bandwidth_hz: B_m [Hz].
        occupied: o_m, channels held by a primary user; forbidden.
        noise_psd_w_hz: N_0, noise figure included [W/Hz].
        carrier_gain: (lambda_m / lambda_reference)^2 [1].
        interference_w: I_m of each channel, or of each user on each channel [W].
        fading: what h_im is drawn from.
        snr_gap: SINR that a real code needs over what Shannon's needs [1].
        max_spectral_efficiency: most bit/s/Hz of the highest modulation and code.
        objective: one of `OBJECTIVES` (static).
        weight: priority of each user, a factor of its value [1].
        alpha: of the fair objective: 0 is throughput, 1 proportional fairness [1].
        min_rate_bps: rate that each user needs [bit/s].
        min_rate_value: worth of a user's reaching it, in proportion below, in the objective's unit.
        coupling_bps: mu of Eq. (8) [bit/s].
        coupling_length_m: see `coupling.user_coupling` [m].
        adjacent_leakage: see `coupling.channel_leakage` [1].
        coupling: one's own G of Eq. (8), symmetric and 0 on the diagonal [1].
        leakage: one's own rho of Eq. (8), symmetric and 0 on the diagonal [1].
    """

    user_id: Int32[Array, "users"]
    user_mask: Bool[Array, "users"]
    position_m: Float[Array, "users 2"]
    mean_power_w: Float[Array, "users"] | Float[Array, "users channels"]
    bandwidth_hz: Float[Array, "channels"]
    occupied: Bool[Array, "channels"]
    noise_psd_w_hz: Float[Array, ""]
    alpha: Float[Array, ""]
    min_rate_value: Float[Array, ""]
    coupling_bps: Float[Array, ""]
    coupling_length_m: Float[Array, ""]
    adjacent_leakage: Float[Array, ""]
    carrier_gain: Float[Array, "channels"] | None = None
    interference_w: Float[Array, "channels"] | Float[Array, "users channels"] | None = None
    fading: Fading | None = None
    snr_gap: Float[Array, ""] | None = None
    max_spectral_efficiency: Float[Array, ""] | None = None
    objective: str = dataclasses.field(default="throughput", metadata={"static": True})
    weight: Float[Array, "users"] | None = None
    min_rate_bps: Float[Array, "users"] | None = None
    coupling: Float[Array, "users users"] | None = None
    leakage: Float[Array, "channels channels"] | None = None

    def replace(self, **changes: Any) -> "Instance":
        """A copy with `changes`.

        Raises:
            ValueError: an unknown objective; or a change that nothing would read: `alpha` where
                the objective is not 'fair', a part of the coupling where it is not 'coupled' or
                one's own `coupling` or `leakage` stands for it, 'coupled' with a `coupling_bps` of
                0, `min_rate_value` without `min_rate_bps`.
        """
        new = dataclasses.replace(self, **changes)
        if new.objective not in OBJECTIVES:
            raise ValueError(
                f"objective must be one of {', '.join(OBJECTIVES)}, got {new.objective!r}"
            )
        for name in changes:
            reader = READ_BY.get(name, new.objective)
            if new.objective != reader:
                raise ValueError(
                    f"{name} has no effect with objective={new.objective!r}: "
                    f"replace objective by {reader!r} too"
                )
        for name, own in REPLACED_BY.items():
            if name in changes and getattr(new, own) is not None:
                raise ValueError(f"{name} has no effect beside {own}: replace {own} by None too")
        if changes.get("objective") == "coupled" and "coupling_bps" not in changes:
            known = not isinstance(new.coupling_bps, jax.core.Tracer)
            if known and not np.any(np.asarray(new.coupling_bps)):
                raise ValueError(
                    "objective 'coupled' has no effect with coupling_bps 0: replace it"
                )
        if "min_rate_value" in changes and new.min_rate_bps is None:
            raise ValueError("min_rate_value has no effect without min_rate_bps: replace it too")
        return new

    def without_coupling(self) -> "Instance":
        """Itself, or with objective 'coupled' that of its separable part alone."""
        if self.objective != "coupled":
            return self
        return self.replace(objective="throughput")

    def of_rates(self, weight: Array | None = None) -> "Instance":
        """Itself with the sum of the rates, Eq. (4), as its objective: without needs and coupling.

        Args:
            weight: [users] priorities; None for none.
        """
        return self.replace(objective="throughput", weight=weight, min_rate_bps=None)

    @property
    def num_rows(self) -> int:
        """K, padding included."""
        return self.user_mask.shape[-1]

    @property
    def num_channels(self) -> int:
        """M."""
        return self.bandwidth_hz.shape[-1]

    @property
    def power_per_pair(self) -> bool:
        """Whether `mean_power_w` is of each user on each channel."""
        return self.mean_power_w.ndim > self.user_mask.ndim

    @property
    def interference_per_pair(self) -> bool:
        """Whether `interference_w` is of each user on each channel."""
        return self.interference_w is not None and self.interference_w.ndim > self.user_mask.ndim

    @property
    def user_power_w(self) -> Float[Array, "users"]:
        """Received power of each user [W]: where it is given per pair, the mean over idle channels.

        Over all channels where none is idle: such a slot needs an order of its users, too.
        """
        if not self.power_per_pair:
            return self.mean_power_w
        idle = ~self.occupied | jnp.all(self.occupied)
        return jnp.mean(self.mean_power_w, axis=1, where=idle)

    @property
    def rate_by_power(self) -> bool:
        """Whether rates depend on a user's one power and a channel's bandwidth alone."""
        parts = (self.carrier_gain, self.fading, self.interference_w)
        return not self.power_per_pair and all(part is None for part in parts)

    @property
    def sortable(self) -> bool:
        """Whether strong users on wide channels are exactly optimal, whatever the values are.

        So it is for the throughput of rates by power alone: then d2r / dP dB > 0. Of another
        objective `solvers.sorted_matching` finds out, and says so in its status.
        """
        extras = (self.weight, self.min_rate_bps, self.max_spectral_efficiency)
        alike = self.rate_by_power and all(part is None for part in extras)
        return alike and self.objective == "throughput"

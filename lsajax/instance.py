"""`Instance`: the data of one slot, a pytree that jits, vmaps and differentiates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int32, UInt32

from lsajax import units


def _static(default: bool = False) -> Any:
    return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Instance:
    """K requesting users (rows, padded) and M channels of one slot.

    Received power is `mean_power_w[i] * carrier_gain[m] * h_im` with h_im the fading power gain,
    a hash of (`fading_seed`, `user_id[i]`, m): nothing here has K x M entries.

    Args:
        user_id: id in 0..N-1 of each row; what `action` dictionaries are keyed with.
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


def make_instance(
    received_power_w: ArrayLike,
    bandwidth_hz: ArrayLike,
    *,
    interference_w: ArrayLike | None = None,
    occupied: ArrayLike | None = None,
    user_id: ArrayLike | None = None,
    position_m: ArrayLike | None = None,
    noise_psd_dbm_hz: float = -174.0,
) -> Instance:
    """An instance from measured data, checked.

    Args:
        received_power_w: [users] received power [W], at least 0.
        bandwidth_hz: [channels] bandwidth [Hz], above 0.
        interference_w: [channels] I_m [W], at least 0; None for none.
        occupied: [channels] bool; None for all idle.
        user_id: [users] distinct ids; None for 0, 1, 2, ...
        position_m: [users, 2] [m], used by the coupling of Eq. (8) only; None for the origin.
        noise_psd_dbm_hz: noise power spectral density [dBm/Hz].

    Raises:
        ValueError: what `check_instance` raises.
    """
    power = np.atleast_1d(np.asarray(received_power_w, float))
    bandwidth = np.atleast_1d(np.asarray(bandwidth_hz, float))
    K, M = power.shape[0], bandwidth.shape[0]
    for name, value, kind in (("user_id", user_id, np.integer), ("occupied", occupied, np.bool_)):
        if value is not None and not np.issubdtype(np.asarray(value).dtype, kind):
            expected = "integers" if kind is np.integer else "True or False per channel"
            raise ValueError(f"{name} must be {expected}, got {np.asarray(value).dtype}")
    if user_id is not None and np.max(user_id, initial=0) > np.iinfo(np.int32).max:
        raise ValueError(f"user_id must fit 32 bits, got {np.max(user_id)}")
    inst = Instance(
        user_id=jnp.asarray(np.arange(K) if user_id is None else user_id, jnp.int32),
        user_mask=jnp.ones(K, bool),
        position_m=jnp.asarray(np.zeros((K, 2)) if position_m is None else position_m, float),
        mean_power_w=jnp.asarray(power),
        bandwidth_hz=jnp.asarray(bandwidth),
        carrier_gain=jnp.ones(M),
        interference_w=jnp.asarray(
            np.zeros(M) if interference_w is None else interference_w, float
        ),
        occupied=jnp.asarray(np.zeros(M) if occupied is None else occupied, bool),
        noise_psd_w_hz=units.dbm_to_w(noise_psd_dbm_hz),
        fading_seed=jnp.zeros(2, jnp.uint32),
        coupling_bps=jnp.asarray(0.0),
        coupling_length_m=jnp.asarray(1.0),
        adjacent_leakage=jnp.asarray(0.0),
        interference=interference_w is not None,
    )
    return check_instance(inst)


def check_instance(inst: Instance) -> Instance:
    """The instance itself, after a check of its shapes and values on the host.

    Raises:
        ValueError: shapes that disagree, or a value that is not finite or out of range; the
            message names the field, what came and what is accepted.
    """
    K, M = inst.mean_power_w.shape, inst.bandwidth_hz.shape
    if len(K) == len(M) == 1 and 0 in (*K, *M):
        raise ValueError(f"an instance needs a user and a channel, got {K[0]} and {M[0]}")
    if len(K) != 1 or len(M) != 1:
        raise ValueError(
            f"mean_power_w and bandwidth_hz must be one-dimensional, got shapes {K} and {M}; "
            "map over a batch with jax.vmap"
        )
    expected = {
        "user_id": K,
        "user_mask": K,
        "position_m": (*K, 2),
        "carrier_gain": M,
        "interference_w": M,
        "occupied": M,
        "noise_psd_w_hz": (),
    }
    for name, shape in expected.items():
        if getattr(inst, name).shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {getattr(inst, name).shape}")
    for name in ("mean_power_w", "interference_w"):
        _check_values(name, getattr(inst, name), lambda v: v >= 0, "finite and at least 0 W")
    for name in ("bandwidth_hz", "carrier_gain", "noise_psd_w_hz"):
        _check_values(name, getattr(inst, name), lambda v: v > 0, "finite and above 0")
    _check_values("position_m", inst.position_m, lambda v: v == v, "finite")
    ids = np.asarray(inst.user_id)[np.asarray(inst.user_mask)]
    if len(np.unique(ids)) != len(ids) or (ids < 0).any():
        raise ValueError("user_id must be distinct and at least 0, got a repeated or negative id")
    # The switches are static and decide what is computed: an array behind a closed one is not read.
    if not inst.interference and np.any(np.asarray(inst.interference_w)):
        raise ValueError("interference_w must be 0 with interference=False, got values above 0")
    if not inst.wideband and np.any(np.asarray(inst.carrier_gain) != 1):
        raise ValueError("carrier_gain must be 1 with wideband=False, got other values")
    return inst


def _check_values(name: str, array: ArrayLike, accepts: Any, accepted: str) -> None:
    value = np.asarray(array)
    bad = ~(np.isfinite(value) & accepts(value))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} must be {accepted}, got {value[where]} at index {where}")


def check_assignment(inst: Instance, assignment: ArrayLike) -> Int32[Array, "users"]:
    """`assignment` as i32[users], after a check on the host.

    `throughput` and its kin take any integers, since an agent's raw action may hold any, and count
    what is out of range as a violation; this is for input that is meant to be right.

    Raises:
        ValueError: wrong shape or type, or a channel outside -1..M-1.
    """
    value = np.asarray(assignment)
    if value.shape != (inst.num_rows,) or not np.issubdtype(value.dtype, np.integer):
        raise ValueError(
            f"assignment must be {inst.num_rows} integers, one per user, "
            f"got shape {value.shape} of {value.dtype}"
        )
    bad = np.flatnonzero((value < -1) | (value >= inst.num_channels))
    if bad.size:
        raise ValueError(
            f"assignment must be within -1..{inst.num_channels - 1} (-1: unassigned), "
            f"got {value[bad[0]]} for row {bad[0]}"
        )
    return jnp.asarray(value, jnp.int32)

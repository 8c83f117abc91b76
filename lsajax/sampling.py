"""Sampled instances: a fresh network per key, or the slots of one network under its traffic."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt32

from lsajax import hashing, link, topology, traffic, units
from lsajax.fading import Fading, Multipath
from lsajax.instance import Instance
from lsajax.scenario import Scenario
from lsajax.traffic import TrafficState


def sample_instance(key: jax.Array, scenario: Scenario) -> Instance:
    """One slot of a freshly drawn network: positions, channels, requests and primary users.

    The number of requesting users is `num_active`; uniform in [num_active_min, num_active] where
    that range is open; Poisson with `poisson`. Primary users hold the channels that
    `traffic.occupied_channels` draws: each with probability `occupancy`, given that `num_active`
    channels stay idle where so many exist.
    """
    user_id = topology.stratified_ids(
        hashing.seed(key, "user ids"), scenario.max_active, scenario.max_users
    )
    occupied = traffic.occupied_channels(hashing.named_key(key, "primary users"), scenario)
    requests = Requests(user_id, _sample_mask(key, scenario), occupied)
    return _build(key, scenario, requests, hashing.seed(key, "fading"), 0.0)


def slot_instance(key: jax.Array, scenario: Scenario, state: TrafficState) -> Instance:
    """The slot that `state` describes, in the network that `key` stands for.

    The same key gives the same positions, shadowing, channels and interference in every slot, those
    of `sample_instance`. Fading is drawn anew per slot; with `multipath` it goes on from the slot
    before, `slot_s` later.

    Raises:
        ValueError: what `traffic.check_scenario` and `traffic.check_state` raise.
    """
    traffic.check_scenario(scenario)
    traffic.check_state(scenario, state)
    rows = scenario.num_active
    (active_id,) = jnp.nonzero(state.active, size=rows, fill_value=0)
    mask = jnp.arange(rows) < jnp.sum(state.active)
    requests = Requests(active_id.astype(jnp.int32), mask, state.occupied)
    if scenario.multipath:
        return _build(
            key, scenario, requests, hashing.seed(key, "fading"), state.slot * scenario.slot_s
        )
    fading_key = hashing.named_key(key, "fading by slot")
    fading_seed = hashing.seed(jax.random.fold_in(fading_key, state.slot))
    return _build(key, scenario, requests, fading_seed, 0.0)


class Requests(NamedTuple):
    """Who asks in a slot, and which channels are taken.

    Attributes:
        user_id: of each row.
        mask: False for padding.
        occupied: channels held by a primary user.
    """

    user_id: Int32[Array, "users"]
    mask: Bool[Array, "users"]
    occupied: Bool[Array, "channels"]


def _sample_mask(key: jax.Array, scenario: Scenario) -> Bool[Array, "users"]:
    """Which rows request: any subset of the right size is as likely, whatever their ids."""
    rows = scenario.max_active
    seed = hashing.seed(key, "number of requests")
    span = scenario.num_active - scenario.min_active + 1
    if scenario.poisson:
        # jax.random.poisson knows threefry keys alone.
        threefry = jax.random.wrap_key_data(seed, impl="threefry2x32")
        count = jnp.minimum(jax.random.poisson(threefry, scenario.num_active), rows)
    elif span == 1:
        return jnp.ones(rows, bool)
    else:
        extra = (hashing.uniform(seed, 0) * span).astype(jnp.int32)
        count = scenario.min_active + jnp.minimum(extra, span - 1)
    return hashing.subset(hashing.seed(key, "requesting rows"), jnp.ones(rows, bool), count)


def _build(
    key: jax.Array,
    scenario: Scenario,
    requests: Requests,
    fading_seed: UInt32[Array, "2"],
    time_s: float | Float[Array, ""],
) -> Instance:
    user_id = requests.user_id
    distance_m, azimuth_rad = topology.disc_polar(
        hashing.seed(key, "positions"), user_id, scenario.radius_m
    )
    position_m = topology.cartesian(distance_m, azimuth_rad)
    power = link.received_power(
        distance_m,
        tx_power_w=units.dbm_to_w(scenario.tx_power_dbm),
        carrier_hz=scenario.carrier_hz,
        path_loss_exponent=scenario.path_loss_exponent,
        tx_gain=units.db_to_linear(scenario.tx_gain_dbi),
        rx_gain=units.db_to_linear(scenario.rx_gain_dbi),
    )
    if scenario.shadowing:
        power = power * units.db_to_linear(_shadowing_db(key, scenario, user_id, position_m))
    noise_psd = units.dbm_to_w(scenario.noise_psd_dbm_hz + scenario.noise_figure_db)
    bandwidth = _between(
        key, scenario, scenario.bandwidth_min_hz, scenario.bandwidth_max_hz, "bandwidths"
    )
    # Channels lie side by side, in the order of their indices.
    centre_hz = jnp.cumsum(bandwidth) - bandwidth / 2
    carrier_gain = None
    if scenario.wideband:
        carrier_gain = (scenario.carrier_hz / (scenario.band_start_hz + centre_hz)) ** 2
    return Instance(
        user_id=user_id,
        user_mask=requests.mask,
        position_m=position_m,
        mean_power_w=power,
        bandwidth_hz=bandwidth,
        occupied=requests.occupied,
        noise_psd_w_hz=noise_psd,
        carrier_gain=carrier_gain,
        interference_w=_interference(key, scenario, noise_psd * bandwidth),
        fading=_fading(scenario, fading_seed, centre_hz - centre_hz[0], time_s),
        objective=scenario.objective,
        **_rates_and_values(key, scenario, user_id),
    )


def _shadowing_db(
    key: jax.Array,
    scenario: Scenario,
    user_id: Int32[Array, "users"],
    position_m: Float[Array, "users 2"],
) -> Float[Array, "users"]:
    seed = hashing.seed(key, "shadowing")
    if scenario.shadowing_distance_m is None:
        return scenario.shadowing_std_db * hashing.normal(seed, user_id)
    field = topology.correlated_normal(seed, position_m, scenario.shadowing_distance_m)
    return scenario.shadowing_std_db * field


def _between(
    key: jax.Array, scenario: Scenario, low: float | Array, high: float | Array, name: str
) -> Float[Array, "channels"]:
    draw = hashing.uniform(hashing.seed(key, name), jnp.arange(scenario.num_channels))
    return low + (high - low) * draw


def _interference(
    key: jax.Array, scenario: Scenario, noise_w: Float[Array, "channels"]
) -> Float[Array, "channels"] | None:
    if not scenario.interference:
        return None
    # Activity and strength, both per channel; the strength's mean is relative to its noise.
    channel = jnp.arange(scenario.num_channels)
    hit = hashing.uniform(hashing.seed(key, "interfered channels"), channel)
    strength = hashing.exponential(hashing.seed(key, "interference"), channel)
    mean = units.db_to_linear(scenario.interference_to_noise_db) * noise_w
    return jnp.where(hit < scenario.interference_share, strength * mean, 0.0)


def _fading(
    scenario: Scenario,
    seed: UInt32[Array, "2"],
    frequency_hz: Float[Array, "channels"],
    time_s: float | Float[Array, ""],
) -> Fading | None:
    if not (scenario.fading or scenario.multipath):
        return None
    factor_db, multipath = scenario.rician_factor_db, None
    if scenario.multipath:
        doppler_hz = scenario.speed_m_s * scenario.carrier_hz / units.SPEED_OF_LIGHT_M_S
        multipath = Multipath(
            frequency_hz,
            jnp.asarray(time_s, float),
            jnp.asarray(scenario.delay_spread_s, float),
            jnp.asarray(doppler_hz, float),
        )
    return Fading(seed, None if factor_db is None else units.db_to_linear(factor_db), multipath)


def _rates_and_values(
    key: jax.Array, scenario: Scenario, user_id: Int32[Array, "users"]
) -> dict[str, Any]:
    """Fields of the instance that say what a link makes of its SINR, and what rates are worth."""
    gap_db, cap, need = (
        scenario.snr_gap_db,
        scenario.max_spectral_efficiency,
        scenario.min_rate_bps,
    )
    weight = None
    if scenario.weight_max is not None:
        draw = hashing.uniform(hashing.seed(key, "weights"), user_id)
        weight = 1.0 + (scenario.weight_max - 1.0) * draw
    same = ("alpha", "min_rate_value", "coupling_bps", "coupling_length_m", "adjacent_leakage")
    return {
        "snr_gap": None if gap_db is None else units.db_to_linear(gap_db),
        "max_spectral_efficiency": None if cap is None else jnp.asarray(cap, float),
        "weight": weight,
        "min_rate_bps": None if need is None else jnp.full(user_id.shape, need, float),
        **{name: jnp.asarray(getattr(scenario, name), float) for name in same},
    }

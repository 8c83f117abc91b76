"""Sampled instances: a fresh network per key, or the slots of one network under its traffic."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt32

from lsajax import hashing, link, topology, traffic, units
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
    fading_seed = hashing.seed(key, "fading")
    return _build(key, scenario, fading_seed, user_id, _sample_mask(key, scenario), occupied)


def slot_instance(key: jax.Array, scenario: Scenario, state: TrafficState) -> Instance:
    """The slot that `state` describes, in the network that `key` stands for.

    The same key gives the same positions, shadowing, channels and interference in every slot, those
    of `sample_instance`; fading is drawn anew per slot.

    Raises:
        ValueError: what `traffic.check_scenario` and `traffic.check_state` raise.
    """
    traffic.check_scenario(scenario)
    traffic.check_state(scenario, state)
    rows = scenario.num_active
    (active_id,) = jnp.nonzero(state.active, size=rows, fill_value=0)
    mask = jnp.arange(rows) < jnp.sum(state.active)
    fading_key = hashing.named_key(key, "fading by slot")
    fading_seed = hashing.seed(jax.random.fold_in(fading_key, state.slot))
    return _build(key, scenario, fading_seed, active_id.astype(jnp.int32), mask, state.occupied)


def _sample_mask(key: jax.Array, scenario: Scenario) -> Bool[Array, "users"]:
    rows = scenario.max_active
    seed = hashing.seed(key, "number of requests")
    if scenario.poisson:
        # jax.random.poisson knows threefry keys alone.
        threefry = jax.random.wrap_key_data(seed, impl="threefry2x32")
        return topology.poisson_mask(threefry, scenario.num_active, rows)
    span = scenario.num_active - scenario.min_active + 1
    if span == 1:
        return jnp.ones(rows, bool)
    extra = (hashing.uniform(seed, 0) * span).astype(jnp.int32)
    return jnp.arange(rows) < scenario.min_active + jnp.minimum(extra, span - 1)


def _build(
    key: jax.Array,
    scenario: Scenario,
    fading_seed: UInt32[Array, "2"],
    user_id: Int32[Array, "users"],
    mask: Bool[Array, "users"],
    occupied: Bool[Array, "channels"],
) -> Instance:
    distance_m, azimuth_rad = topology.disc_polar(
        hashing.seed(key, "positions"), user_id, scenario.radius_m
    )
    power = link.received_power(
        distance_m,
        tx_power_w=units.dbm_to_w(scenario.tx_power_dbm),
        carrier_hz=scenario.carrier_hz,
        path_loss_exponent=scenario.path_loss_exponent,
        tx_gain=units.db_to_linear(scenario.tx_gain_dbi),
        rx_gain=units.db_to_linear(scenario.rx_gain_dbi),
    )
    if scenario.shadowing:
        power = power * units.db_to_linear(
            scenario.shadowing_std_db * hashing.normal(hashing.seed(key, "shadowing"), user_id)
        )
    noise_psd = units.dbm_to_w(scenario.noise_psd_dbm_hz)
    bandwidth, carrier_gain, interference = _channels(key, scenario, noise_psd)
    return Instance(
        user_id=user_id,
        user_mask=mask,
        position_m=topology.cartesian(distance_m, azimuth_rad),
        mean_power_w=power,
        bandwidth_hz=bandwidth,
        carrier_gain=carrier_gain,
        interference_w=interference,
        occupied=occupied,
        noise_psd_w_hz=noise_psd,
        fading_seed=fading_seed,
        coupling_bps=jnp.asarray(scenario.coupling_bps, float),
        coupling_length_m=jnp.asarray(scenario.coupling_length_m, float),
        adjacent_leakage=jnp.asarray(scenario.adjacent_leakage, float),
        fading=scenario.fading,
        wideband=scenario.wideband,
        interference=scenario.interference,
    )


def _channels(
    key: jax.Array, scenario: Scenario, noise_psd_w_hz: Float[Array, ""]
) -> tuple[Float[Array, "channels"], Float[Array, "channels"], Float[Array, "channels"]]:
    """Bandwidth [Hz], carrier gain [1] and interference [W] of every channel."""
    channel = jnp.arange(scenario.num_channels)

    def draw(law: Callable[..., Array], name: str) -> Float[Array, "channels"]:
        return law(hashing.seed(key, name), channel)

    def between(low: float | Array, high: float | Array, name: str) -> Float[Array, "channels"]:
        return low + (high - low) * draw(hashing.uniform, name)

    bandwidth = between(scenario.bandwidth_min_hz, scenario.bandwidth_max_hz, "bandwidths")
    carrier_gain = jnp.ones(scenario.num_channels)
    if scenario.wideband:
        carrier = between(scenario.carrier_min_hz, scenario.carrier_max_hz, "carriers")
        carrier_gain = (scenario.carrier_hz / carrier) ** 2
    interference = jnp.zeros(scenario.num_channels)
    if scenario.interference:
        # Activity and strength, both per channel; the strength's mean is relative to its noise.
        hit = draw(hashing.uniform, "interfered channels") < scenario.interference_share
        strength = draw(hashing.exponential, "interference")
        mean = units.db_to_linear(scenario.interference_to_noise_db) * noise_psd_w_hz * bandwidth
        interference = jnp.where(hit, strength * mean, 0.0)
    return bandwidth, carrier_gain, interference

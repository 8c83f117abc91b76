"""Laws of the samplers; every p-value test has a false-alarm rate of 1e-4, at fixed keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import lsajax as lsa
from lsajax import assignments, hashing, reward, topology, traffic
from tests.lsajax import cases, oracle

P_MIN = 1e-4


def batch(num, scenario, seed=0):
    return jax.jit(jax.vmap(lambda k: lsa.sample_instance(k, scenario)))(
        jax.random.split(jax.random.key(seed), num)
    )


def test_positions_are_uniform_in_the_disc():
    scenario = lsa.Scenario(num_users=50, num_channels=5, num_active=50, radius_m=200.0)
    xy = np.asarray(batch(400, scenario).position_m, float).reshape(-1, 2)
    r = np.hypot(*xy.T)
    assert r.max() <= 200.0 * (1 + 1e-6)
    assert stats.kstest((r / 200) ** 2, "uniform").pvalue > P_MIN
    assert (
        stats.kstest(np.arctan2(xy[:, 1], xy[:, 0]) / (2 * np.pi) + 0.5, "uniform").pvalue > P_MIN
    )


def test_power_follows_the_oracle():
    scenario = lsa.Scenario(
        num_users=40, num_channels=5, num_active=40, tx_gain_dbi=3.0, rx_gain_dbi=7.0
    )
    inst = lsa.sample_instance(jax.random.key(0), scenario)
    distance = np.hypot(*np.asarray(inst.position_m, float).T)
    expected = [oracle.received_power(d, 23.0, 2.4e9, 2.5, 3.0, 7.0) for d in distance]
    np.testing.assert_allclose(inst.mean_power_w, expected, rtol=3e-5)


def test_bandwidth_and_occupancy():
    scenario = lsa.Scenario(num_users=5, num_channels=200, num_active=5)
    b = batch(200, scenario)
    assert stats.kstest(np.asarray(b.bandwidth_hz).ravel() / 1e7 - 1, "uniform").pvalue > P_MIN
    occupied = int(np.asarray(b.occupied).sum())
    assert stats.binomtest(occupied, 200 * 200, 0.1).pvalue > P_MIN


def test_channels_lie_side_by_side():
    """Centres from cumulative bandwidths in the order of indices: no channel overlaps another."""
    scenario = lsa.Scenario(
        num_users=5, num_channels=200, num_active=5, wideband=True, multipath=True,
        band_start_hz=0.9e9,
    )  # fmt: skip
    inst = lsa.sample_instance(jax.random.key(0), scenario)
    width = np.asarray(inst.bandwidth_hz, float)
    upper = 0.9e9 + np.cumsum(width)
    centre = upper - width / 2
    np.testing.assert_allclose(inst.carrier_gain, (2.4e9 / centre) ** 2, rtol=1e-5)
    found = 2.4e9 / np.sqrt(np.asarray(inst.carrier_gain, float))
    # float32's digits of 4 GHz are kHz, of a sum of 200 a few more.
    assert (np.diff(found) >= (width[1:] + width[:-1]) / 2 - 1e4).all()
    np.testing.assert_allclose(inst.fading.multipath.frequency_hz, centre - centre[0], atol=1e4)


def test_interference_share_and_mean():
    scenario = lsa.Scenario(num_users=5, num_channels=400, num_active=5, interference=True)
    b = batch(200, scenario)
    over_noise = np.asarray(b.interference_w, float) / (
        10**-20.4 * np.asarray(b.bandwidth_hz, float)
    )
    hit = over_noise > 0
    assert stats.binomtest(int(hit.sum()), hit.size, 0.3).pvalue > P_MIN
    assert stats.kstest(over_noise[hit] / 10, "expon").pvalue > P_MIN


def test_shadowing_is_log_normal():
    scenario = lsa.Scenario(num_users=50, num_channels=5, num_active=50, shadowing=True)
    shadowed = np.asarray(batch(200, scenario).mean_power_w, float)
    plain = np.asarray(batch(200, scenario.replace(shadowing=False)).mean_power_w, float)
    db = 10 * np.log10(shadowed / plain).ravel()
    assert stats.kstest(db / 8, "norm").pvalue > P_MIN


def test_shadowing_falls_off_with_distance():
    """Over draws of the field: standard normal at each place, correlation exp(-d / 50 m)."""
    distance = np.array([0.0, 1.0, 10.0, 50.0, 120.0, 400.0])
    place = jnp.asarray(np.stack([30 + distance * 0.6, -20 + distance * 0.8], 1), float)
    seeds = hashing.seeds(jax.random.key(0), 8000)
    field = jax.jit(jax.vmap(lambda s: topology.correlated_normal(s, place, 50.0)))
    draws = np.asarray(field(seeds), float)
    limit = stats.norm.isf(P_MIN / 2 / len(distance))
    for d, there in zip(distance, draws.T, strict=True):
        assert stats.kstest(there, "norm").pvalue > P_MIN / len(distance)
        for product, expected in ((there**2, 1.0), (draws[:, 0] * there, np.exp(-d / 50))):
            error = product.std() / np.sqrt(len(product))
            assert abs(product.mean() - expected) < limit * error, d


def test_shadowing_of_a_scenario_is_that_field():
    """Neighbours share it, and it has its standard deviation over networks."""
    scenario = lsa.Scenario(
        num_users=2, num_channels=2, num_active=2, shadowing=True, shadowing_std_db=6.0,
        shadowing_distance_m=1e9,
    )  # fmt: skip
    shadowed = np.asarray(batch(4000, scenario).mean_power_w, float)
    bare = scenario.replace(shadowing=False, shadowing_distance_m=None)
    db = 10 * np.log10(shadowed / np.asarray(batch(4000, bare).mean_power_w, float))
    # A field with that correlation has no slope: now and then neighbours differ all the same.
    assert np.mean(np.abs(db[:, 0] - db[:, 1]) < 0.05) > 0.99
    assert stats.kstest(db[:, 0] / 6, "norm").pvalue > P_MIN


def requests_per_id(users, mask, size):
    """How often each id requests, and what chi-squared says of it.

    In one draw ids are distinct, which makes counts spread less than independent ones would: the
    false-alarm rate is at most that of the test.
    """
    counts = np.bincount(np.asarray(users)[np.asarray(mask)], minlength=size)
    return stats.chisquare(counts).pvalue


@pytest.mark.parametrize(
    "changes", [{"num_active_min": 2}, {"poisson": True}, {"num_active_min": 2, "num_users": 10}]
)
def test_who_requests_does_not_depend_on_the_id(changes):
    scenario = lsa.Scenario(**{"num_users": 23, "num_channels": 9, "num_active": 6, **changes})
    b = batch(6000, scenario)
    size = scenario.max_users
    assert requests_per_id(b.user_id, b.user_mask, size) > P_MIN
    # Padding may lie anywhere: each row is as often a request.
    assert stats.chisquare(np.asarray(b.user_mask).sum(axis=0)).pvalue > P_MIN
    # The first rows in the order of ids, as a law of its own, are found out.
    rows = np.asarray(b.user_mask).sum(axis=1, keepdims=True)
    first = np.arange(scenario.max_active) < rows
    assert requests_per_id(np.sort(np.asarray(b.user_id), axis=1), first, size) < P_MIN


def test_poisson_count():
    scenario = lsa.Scenario(num_users=60, num_channels=30, num_active=20, poisson=True)
    b = batch(3000, scenario)
    counts = np.asarray(b.user_mask.sum(axis=1))
    cells = np.bincount(np.clip(counts, 10, 30) - 10, minlength=21)
    law = stats.poisson(20)
    p = np.array([law.cdf(10), *law.pmf(np.arange(11, 30)), law.sf(29)])
    assert stats.chisquare(cells, 3000 * p).pvalue > P_MIN
    # A padded row is worth nothing and is never called unserved.
    assert float(jnp.max(jnp.where(b.user_mask[..., None], 0, jax.vmap(lsa.rate_matrix)(b)))) == 0


def test_user_ids_are_distinct_and_registered():
    for users, active in ((7, 7), (10, 3), (2000, 400), (17, 5)):
        seed = jnp.array([users, active], jnp.uint32)
        ids = np.asarray(topology.stratified_ids(seed, active, users))
        assert len(set(ids)) == active and ids.min() >= 0 and ids.max() < users


def test_variable_number_of_requests():
    scenario = lsa.Scenario(num_users=40, num_channels=20, num_active=12, num_active_min=5)
    counts = np.asarray(batch(4000, scenario).user_mask.sum(axis=1))
    cells = np.bincount(counts, minlength=13)
    assert cells[:5].sum() == 0
    assert stats.chisquare(cells[5:]).pvalue > P_MIN


def test_enough_channels_stay_idle():
    scenario = lsa.Scenario(num_users=6, num_channels=6, num_active=5, occupancy=0.8)
    idle = np.asarray((~batch(500, scenario).occupied).sum(axis=1))
    assert idle.min() == 5


def test_freed_channels_are_not_the_first_ones():
    """Chi-square over the index of the occupied channels where nearly all are freed."""
    scenario = lsa.Scenario(num_users=12, num_channels=12, num_active=10, occupancy=0.3)
    counts = np.asarray(batch(20_000, scenario).occupied.sum(axis=0))
    assert stats.chisquare(counts).pvalue > P_MIN


def test_burst_length_where_the_count_is_fixed():
    scenario = lsa.Scenario(num_users=100, num_channels=40, num_active=20)
    key = jax.random.key(6)

    def body(state, k):
        return traffic.step(k, scenario, state), state.active

    _, active = jax.lax.scan(body, traffic.init(key, scenario), jax.random.split(key, 5000))
    active = np.asarray(active)
    assert (active.sum(axis=1) == 20).all()
    stays = (active[:-1] & active[1:]).sum()
    assert stats.binomtest(int(stays), 20 * 4999, 0.8).pvalue > P_MIN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poisson": True}, "poisson must be False for traffic over slots"),
        ({"num_active": 100, "num_active_min": 80}, "activity_dwell_slots must be at least 9"),
    ],
)
def test_traffic_that_does_not_exist(changes, message):
    scenario = lsa.Scenario(**{"num_users": 100, "num_channels": 120, "num_active": 20, **changes})
    with pytest.raises(ValueError, match=message):
        traffic.init(jax.random.key(0), scenario)


def test_poisson_with_another_key_implementation():
    scenario = lsa.Scenario(num_users=60, num_channels=30, num_active=20, poisson=True)
    inst = lsa.sample_instance(jax.random.key(0, impl="rbg"), scenario)
    assert 0 < int(inst.user_mask.sum()) < 60


def test_realisation_does_not_depend_on_the_batch():
    scenario = lsa.SCALES["I"].replace(fading=True, wideband=True)
    keys = jax.random.split(jax.random.key(9), 5)
    whole = jax.jit(jax.vmap(lambda k: lsa.sample_instance(k, scenario)))(keys)
    for i, key in enumerate(keys):
        one = lsa.sample_instance(key, scenario)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-6)


def test_stationary_traffic():
    scenario = lsa.Scenario(
        num_users=60, num_channels=200, num_active=20, num_active_min=4, occupancy=0.3
    )
    key = jax.random.key(5)

    def body(state, k):
        state = traffic.step(k, scenario, state)
        return state, state

    init = traffic.init(key, scenario)
    _, states = jax.lax.scan(body, init, jax.random.split(key, 4000))
    counts = np.asarray(states.active.sum(axis=1))
    assert counts.min() >= 4 and counts.max() <= 20
    assert abs(counts.mean() - 12) < 0.5
    occupied = np.asarray(states.occupied)
    # 200 chains of 4000 slots with correlation time 1 / (1/10 + 3/70): effective samples stated.
    correlation = 1 - 1 / 10 - 0.3 / 0.7 / 10
    effective = occupied.size * (1 - correlation) / (1 + correlation)
    z = (occupied.mean() - 0.3) / np.sqrt(0.3 * 0.7 / effective)
    assert abs(z) < stats.norm.isf(P_MIN / 2)
    leaves = (occupied[:-1] & ~occupied[1:]).sum() / occupied[:-1].sum()
    assert abs(leaves - 0.1) < 0.005
    # Bursty: a requesting user mostly requests again, far beyond independent slots.
    active = np.asarray(states.active)
    stays = (active[:-1] & active[1:]).sum() / active[:-1].sum()
    assert 0.7 < stays < 0.9
    assert int(states.slot[-1]) == 4000


def test_slots_of_one_network():
    scenario = lsa.Scenario(
        num_users=30, num_channels=20, num_active=10, num_active_min=3, fading=True
    )
    key = jax.random.key(2)
    state = traffic.init(key, scenario)
    seen = {}
    for t in range(5):
        inst = lsa.slot_instance(key, scenario, state)
        active = np.flatnonzero(np.asarray(state.active))
        ids = np.asarray(inst.user_id)[np.asarray(inst.user_mask)]
        np.testing.assert_array_equal(ids, active)
        np.testing.assert_array_equal(inst.occupied, state.occupied)
        for user, power in zip(ids, np.asarray(inst.mean_power_w), strict=False):
            assert seen.setdefault(int(user), float(power)) == float(power)
        state = traffic.step(jax.random.fold_in(key, t), scenario, state)
    a = lsa.slot_instance(key, scenario, state._replace(slot=jnp.int32(7)))
    b = lsa.slot_instance(key, scenario, state._replace(slot=jnp.int32(8)))
    assert not np.allclose(cases.fading_gain(a), cases.fading_gain(b))
    np.testing.assert_array_equal(a.bandwidth_hz, b.bandwidth_hz)


def test_fading_by_paths_goes_on_from_slot_to_slot():
    """Alike one slot later, another after the coherence time; where nothing moves it stays."""
    scenario = lsa.Scenario(num_users=60, num_channels=20, num_active=60, multipath=True)
    key = jax.random.key(2)
    state = traffic.init(key, scenario)

    @jax.jit
    def power(slot, speed_m_s):
        moving = scenario.replace(speed_m_s=speed_m_s)
        return lsa.channel_power(lsa.slot_instance(key, moving, state._replace(slot=slot)))

    def likeness(slot, speed_m_s):
        now, then = (np.asarray(power(jnp.int32(s), speed_m_s)) for s in (0, slot))
        return np.corrcoef((then / now.mean(1, keepdims=True)).ravel(),
                           (now / now.mean(1, keepdims=True)).ravel())[0, 1]  # fmt: skip

    # At 1 m/s and 2.4 GHz the Doppler shift is 8 Hz: J0^2 is 0.999 after a slot, 0.06 after 200.
    assert likeness(1, 1.0) > 0.99 and abs(likeness(200, 1.0)) < 0.4
    assert likeness(10, 1.0) > 0.8 > likeness(10, 30.0)
    np.testing.assert_allclose(power(jnp.int32(500), 0.0), power(jnp.int32(0), 0.0), rtol=1e-5)
    # Slot 0 is the instance of the same key; the requests are its own.
    first = lsa.sample_instance(key, scenario)
    order = np.argsort(np.asarray(first.user_id))
    np.testing.assert_allclose(
        power(jnp.int32(0), 1.0), np.asarray(lsa.channel_power(first))[order], rtol=1e-3
    )


BOUND = {
    # Occupied channels are cut at 2 of 12, requests to 8..10 of 12.
    "open": lsa.Scenario(
        num_users=12, num_channels=12, num_active=10, num_active_min=8, occupancy=0.3
    ),
    "fixed": lsa.Scenario(num_users=12, num_channels=14, num_active=4, occupancy=0.6),
}


@pytest.mark.parametrize("name", list(BOUND))
def test_every_slot_has_the_stationary_law(name):
    """4000 chains: counts by chi-square, and pairs of neighbours, at slots 0, 1 and 25.

    The law is the binomial cut to its range, and uniform given the count; false alarm 1e-4 a test.
    """
    scenario = BOUND[name]

    @jax.jit
    @jax.vmap
    def slots(key):
        first = traffic.init(key, scenario)

        def body(state, k):
            state = traffic.step(k, scenario, state)
            return state, state

        _, later = jax.lax.scan(body, first, jax.random.split(key, 25))
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)

    states = slots(jax.random.split(jax.random.key(11), 4000))
    s = scenario
    share = (s.min_active + s.num_active) / 2 / s.num_users
    for on, p, low, high in (
        (states.active, share, s.min_active, s.num_active),
        (states.occupied, s.occupancy, 0, s.num_channels - s.num_active),
    ):
        size = on.shape[-1]
        law = stats.binom(size, p).pmf(np.arange(low, high + 1))
        law /= law.sum()
        n = np.arange(low, high + 1)
        pair = np.sum(law * n * (n - 1)) / size / (size - 1)
        for slot in (0, 1, 25):
            now = np.asarray(on[:, slot])
            counts = now.sum(axis=1)
            assert counts.min() >= low and counts.max() <= high
            if low < high:
                cells = np.bincount(counts - low, minlength=high - low + 1)
                few = len(law) - max(1, int(np.sum(np.cumsum(law[::-1]) * 4000 < 10)))
                cells = np.append(cells[:few], cells[few:].sum())
                expected = 4000 * np.append(law[:few], law[few:].sum())
                assert stats.chisquare(cells, expected).pvalue > P_MIN
            assert stats.chisquare(now.sum(axis=0)).pvalue > P_MIN / 10
            both = int((now[:, 0] & now[:, 1]).sum())
            assert stats.binomtest(both, 4000, pair).pvalue > P_MIN


def test_the_issue_of_the_first_slot():
    """Mean number of occupied channels at slot 0 and from slot 15 on; five standard errors."""
    scenario = BOUND["open"].replace(num_active_min=None)

    @jax.jit
    @jax.vmap
    def occupied(key):
        state = traffic.init(key, scenario)
        last, _ = jax.lax.scan(
            lambda s, k: (traffic.step(k, scenario, s), None), state, jax.random.split(key, 15)
        )
        return jnp.sum(state.occupied), jnp.sum(last.occupied)

    first, last = map(np.asarray, occupied(jax.random.split(jax.random.key(0), 20_000)))
    error = np.hypot(first.std(), last.std()) / np.sqrt(20_000)
    assert abs(first.mean() - last.mean()) < 5 * error


@pytest.mark.parametrize("field", ["active", "occupied"])
def test_a_state_of_another_size_is_refused(field):
    scenario = lsa.Scenario(num_users=30, num_channels=20, num_active=10)
    key = jax.random.key(0)
    state = traffic.init(key, scenario)
    other = state._replace(**{field: jnp.zeros(11, bool)})
    for refused in (
        lambda: lsa.slot_instance(key, scenario, other),
        lambda: traffic.step(key, scenario, other),
    ):
        with pytest.raises(ValueError, match=rf"state.{field} must have shape .* got \(11,\)"):
            refused()


def test_consumers_of_one_key_draw_from_streams_of_their_own(monkeypatch):
    """Every seed that anything here takes from one key is another."""
    taken = []
    seed = hashing.seed
    monkeypatch.setattr(hashing, "seed", lambda *a: taken.append(seed(*a)) or taken[-1])
    for module, name in ((traffic, "_advance"), (assignments, "random"), (lsa.solvers, "random")):
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)  # not compiled
    key = jax.random.key(0)
    scenario = lsa.Scenario(
        num_users=30, num_channels=20, num_active=10, num_active_min=5, fading=True,
        shadowing=True, wideband=True, interference=True, weight_max=2.0,
    )  # fmt: skip
    inst = lsa.sample_instance(key, scenario)
    network = {tuple(np.asarray(s).tolist()) for s in taken}
    assert len(network) == len(taken) >= 11
    state = traffic.init(key, scenario)
    traffic.step(key, scenario, state)
    lsa.solvers.random(key, inst)
    reward.sampled_random_value(key, inst, 4)
    assignments.random(key, inst, 4)
    lsa.slot_instance(key, scenario, state)
    # The last one is the same network, which has positions, shadowing, bandwidths, weights, and of
    # interference where and how much: all but ids, counts, occupancy and fading.
    distinct = {tuple(np.asarray(s).tolist()) for s in taken}
    assert len(distinct) == len(taken) - 6


def test_a_further_consumer_does_not_change_the_others():
    scenario = lsa.Scenario(num_users=30, num_channels=20, num_active=10)
    key = jax.random.key(4)
    plain = lsa.sample_instance(key, scenario)
    switches = {"fading": True, "wideband": True, "interference": True, "shadowing": True}
    switches |= {"weight_max": 3.0, "rician_factor_db": 0.0, "snr_gap_db": 1.0}
    rich = lsa.sample_instance(key, scenario.replace(num_active_min=3, **switches))
    for name in ("user_id", "position_m", "bandwidth_hz", "occupied"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(rich, name), err_msg=name)
    bare = lsa.sample_instance(key, scenario.replace(multipath=True))
    np.testing.assert_array_equal(bare.fading.seed, rich.fading.seed)

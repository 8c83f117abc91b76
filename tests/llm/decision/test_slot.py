"""The host's view of an instance, against the instance itself."""

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.decision import namespace, serialize
from llm.decision.slot import HostSlot, host_slot, host_slots


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_it_holds_users_and_idle_channels_alone(setting):
    scenario = lsa.SMALL_SCALES[(15, 20, 8)].replace(occupancy=0.3, **lsa.SETTINGS[setting])
    inst = lsa.sample_instance(jax.random.key(1), scenario)
    slot = host_slot(inst)
    mask, idle = np.asarray(inst.user_mask), ~np.asarray(inst.occupied)
    assert (slot.num_rows, slot.num_channels) == (inst.num_rows, inst.num_channels)
    np.testing.assert_array_equal(slot.rows, np.flatnonzero(mask))
    np.testing.assert_array_equal(slot.users, np.asarray(inst.user_id)[mask])
    np.testing.assert_array_equal(slot.channels, np.flatnonzero(idle))
    assert sorted([*slot.channels, *slot.occupied]) == list(range(inst.num_channels))
    assert slot.servable == min(mask.sum(), idle.sum())
    assert slot.setting == ("plain" if setting in ("poisson", "fair") else setting)
    assert slot.objective == ("fair" if setting == "fair" else "throughput")
    power = np.broadcast_to(slot.power_w(), (mask.sum(), idle.sum()))
    full = np.broadcast_to(lsa.channel_power(inst), (inst.num_rows, inst.num_channels))
    expected = full[np.ix_(mask, idle)]
    np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-5 * expected.max())
    for name in ("bandwidth_hz", "carrier_gain", "interference_w"):
        found, value = getattr(slot, name), getattr(inst, name)
        assert (found is None) == (value is None)
        if found is not None:
            assert found.dtype == np.float64
            np.testing.assert_array_equal(found, np.asarray(value)[idle])


def test_pairs_are_those_of_users_and_idle_channels():
    rng = np.random.default_rng(0)
    power, hit = rng.random((4, 5)) * 1e-9, rng.random((4, 5)) * 1e-13
    mask, occupied = np.array([True, False, True, True]), np.array([0, 1, 0, 0, 1], bool)
    inst = lsa.make_instance(
        power, np.full(5, 1e7), interference_w=hit, user_mask=mask, occupied=occupied
    )
    slot = host_slot(inst)
    pairs = np.ix_(mask, ~occupied)
    np.testing.assert_allclose(slot.power_w(), power[pairs], rtol=1e-6)
    np.testing.assert_allclose(slot.interference_w, hit[pairs], rtol=1e-6)
    assert slot.setting == "measured+interference"
    assert slot.power_per_pair


def test_fading_is_the_same_in_chunks_of_rows(monkeypatch):
    scenario = lsa.SMALL_SCALES[(15, 20, 8)].replace(poisson=True, fading=True)
    inst = lsa.sample_instance(jax.random.key(2), scenario)
    whole = host_slot(inst).power_w()
    monkeypatch.setattr("llm.decision.slot._CHUNK", 3 * inst.num_channels)
    np.testing.assert_array_equal(host_slot(inst).power_w(), whole)


def test_one_slot_serves_prompt_data_and_action():
    inst = lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[(15, 20, 8)])
    slot = host_slot(inst)
    assert host_slot(slot) is slot
    count = lambda text: len(text) // 3  # noqa: E731
    assert serialize.serialize(slot, count, 4000) == serialize.serialize(inst, count, 4000)
    mine, theirs = namespace.program_data(slot), namespace.program_data(inst)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name])
    action = {int(slot.users[0]): int(slot.channels[-1]), 10**9: 3}
    raw, unknown_users = namespace.raw_assignment(slot, action)
    np.testing.assert_array_equal(raw, namespace.raw_assignment(inst, action).raw)
    assert unknown_users == 1


def test_the_same_instance_has_one_slot():
    a, b = (lsa.make_instance(np.array([1e-9]), np.array([1e7])) for _ in range(2))
    slots = host_slots([a, b, a])
    assert all(isinstance(slot, HostSlot) for slot in slots)
    assert slots[0] is slots[2] is not slots[1]

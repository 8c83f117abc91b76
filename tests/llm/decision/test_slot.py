"""The host's view of an instance, against the instance itself."""

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.decision import namespace, serialize
from llm.decision.slot import HostSlot, host_slot, host_slots
from tests.lsajax.cases import sample_instance


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_it_holds_users_and_idle_channels_alone(setting):
    scenario = lsa.SMALL_SCALES[(15, 20, 8)].replace(occupancy=0.3, **lsa.SETTINGS[setting])
    inst = sample_instance(jax.random.key(1), scenario)
    slot = host_slot(inst)
    mask, idle = np.asarray(inst.user_mask), ~np.asarray(inst.occupied)
    assert (slot.num_rows, slot.num_channels) == (inst.num_rows, inst.num_channels)
    np.testing.assert_array_equal(slot.rows, np.flatnonzero(mask))
    np.testing.assert_array_equal(slot.users, np.asarray(inst.user_id)[mask])
    np.testing.assert_array_equal(slot.channels, np.flatnonzero(idle))
    assert sorted([*slot.channels, *slot.occupied]) == list(range(inst.num_channels))
    assert slot.servable == min(mask.sum(), idle.sum())
    assert slot.setting == ("plain" if setting == "poisson" else setting)
    power = np.broadcast_to(slot.power_w(), (mask.sum(), idle.sum()))
    full = np.broadcast_to(lsa.channel_power(inst), (inst.num_rows, inst.num_channels))
    np.testing.assert_allclose(power, full[np.ix_(mask, idle)], rtol=1e-6)
    for name in ("bandwidth_hz", "carrier_gain", "interference_w"):
        assert getattr(slot, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(slot, name), np.asarray(getattr(inst, name))[idle])


def test_one_slot_serves_prompt_data_and_action():
    inst = sample_instance(jax.random.key(0), lsa.SMALL_SCALES[(15, 20, 8)])
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
    a, b = (lsa.make_instance([1e-9], [1e7]) for _ in range(2))
    slots = host_slots([a, b, a])
    assert all(isinstance(slot, HostSlot) for slot in slots)
    assert slots[0] is slots[2] is not slots[1]

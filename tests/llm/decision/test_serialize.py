"""The prompt: within its budget at any size, and true to the instance."""

import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from llm.decision.paradigm import CODE, PARADIGMS
from llm.decision.serialize import serialize
from tests.lsajax.cases import sample_instance

_WORDS = re.compile(r" ?[A-Za-z_]+|\d|\s|.")


def by_letters(text):
    return -(-len(text) // 3)


def by_words(text):
    """Like a byte-level vocabulary that splits digits: lists are what costs."""
    return len(_WORDS.findall(text))


def by_lines(text):
    """A vocabulary that packs whole lines: many letters a token."""
    return text.count("\n") + 1


COUNTERS = (by_letters, by_words, by_lines)


def slot(users, channels, occupancy=0.1, seed=0, **switches):
    """A slot made on the host: no compilation for each new shape."""
    rng = np.random.default_rng(seed)
    inst = lsa.make_instance(
        10 ** rng.uniform(-13, -8, users),
        rng.uniform(10e6, 20e6, channels),
        occupied=rng.random(channels) < occupancy,
        user_id=rng.permutation(2 * users)[:users],
        interference_w=rng.random(channels) * 1e-12 if switches.get("interference") else None,
    )
    return inst.replace(**switches)


@settings(max_examples=40, deadline=None)
@given(
    users=st.sampled_from([1, 2, 7, 60, 1000, 30_000, 100_000]),
    channels=st.sampled_from([1, 3, 20, 500, 40_000, 100_000]),
    occupancy=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    budget=st.integers(1, 5000),
    paradigm=st.sampled_from(list(PARADIGMS)),
    counter=st.sampled_from(COUNTERS),
    interference=st.booleans(),
    wideband=st.booleans(),
)
def test_never_over_budget(
    users, channels, occupancy, budget, paradigm, counter, interference, wideband
):
    counted = []

    def count(text):
        counted.append(len(text))
        return counter(text)

    inst = slot(users, channels, occupancy, interference=interference, wideband=wideband)
    try:
        prompt = serialize(inst, count, budget, paradigm=paradigm)
    except ValueError as error:
        needed = int(re.search(r"at least (\d+) tokens", str(error))[1])
        assert needed > budget
        assert f"got {budget}" in str(error)
        # What the message asks for is enough, and one token less is not.
        assert serialize(inst, count, needed, paradigm=paradigm).levels[0] == "global"
        return
    assert prompt.tokens == counter(prompt.text) <= budget
    assert prompt.text.startswith(PARADIGMS[paradigm].static_text)
    assert 0 < prompt.static_share < 1
    # Work is bounded by the budget, not by the size of the network.
    assert len(counted) < 120
    assert max(counted) < max(3000, 32 * budget)


def test_more_budget_never_says_less():
    inst = slot(60, 100)
    levels = [len(serialize(inst, by_words, budget).levels) for budget in range(700, 6000, 250)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (2, 3)
    smallest = re.compile(r"at least (\d+)")
    with pytest.raises(ValueError, match=smallest) as error:
        serialize(inst, by_words, 1)
    needed = int(smallest.search(str(error.value))[1])
    assert serialize(inst, by_words, needed).levels == ("global",)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_static_text_is_alike_for_all_slots(paradigm):
    slots = [slot(5, 9), slot(400, 2000, seed=1, interference=True), slot(3, 9, wideband=True)]
    prompts = [serialize(inst, by_words, 3000, paradigm=paradigm) for inst in slots]
    static = PARADIGMS[paradigm].static_text
    assert {p.text[: len(static)] for p in prompts} == {static}
    assert {p.static_tokens for p in prompts} == {by_words(static)}


def test_static_tokens_leave_the_chat_template_out():
    prompt = serialize(slot(5, 9), lambda text: 40 + by_words(text), 3000)
    assert prompt.static_tokens == by_words(CODE.static_text)
    assert prompt.tokens == 40 + by_words(prompt.text)


def line(prompt, start):
    (found,) = [t for t in prompt.text.split("\n") if t.startswith(start)]
    return found[len(start) :].strip()


def test_statistics_and_extremes():
    power_dbm = np.array([-90.0, -50.0, -70.0])
    bandwidth_mhz = np.array([10.0, 12.0, 20.0, 14.0, 11.0, 19.0, 13.0])
    inst = lsa.make_instance(
        10 ** (power_dbm / 10 - 3),
        bandwidth_mhz * 1e6,
        occupied=[False, True, True, True, False, True, False],
        user_id=[40, 10, 20],
    )
    prompt = serialize(inst, by_words, 4000)
    assert line(prompt, "Setting:") == "plain"
    assert line(prompt, "Requesting users:") == "3"
    assert line(prompt, "Idle channels:") == "3 of 7"
    assert line(prompt, "Noise floor:") == "-174.0 dBm/Hz"
    power = f"max -50.0, min -90.0, mean -70.0, std {power_dbm.std():.1f}"
    assert line(prompt, "Received power in dBm:") == power
    assert line(prompt, "Bandwidth in MHz:").startswith("max 13.0, min 10.0, mean 11.3")
    assert line(prompt, "Strongest users (id: dBm):") == "10: -50.0, 20: -70.0, 40: -90.0"
    assert line(prompt, "Weakest users (id: dBm):") == "40: -90.0, 20: -70.0, 10: -50.0"
    assert line(prompt, "Widest idle channels (id: MHz):") == "6: 13.00, 4: 11.00, 0: 10.00"
    assert line(prompt, "Occupied channels:") == "1-3, 5"
    assert line(prompt, "All users (id: dBm):") == "40: -90.0, 10: -50.0, 20: -70.0"
    assert line(prompt, "All idle channels (id: MHz):") == "0: 10.00, 4: 11.00, 6: 13.00"


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_settings_are_named_and_padding_is_left_out(setting):
    scenario = lsa.SMALL_SCALES[(15, 20, 4)].replace(**lsa.SETTINGS[setting])
    inst = sample_instance(jax.random.key(3), scenario)
    prompt = serialize(inst, by_words, 8000)
    assert line(prompt, "Setting:") == ("plain" if setting == "poisson" else setting)
    assert line(prompt, "Requesting users:") == str(int(inst.user_mask.sum()))
    listed = [int(u) for u in re.findall(r"(\d+): ", line(prompt, "All users (id: dBm):"))]
    assert listed == [int(u) for u, m in zip(inst.user_id, inst.user_mask, strict=True) if m]
    assert ("gains" in prompt.levels) == (setting == "fading")


def test_fading_is_listed_where_there_is_room():
    scenario = lsa.SMALL_SCALES[(5, 5, 2)].replace(fading=True)
    inst = sample_instance(jax.random.key(0), scenario)
    text = serialize(inst, by_words, 8000).text
    listed = re.findall(r"^\d+:((?: -?\d+\.\d)+)$", text, re.MULTILINE)
    power = np.asarray(lsa.channel_power(inst))[:, ~np.asarray(inst.occupied)]
    expected = 10 * np.log10(power) + 30
    np.testing.assert_allclose([np.fromstring(r, sep=" ") for r in listed], expected, atol=0.051)


def test_text_paradigm_shows_as_many_ids_of_either_side():
    inst = slot(200, 1000)
    prompt = serialize(inst, by_words, 2048, paradigm="text")
    users = line(prompt, "Users, strongest first").split(": ")[1].split()
    channels = line(prompt, "Idle channels, widest first").split(": ")[1].split()
    assert len(users) == len(channels) >= 100
    order = np.argsort(-np.asarray(inst.mean_power_w), kind="stable")[: len(users)]
    assert [int(u) for u in users] == np.asarray(inst.user_id)[order].tolist()
    occupied = np.asarray(inst.occupied)
    assert not any(occupied[int(c)] for c in channels)


def test_slot_without_users_or_idle_channels():
    inst = slot(2, 3, occupancy=1.0)
    no_user = inst.replace(user_mask=np.zeros(2, bool))
    text = serialize(no_user, by_words, 4000).text
    assert "Requesting users: 0" in text
    assert "Occupied channels: 0-2" in text


def test_unknown_paradigm():
    with pytest.raises(ValueError, match="paradigm must be one of code, text, got 'json'"):
        serialize(slot(2, 3), by_words, 4000, paradigm="json")

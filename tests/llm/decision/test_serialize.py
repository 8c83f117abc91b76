"""The prompt: within its budget at any size, and true to the instance."""

import itertools
import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from llm.decision.paradigm import CODE, PARADIGMS
from llm.decision.serialize import levels_of, serialize
from llm.decision.slot import host_slot

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


_QWEN = re.compile(r"(?:[^\r\n\w]|_)?[^\W\d_]+|\d| ?(?:[^\s\w]|_)+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def like_qwen(text):
    """The pieces that Qwen's tokenizer splits a text into; nearly all are one token."""
    return len(_QWEN.findall(text))


def shared_share(one, other):
    """Share of the pieces of a prompt that it has in common with another, from the start."""
    pairs = zip(_QWEN.findall(one.text), _QWEN.findall(other.text), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)) / one.tokens


def slot(users, channels, occupancy=0.1, seed=0, interference=False, wideband=False, **more):
    """A slot made on the host: no compilation for each new shape."""
    rng = np.random.default_rng(seed)
    return lsa.make_instance(
        10 ** rng.uniform(-13, -8, users),
        rng.uniform(10e6, 20e6, channels),
        occupied=rng.random(channels) < occupancy,
        user_id=rng.permutation(2 * users)[:users],
        interference_w=rng.random(channels) * 1e-12 if interference else None,
        carrier_gain=rng.random(channels) + 0.1 if wideband else None,
        **more,
    )


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
    detail=st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_never_over_budget(
    users, channels, occupancy, budget, paradigm, counter, interference, wideband, detail
):
    counted = []

    def count(text):
        counted.append(len(text))
        return counter(text)

    inst = slot(users, channels, occupancy, interference=interference, wideband=wideband)
    try:
        prompt = serialize(inst, count, budget, paradigm=paradigm, detail=detail)
    except ValueError as error:
        needed = int(re.search(r"at least (\d+) tokens", str(error))[1])
        assert needed > budget
        assert f"got {budget}" in str(error)
        # What the message asks for is enough, and one token less is not.
        assert serialize(inst, count, needed, paradigm=paradigm).levels[0] == "sizes"
        return
    assert prompt.tokens == counter(prompt.text) <= budget
    assert prompt.text.startswith(PARADIGMS[paradigm].static_text)
    assert 0 < prompt.static_share < 1
    # Work is bounded by the budget, not by the size of the network.
    assert len(counted) < 120
    assert max(counted) < max(3000, 32 * budget)


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_more_budget_and_more_detail_never_say_less(paradigm):
    inst = slot(60, 100)
    for options in (
        [(budget, 1.0) for budget in range(700, 6000, 250)],
        [(4000, share / 20) for share in range(21)],
    ):
        made = [serialize(inst, by_words, b, paradigm=paradigm, detail=d) for b, d in options]
        tokens = [prompt.tokens for prompt in made]
        assert tokens == sorted(tokens)
        assert made[-1].levels[-1] == "rows"
    assert made[0].levels == ("sizes",)
    smallest = re.compile(r"at least (\d+)")
    with pytest.raises(ValueError, match=smallest) as error:
        serialize(inst, by_words, 1, paradigm=paradigm)
    needed = int(smallest.search(str(error.value))[1])
    assert serialize(inst, by_words, needed, paradigm=paradigm).levels == ("sizes",)


@pytest.mark.parametrize("detail", [-0.1, 1.5, float("nan")])
def test_detail_is_checked(detail):
    with pytest.raises(ValueError, match=r"detail must be within \[0, 1\], got"):
        serialize(slot(5, 9), by_words, 3000, detail=detail)


@pytest.mark.parametrize("budget", [1200, 6000])
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_a_prompt_ends_after_a_level(paradigm, budget):
    """Where rows all fit, text prompts have them in place of ids and statistics."""
    G, rho = (np.ones((n, n)) - np.eye(n) for n in (6, 9))
    inst = lsa.make_instance(
        np.full((6, 9), 1e-10),
        np.full(9, 1e7),
        interference_w=np.full((6, 9), 1e-13),
        objective="coupled",
        coupling=G,
        leakage=rho,
        coupling_bps=1e7,
    )
    names = PARADIGMS[paradigm].levels
    options = {"paradigm": paradigm, "detail": 1.0}
    whole = serialize(inst, by_words, budget, **options)
    made = {n: serialize(inst, by_words, budget, last_level=n, **options) for n in names}
    assert set(levels_of(host_slot(inst), paradigm)) == set(names)
    assert made["coupling"] == whole
    assert (whole.levels[-1] == "coupling") == (budget == 6000)
    for name, prompt in made.items():
        allowed = names[: names.index(name) + 1]
        assert prompt.tokens == by_words(prompt.text) <= budget
        assert set(prompt.levels) <= set(allowed)
        assert prompt.levels[-1] == name or name not in whole.levels
    replaced = ("ids", "statistics") if paradigm == "text" and "rows" in whole.levels else ()
    growing = [made[n] for n in names if n not in replaced]
    for shorter, longer in itertools.pairwise(growing):
        closing = PARADIGMS[paradigm].closing
        assert longer.text.startswith(shorter.text.removesuffix(closing))
    assert "Noise" not in made["sizes"].text and "(id: MHz)" not in made["statistics"].text
    assert "rows" in whole.levels and "(id: MHz)" in made["rows"].text


def test_levels_of_a_slot_are_what_it_has_whatever_fits():
    has = ("sizes", "statistics", "rows")
    assert levels_of(host_slot(slot(5, 9)), "code") == has
    assert levels_of(host_slot(slot(5, 9)), "text") == ("sizes", "ids", *has[1:])
    measured = lsa.make_instance(np.full((40, 200), 1e-10), np.full(200, 1e7))
    assert levels_of(host_slot(measured), "code") == (*has, "gains")
    assert serialize(measured, by_words, 2000, detail=1.0, last_level="gains").levels == has


@pytest.mark.parametrize(("paradigm", "level"), [("code", "ids"), ("text", "all"), ("code", "")])
def test_last_level_is_checked(paradigm, level):
    message = (
        f"last_level must be one of sizes, .*coupling in the {paradigm} paradigm, got '{level}'"
    )
    with pytest.raises(ValueError, match=message):
        serialize(slot(5, 9), by_words, 3000, paradigm=paradigm, last_level=level)


ASKED = {
    "plain": {},
    "fading": {"fading": True},
    "multipath": {"multipath": True},
    "wideband": {"wideband": True},
    "interference": {"interference": True},
    "fair fading": {"objective": "fair", "fading": True},
    "coupled": {"objective": "coupled"},
}


@pytest.mark.parametrize("asked", ASKED)
def test_slots_of_a_setting_share_most_of_their_prompts(asked):
    """At scale II, as Qwen's tokenizer counts; and the budget decides how much is said."""
    scenario = lsa.SCALES["II"].replace(**ASKED[asked])
    slots = [host_slot(lsa.sample_instance(jax.random.key(s), scenario)) for s in range(2)]
    texts = {}
    for budget, floor in ((512, 0.88), (2048, 0.82), (4096, 0.7)):
        one, other = (serialize(inst, like_qwen, budget) for inst in slots)
        assert shared_share(one, other) >= max(floor, one.static_share)
        texts[budget] = one.text
    assert len(set(texts.values())) == len(texts)
    one, other = (serialize(inst, like_qwen, 512, detail=0) for inst in slots)
    assert shared_share(one, other) >= 0.94


def test_what_decides_the_algorithm_comes_first_and_in_a_formula():
    weights = np.linspace(1, 2, 5)

    def lines(**options):
        text = serialize(slot(5, 9, weight=weights, **options), by_words, 4000).text
        return text[len(CODE.static_text) :].split("\n")

    fair = lines(objective="fair", alpha=2.0)
    assert fair[0] == (
        "Objective: maximise sum_i weight_i * ((1 + r_i / 1e6) ** (1 - alpha) - 1) / (1 - alpha) "
        "(fair, alpha = 2)"
    )
    assert fair[1:4] == [
        "Setting: plain; power of each user",
        "Time budget: 1 s",
        "More variables: weight [K], alpha",
    ]
    assert lines(objective="fair")[0] == (
        "Objective: maximise sum_i weight_i * log(1 + r_i / 1e6) (fair, alpha = 1)"
    )
    needs = lines(min_rate_bps=5e6, min_rate_value=1e6, max_spectral_efficiency=6.0)
    assert needs[0] == (
        "Objective: maximise sum_i (weight_i * r_i + 1e6 * min(1, r_i / min_rate_i)); "
        "needs: r_i >= min_rate_i, 5 Mbit/s"
    )
    assert needs[1] == "Setting: plain; power of each user, at most 6 bit/s/Hz"
    coupled = lines(objective="coupled", coupling_bps=2e7, position_m=np.ones((5, 2)))
    assert coupled[0] == (
        "Objective: maximise sum_i weight_i * r_i - mu * sum_ij G_ij * rho_mn (coupled; i on "
        "channel m, j on n; mu = 20 Mbit/s, G = exp(-distance / 200 m), rho = 0.5^|m-n| up to "
        "|m-n| = 2)"
    )


def test_the_time_budget_is_what_the_caller_says():
    text = serialize(slot(5, 9), by_words, 4000, time_budget_s=0.25).text
    assert "\nTime budget: 0.25 s\n" in text
    assert "Time budget" not in serialize(slot(5, 9), by_words, 4000, paradigm="text").text


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_static_text_is_alike_for_all_slots(paradigm):
    slots = [slot(5, 9), slot(400, 2000, seed=1, interference=True), slot(3, 9, wideband=True)]
    prompts = [serialize(inst, by_words, 3000, paradigm=paradigm) for inst in slots]
    static = PARADIGMS[paradigm].static_text
    assert {p.text[: len(static)] for p in prompts} == {static}
    shared = [p.text[: p.text.index("Sizes:")] for p in prompts]
    assert [p.static_tokens for p in prompts] == [by_words(text) for text in shared]


def test_static_tokens_leave_the_chat_template_out():
    prompt = serialize(slot(5, 9), lambda text: 40 + by_words(text), 3000)
    assert prompt.static_tokens == by_words(prompt.text[: prompt.text.index("Sizes:")])
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
        occupied=np.array([0, 1, 1, 1, 0, 1, 0], bool),
        user_id=np.array([40, 10, 20]),
    )
    prompt = serialize(inst, by_words, 4000, detail=1.0)
    assert line(prompt, "Setting:") == "plain; power of each user"
    assert line(prompt, "Sizes:") == "K = 3, C = 3 of 7"
    assert line(prompt, "Noise:") == "-174.0 dBm/Hz"
    power = f"-90.0 to -50.0, mean -70.0, std {power_dbm.std():.1f}"
    assert line(prompt, "Received power in dBm:") == power
    assert line(prompt, "Bandwidth in MHz:").startswith("10.0 to 13.0, mean 11.3")
    users = line(prompt, "Users, strongest first (id: dBm):")
    assert users == "10: -50.0, 20: -70.0, 40: -90.0"
    channels = line(prompt, "Idle channels, widest first (id: MHz):")
    assert channels == "6: 13.00, 4: 11.00, 0: 10.00"


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_settings_are_named_and_padding_is_left_out(setting):
    scenario = lsa.SMALL_SCALES[(15, 20, 4)].replace(**lsa.SETTINGS[setting])
    inst = lsa.sample_instance(jax.random.key(3), scenario)
    prompt = serialize(inst, by_words, 8000, detail=1.0)
    named = "plain" if setting in ("poisson", "fair") else setting
    assert line(prompt, "Setting:").startswith(named + "; power of each ")
    assert line(prompt, "Sizes:").startswith(f"K = {int(inst.user_mask.sum())}, ")
    listed = re.findall(r"(\d+): ", line(prompt, "Users, strongest first (id: dBm):"))
    asking = [int(u) for u, m in zip(inst.user_id, inst.user_mask, strict=True) if m]
    assert sorted(map(int, listed)) == sorted(asking)
    assert ("gains" in prompt.levels) == (setting in ("fading", "multipath"))


def test_fading_is_listed_where_there_is_room():
    scenario = lsa.SMALL_SCALES[(5, 5, 2)].replace(fading=True)
    inst = lsa.sample_instance(jax.random.key(0), scenario)
    text = serialize(inst, by_words, 8000, detail=1.0).text
    listed = re.findall(r"^\d+:((?: -?\d+\.\d)+)$", text, re.MULTILINE)
    power = np.asarray(lsa.channel_power(inst))[:, ~np.asarray(inst.occupied)]
    expected = 10 * np.log10(power) + 30
    np.testing.assert_allclose([np.fromstring(r, sep=" ") for r in listed], expected, atol=0.051)


def test_rates_can_be_worked_out_from_a_text_prompt():
    """All terms of Eq. (3), with power and interference of pairs, to the digits that are shown."""
    rng = np.random.default_rng(0)
    interference_w = rng.uniform(1e-14, 1e-12, (3, 4))
    power_w = rng.uniform(1e-10, 1e-9, (3, 4))
    inst = lsa.make_instance(power_w, rng.uniform(1e7, 2e7, 4), interference_w=interference_w)
    prompt = serialize(inst, by_words, 4000, paradigm="text")
    tables = [
        re.findall(r"^\d+:((?: -?\d+\.\d)+)$", part, re.MULTILINE)
        for part in prompt.text.split("Interference in dBm of each user")
    ]
    P, interference = (
        10 ** ((np.array([row.split() for row in table], float) - 30) / 10) for table in tables
    )
    widths = dict(re.findall(r"(\d+): ([\d.]+)", line(prompt, "Idle channels, widest first")))
    B = 1e6 * np.array([float(widths[str(m)]) for m in range(4)])
    N0 = 10 ** ((float(line(prompt, "Noise:").split()[0]) - 30) / 10)
    found = B * np.log2(1 + P / (N0 * B + interference))
    np.testing.assert_allclose(found, np.asarray(lsa.rate_matrix(inst)), rtol=0.01)


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
    for paradigm in PARADIGMS:
        text = serialize(no_user, by_words, 4000, paradigm=paradigm, detail=1.0).text
        assert "Sizes: K = 0, C = 0 of 3\n" in text


def test_unknown_paradigm():
    with pytest.raises(ValueError, match="paradigm must be one of code, text, got 'json'"):
        serialize(slot(2, 3), by_words, 4000, paradigm="json")


def test_a_mapping_for_coupled_users_can_be_worked_out_from_the_prompt():
    position_m = np.array([[3.0, -4.0], [100.0, 0.0], [-20.0, 7.0]])
    options = {"objective": "coupled", "coupling_bps": 1e7}
    text = serialize(slot(3, 5, position_m=position_m, **options), by_words, 4000, paradigm="text")
    inst = slot(3, 5, position_m=position_m, **options)
    for user, (x, y) in zip(np.asarray(inst.user_id), position_m, strict=True):
        assert re.search(rf"\b{user}: -?[\d.]+ at {x:.0f} {y:.0f}\b", text.text)
    G = np.array([[0, 0.25, 0.5], [0.25, 0, 0.125], [0.5, 0.125, 0]])
    rho = 0.5 * (1 - np.eye(5))
    own = serialize(
        slot(3, 5, occupancy=0, coupling=G, leakage=rho, **options), by_words, 4000, paradigm="text"
    )
    assert " at " not in own.text and own.levels[-1] == "coupling"
    assert f"{inst.user_id[1]}: 0.25 0 0.12\n" in own.text
    assert "rho of each channel with channels 0, 1, 2, 3, 4:\n0: 0 0.5 0.5 0.5 0.5\n" in own.text


def test_a_tight_budget_leaves_out_what_a_program_finds_as_variables():
    inst = slot(3, 5, objective="coupled", coupling_bps=1e7, position_m=np.ones((3, 2)))
    whole = serialize(inst, by_words, 4000, detail=0)
    brief = serialize(inst, by_words, whole.tokens - 1, detail=0)
    assert "mu = 10 Mbit/s" in whole.text and "mu = 10" not in brief.text
    assert "mu * sum_ij G_ij * rho_mn (coupled; i on channel m, j on n)\n" in brief.text
    assert "More variables: coupling_bps (mu), position_m [K, 2]" in brief.text
    with pytest.raises(ValueError, match=f"budget must be at least {brief.tokens} tokens"):
        serialize(inst, by_words, brief.tokens - 1, detail=0)
    mapping = serialize(inst, by_words, 4000, paradigm="text", detail=0)
    with pytest.raises(ValueError, match=f"budget must be at least {mapping.tokens} tokens"):
        serialize(inst, by_words, mapping.tokens - 1, paradigm="text", detail=0)

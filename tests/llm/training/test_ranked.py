"""The form ranked with real programs: order, tiers, several slots, budgets."""

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.decision.execution import run_programs
from llm.decision.slot import host_slot
from llm.training.evaluator import best_values, evaluate, random_baselines
from llm.training.rewards import Terms, score
from tests.llm.training.cases import PERFECT, block, instance
from tests.llm.training.test_trl_rewards import TrlRewards, trl_call

RANKED = Terms(form="ranked")
ONE_EACH = block("action = {int(u): int(c) for u, c in zip(users, channels)}")


def shuffled(seed):
    return block(
        f"order = np.random.default_rng({seed}).permutation(len(channels))\n"
        "action = {int(u): int(channels[j]) for u, j in zip(users, order)}"
    )


_value = jax.jit(lsa.objective_value)


@pytest.mark.parametrize(
    ("setting", "objective"),
    [
        ("plain", "throughput"),
        ("fading", "fair"),
        ("plain", "coupled"),
        pytest.param("plain", "fair", marks=pytest.mark.slow),
        pytest.param("fading", "throughput", marks=pytest.mark.slow),
        pytest.param("fading", "coupled", marks=pytest.mark.slow),
    ],
)
def test_valid_programs_rank_by_the_objective(box, setting, objective):
    inst = lsa.sample_instance(
        jax.random.key(1),
        lsa.Scenario(
            num_users=12,
            num_channels=15,
            num_active=6,
            coupling_bps=3e8,
            **lsa.SETTINGS[setting] | {"objective": objective},
        ),
    )
    texts = [PERFECT, ONE_EACH, *(shuffled(seed) for seed in range(6))]
    scores = score(texts, [inst] * len(texts), box, terms=RANKED)
    assert scores.valid.all()
    results = run_programs(box, texts, [host_slot(inst)] * len(texts))
    rows = {int(u): i for i, u in enumerate(np.asarray(inst.user_id))}
    values = []
    for result in results:
        assignment = np.full(inst.num_rows, -1)
        for user, channel in result.action.items():
            assignment[rows[user]] = channel
        values.append(float(_value(inst, assignment)))
    order = np.argsort(values)
    assert np.all(np.diff(np.array(values)[order]) > 1e-6 * np.abs(values).max())
    assert np.all(np.diff(scores.total[order]) > 0)
    # As by hand, in float64.
    base, best = float(random_baselines([inst])[0]), float(best_values([inst])[0])
    gain = (np.array(values) - base) / (best - base)
    np.testing.assert_allclose(scores.gain, gain, atol=1e-4)
    below = np.minimum(gain, 0)
    q = np.where(gain >= 0, gain, 0.3 * below / (1 - below))
    np.testing.assert_allclose(scores.total, 1 + q, atol=1e-4)
    assert (gain < 0).any() and (gain > 0).any() and scores.total.max() <= 2 + 1e-5


def test_best_values():
    """The optimum where it can be had, the bound elsewhere; each instance once."""
    inst = instance(channels=8)
    coupled = inst.replace(objective="coupled")
    optimum = lsa.solvers.exhaustive(jax.random.key(0), inst).value
    first, bound, again = best_values([inst, coupled, inst])
    assert first == again == pytest.approx(float(optimum), rel=1e-5)
    assert bound == float(lsa.solvers.coupled_bound(coupled))


def test_where_all_answers_are_worth_the_same_none_gains():
    """And rounding is not scaled up to a gain."""
    inst = lsa.make_instance(np.full(4, 1e-9), np.full(6, 1e7))
    raw = [np.array([0, 1, 2, 3]), np.array([5, 4, 3, 2])]
    found = evaluate([inst, inst], raw, best=best_values([inst, inst]))
    np.testing.assert_array_equal(found.gain, 0)


def test_one_user_on_a_primary_users_channel_loses_the_steps_of_the_channels(box):
    inst = instance()
    inst = inst.replace(occupied=inst.occupied.at[3].set(True))
    text = block(
        "action = {int(u): int(c) for u, c in zip(users, channels)}\naction[int(users[0])] = 3"
    )
    paper = score([text], [inst], box)
    ranked = score([text], [inst], box, terms=RANKED)
    assert paper.structure[0] == pytest.approx(1.2 - 2 * 0.1 / 6)
    assert ranked.structure[0] == pytest.approx(0.4 * (1.2 - 0.3) / 1.2)
    assert ranked.performance[0] == 0 and not ranked.valid[0]


def literal(inst):
    users = np.asarray(inst.user_id).tolist()
    idle = np.flatnonzero(~np.asarray(inst.occupied)).tolist()
    return block(f"action = {dict(zip(users, idle, strict=False))}")


@pytest.mark.parametrize("terms", [Terms(), RANKED])
def test_several_slots(box, terms):
    """Means over the slots; valid where all are; the status of the first that failed."""
    slots = [instance(seed) for seed in range(3)]
    fails = block(f"action = {{}} if {int(slots[0].user_id[0])} == users[0] else {{}}[0]")
    texts = [PERFECT, literal(slots[0]), fails]
    together = score(texts, [slots] * 3, box, terms=terms)
    alone = [score(texts, [inst] * 3, box, terms=terms) for inst in slots]
    np.testing.assert_allclose(together.gain, np.mean([a.gain for a in alone], 0), rtol=1e-5)
    assert list(alone[0].valid) == [True, True, False]
    assert list(together.valid) == [True, False, False]
    assert list(alone[0].status) == ["ok", "ok", "ok"]
    assert list(together.status) == ["ok", "ok", "error"] and "KeyError" in together.detail[2]
    if terms.form == "paper":
        parts = np.mean([a.structure for a in alone], 0)
        np.testing.assert_allclose(together.structure, parts, rtol=1e-5)
    else:
        assert together.total[0] > 1 > 0.4 > together.total[1]
    # Known anchors change nothing, and nest as the entries do.
    known = {
        "baselines": [random_baselines(slots)] * 3,
        "best": [best_values(slots)] * 3,
    }
    again = score(texts, [slots] * 3, box, terms=terms, **known)
    np.testing.assert_allclose(again.total, together.total, rtol=1e-5)


def test_equal_programs_run_once_per_slot(box, monkeypatch):
    counts = []
    run = box.map
    monkeypatch.setattr(box, "map", lambda jobs, **o: counts.append(len(jobs)) or run(jobs, **o))
    a, b, c = (instance(seed) for seed in range(3))
    score([PERFECT, PERFECT, PERFECT], [[a, b], [a, b], [b, c]], box, terms=RANKED)
    assert counts == [3]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "an entry of instances must be 1 to 4 slots, got 0"),
        ([instance()] * 5, "an entry of instances must be 1 to 4 slots, got 5"),
        ([instance(), instance(setting="fading")], "must be of one setting and objective"),
        ([instance(), instance(setting="fair")], "must be of one setting and objective"),
    ],
)
def test_entries_that_are_refused(box, entry, message):
    with pytest.raises(ValueError, match=message):
        score([PERFECT], [entry], box)


def test_arguments_that_are_refused(box):
    pair = [instance(0), instance(1)]
    with pytest.raises(ValueError, match=r"baselines\[0\] must have one value per slot \(2\)"):
        score([PERFECT], [pair], box, baselines=[1.0])
    with pytest.raises(ValueError, match="must be one slot in the text paradigm, got 2"):
        score(["action = {}"], [pair], None, paradigm="text")
    with pytest.raises(ValueError, match="must be one slot in the text paradigm, got 2"):
        TrlRewards([pair], None, paradigm="text")
    for budget in (0, np.nan, 1e9):
        with pytest.raises(ValueError, match=r"budget_s must be from 0.01 to 3600, not"):
            score([PERFECT], [instance()], box, budget_s=budget)
    with pytest.raises(ValueError, match=r"budget_s must have one entry per completion \(1\)"):
        score([PERFECT], [instance()], box, budget_s=[1.0, 1.0])
    with pytest.raises(ValueError, match="best must be finite"):
        score([PERFECT], [instance()], box, best=[np.inf], terms=RANKED)


SPIN = (
    "import time\nwhile time.process_time() < {}: pass\n"
    "action = {{int(u): int(c) for u, c in zip(users, channels)}}\n"
    "assert time_budget_s == {}"
)


def test_a_budget_is_told_and_enforced(box):
    """One second of work is right in a budget of 3 s and too much in one of 0.3 s."""
    texts = [block(SPIN.format(1.0, 3.0)), block(SPIN.format(1.0, 0.3)), block(SPIN.format(0, 0.3))]
    scores = score(texts, [instance()] * 3, box, budget_s=[3.0, 0.3, 0.3], terms=RANKED)
    assert scores.status == ["ok", "timeout", "ok"]
    assert list(scores.valid) == [True, False, True]
    assert scores.total[0] == scores.total[2] > 0.7 > 0.4 > scores.total[1]
    one = score(texts[2:], [instance()], box, budget_s=0.3)
    assert one.status == ["ok"]


def test_trl_rewards_of_several_slots(box):
    entries = [[instance(0), instance(1)], instance(2)]
    rewards = TrlRewards(entries, box, terms=RANKED, budget_s=[2.0, 3.0])
    told = block("channels[0]\naction = {} if time_budget_s == 2 else {}[0]")
    texts = [PERFECT, ONE_EACH, told, told]
    metrics = {}
    parts = trl_call(
        rewards,
        completions=texts,
        completion_ids=[[0] * 10] * 4,
        instance=[0, 1, 0, 1],
        log_metric=metrics.__setitem__,
    )
    direct = score(
        texts,
        [entries[0], entries[1], entries[0], entries[1]],
        box,
        terms=RANKED,
        budget_s=[2.0, 3.0, 2.0, 3.0],
    )
    np.testing.assert_allclose(parts[0], direct.structure, rtol=1e-6)
    np.testing.assert_allclose(parts[1], direct.performance, rtol=1e-6)
    assert parts[2] == [0] * 4
    assert direct.status == ["ok", "ok", "ok", "error"]
    np.testing.assert_allclose(sum(map(np.array, parts[:2])), direct.total, rtol=1e-6)
    assert metrics["raw/gain"] == pytest.approx(direct.gain.mean(), rel=1e-5)


def test_the_papers_form_is_equations_12_to_14(box):
    """To the last bit: what `evaluate` and the steps give, clipped and weighted; one slot alike."""
    insts = [instance(0), instance(1, setting="fading")]
    texts = [PERFECT, ONE_EACH, block("action = {int(u): 1 for u in users}"), "No."]
    chosen = [insts[k % 2] for k in range(4)]
    lengths = [10, 60, 100, 3]
    scores = score(texts, chosen, box, lengths=lengths)
    results = run_programs(box, texts, [host_slot(inst) for inst in chosen])
    raw = []
    for inst, result in zip(chosen, results, strict=True):
        rows = {int(u): i for i, u in enumerate(np.asarray(inst.user_id))}
        assignment = np.full(inst.num_rows, -1, np.int32)
        for user, channel in (result.action or {}).items():
            assignment[rows[user]] = channel
        raw.append(assignment)
    gain = evaluate(chosen, raw).gain
    np.testing.assert_array_equal(scores.gain, gain)
    np.testing.assert_array_equal(scores.performance, np.clip(gain, -1, 1))
    R_d = -0.5 * np.maximum(0, 1 - np.array(lengths, np.float32) / 100)
    np.testing.assert_array_equal(scores.depth, R_d.astype(np.float32))
    total = 1.0 * scores.structure + 1.0 * np.clip(gain, -1, 1) + 0.5 * scores.depth
    np.testing.assert_array_equal(scores.total, total)
    as_entries = score(texts, [[inst] for inst in chosen], box, lengths=lengths)
    np.testing.assert_array_equal(as_entries.total, scores.total)

"""Rewards of real programs run in the real sandbox, against sums worked out by hand."""

import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from llm.decision import parse
from llm.decision.execution import ActionResult
from llm.decision.namespace import is_valid, program_data, raw_assignment
from llm.decision.paradigm import PARADIGMS
from llm.decision.policy import decide
from llm.decision.slot import host_slot
from llm.models import Completion
from llm.training import structure
from llm.training.rewards import Terms, score
from tests.llm.training.cases import PERFECT, block, instance


def occupied_instance():
    inst = instance()
    return inst.replace(occupied=inst.occupied.at[3].set(True))


LADDER = [
    ("I do not know.", 0.0, "no code"),
    (block("action = {"), 0.1, "error"),
    ("```python\naction = {", 0.0, "error"),
    # The compiler gives up: neither a syntax error nor a line.
    (block("x = a" + ".a" * 20_000), 0.1, "error"),
    (block("action = 1 / 0"), 0.2, "error"),
    (block("action = 7"), 0.4, "invalid"),
    (block("for c in channels: pass\naction = 7"), 0.6, "invalid"),
    (block("action = {-5: 1}"), 0.6, "ok"),
    # One of six users, on a channel that does not exist.
    (block("action = {int(users[0]): 999}"), 0.6 + 0.1, "ok"),
    # One of six, placed: users, channels and distinct are whole, a sixth is complete.
    (block("action = {int(users[0]): 1}"), 0.6 + 0.3 + 0.1 / 6, "ok"),
    # All on channel 1: a sixth is distinct, a sixth is complete.
    (block("action = {int(u): 1 for u in users}"), 0.6 + 0.2 + 0.2 / 6, "ok"),
    # All on a channel that a primary user holds.
    (block("action = {int(u): 3 for u in users}"), 0.6 + 0.1, "ok"),
    (block("action = {int(u): int(c) for u, c in zip(users, channels)}"), 1.2, "ok"),
    (PERFECT, 1.2, "ok"),
]


def test_structure_is_earned_step_by_step(box):
    inst = occupied_instance()
    texts = [text for text, _, _ in LADDER]
    scores = score(texts, [inst] * len(texts), box)
    assert scores.status == [status for _, _, status in LADDER]
    np.testing.assert_allclose(scores.structure, [points for _, points, _ in LADDER], atol=1e-6)
    assert scores.structure.max() <= structure.MAX_STRUCTURE + 1e-6
    np.testing.assert_array_equal(scores.valid, [False] * 12 + [True] * 2)
    for paradigm in PARADIGMS.values():
        worth = sum(paradigm.structure_steps.values())
        assert worth == pytest.approx(structure.MAX_STRUCTURE)


def test_a_fence_that_the_chat_template_opened_counts(box):
    begun = PERFECT.partition("```python\n")[2]
    scores = score([PERFECT, begun, begun.removesuffix("```")], [instance()] * 3, box)
    np.testing.assert_allclose(scores.structure, [1.2, 1.2, 1.1], rtol=1e-6)


def test_performance_is_equation_13_clipped(box):
    inst = instance()
    texts = [text for text, _, _ in LADDER]
    scores = score(texts, [inst] * len(texts), box)
    for text, gain, part in zip(texts, scores.gain, scores.performance, strict=True):
        ran = (
            box.run(text.split("```python\n")[1].split("```")[0], program_data(inst))
            if (text.count("```") == 2)
            else None
        )
        raw = raw_assignment(inst, ran.action if ran else None).raw
        expected = lsa.performance_gain(jax.random.key(0), inst, jax.numpy.asarray(raw))
        np.testing.assert_allclose(gain, expected, rtol=1e-5, atol=1e-5)
        assert part == pytest.approx(np.clip(expected, -1, 1), rel=1e-5, abs=1e-5)
    best = lsa.solvers.hungarian(jax.random.key(0), inst).value
    base = lsa.expected_random_value(inst)
    assert scores.gain[-1] == pytest.approx(2 * float(best / base - 1), rel=1e-4)


def test_depth_is_equation_14(box):
    terms = Terms(delta=0.4, min_tokens=50)
    scores = score([PERFECT] * 4, [instance()] * 4, box, lengths=[0, 25, 50, 500], terms=terms)
    np.testing.assert_allclose(scores.depth, [-0.4, -0.2, 0.0, 0.0])
    total = terms.structure * scores.structure + scores.performance + 0.5 * scores.depth
    np.testing.assert_allclose(scores.total, total, rtol=1e-6)
    without = score([PERFECT], [instance()], box)
    assert np.isnan(without.depth).all() and np.isfinite(without.total).all()


def test_order_of_merit(box):
    """No action < a broken one < a valid one at random < the best one."""
    texts = [
        "No.",
        block("action = {int(u): 1 for u in users}"),
        block("action = {int(u): int(c) for u, c in zip(users, channels)}"),
        PERFECT,
    ]
    total = score(texts, [instance()] * 4, box).total
    assert np.all(np.diff(total) > 0)


def test_mixed_shapes_and_settings_keep_their_order(box):
    kinds = [instance(0), instance(1, 20), instance(2, 15, "fading"), instance(3, 15, "poisson")]
    chosen = [kinds[i] for i in (2, 0, 3, 1, 0, 2)]
    together = score([PERFECT] * 6, chosen, box)
    for k, inst in enumerate(chosen):
        alone = score([PERFECT], [inst], box)
        assert together.gain[k] == pytest.approx(alone.gain[0], rel=1e-5, abs=1e-5)
        assert together.valid[k] and alone.valid[0]


def test_equal_programs_on_one_instance_run_once(box, monkeypatch):
    counts = []
    run = box.map

    def counted(jobs, **options):
        counts.append(len(jobs))
        return run(jobs, **options)

    monkeypatch.setattr(box, "map", counted)
    a, b = instance(0), instance(1)
    other = block("action = {}")
    scores = score([PERFECT, PERFECT, other, PERFECT], [a, a, a, b], box)
    assert counts == [3]
    assert scores.gain[0] == scores.gain[1] and scores.gain[0] != scores.gain[3]


NAP = "import time\ntime.sleep({})\n"


def test_what_a_deadline_cuts_off_has_no_reward(box):
    """The status says nothing about the program, and so does no part."""
    naps = [PERFECT, block(NAP.format(60) + "action = {}"), "No."]
    start = time.monotonic()
    scores = score(naps, [instance()] * 3, box, lengths=[200] * 3, deadline_s=3)
    assert time.monotonic() - start < 30
    assert scores.status == ["ok", "unfinished", "no code"]
    for part in (scores.total, scores.structure, scores.performance, scores.depth, scores.gain):
        np.testing.assert_array_equal(np.isnan(part), [False, True, False])
    assert list(scores.valid) == [True, False, False]


def test_counters_of_the_sandbox(box):
    texts = [block(NAP.format(0.3) + f"action = {{0: {k}}}") for k in range(4)]
    texts += [block("x = np.ones(40 << 17)\naction = {}"), "No."]
    scores = score(texts, [instance()] * len(texts), box)
    assert scores.queue_s[3] >= 0.25 and scores.queue_s[5] == 0
    assert 40 <= scores.peak_mb[4] < 80 and scores.peak_mb[0] < 20 and scores.peak_mb[5] == 0
    assert scores.restarts == 0
    for worker in box._workers:
        worker.kill()
    assert score(texts[:4], [instance()] * 4, box).restarts == len(box._workers)
    text = score(["action = {}"], [instance()], None, paradigm="text")
    assert (text.queue_s, text.peak_mb, text.restarts) == ([0], [0], 0)


def test_text_paradigm_executes_nothing():
    inst = instance()
    users = np.asarray(inst.user_id)
    idle = np.flatnonzero(~np.asarray(inst.occupied))
    pairs = ", ".join(f"{u}: {c}" for u, c in zip(users, idle, strict=False))
    texts = [f"action = {{{pairs}}}", "action = {1: }", "open('/etc/passwd')"]
    scores = score(texts, [inst] * 3, None, paradigm="text")
    np.testing.assert_allclose(scores.structure, [1.2, 0, 0], atol=1e-6)
    assert list(scores.valid) == [True, False, False]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = channels[0]", True),
        ("# channels", False),
        ("x = 'channels'", False),
        ("channels = [1, 2]\nx = channels", False),
        ("for channels in [1]: pass", False),
        ("x.channels", False),
        ("x = (", False),
        ("f(idle=channels)", True),
        # An f-string is one token before Python 3.12.
        ("print(f'{channels}')", True),
        ("print(f'{len(channels):>{w}} {x}')", True),
        ("print(rf\"{d['channels']} {{channels}} channels\")", False),
        ("print(f'{channels=}')", True),
        ("x[f'{channels}'] = 1", True),
        # The name of an argument is neither a read nor a binding.
        ("d = dict(channels=x)", False),
        ("d = dict(channels=x)\ny = channels[0]", True),
        ("d = dict(channels=channels)", True),
        ("def f(users, channels=None):\n    pass", False),
        ("def f(channels):\n    pass\nf(channels)", True),
        ("def f(x=channels): pass", True),
        ("async def f(channels):\n    pass", False),
        ("async def f():\n    async for channels in x: pass\n    channels", False),
        # Targets of any shape are bound; what is on the right is read first.
        ("channels, b = 1, 2\nx = channels", False),
        ("a, (b, channels) = 1, (2, 3)\nx = channels", False),
        ("[channels, b] = 1, 2\nx = channels", False),
        ("a = channels = 1\nx = channels", False),
        ("channels: list[int] = []\nx = channels", False),
        ("for i, channels in []: pass\nx = channels", False),
        ("import x as channels\ny = channels", False),
        ("while (channels := 0): pass\nx = channels", False),
        ("channels = np.sort(channels)", True),
        ("channels += 1", True),
        ("channels[0] = 1", True),
        ("x[channels] = 1", True),
        ("for channels in channels: pass", True),
        ("if channels.size: y = 1", True),
        ("x = {c: 1 for c in channels}", True),
        ("x = y = 1; z = channels", True),
        ("x = (\n    # a comment\n    channels\n)", True),
    ],
)
def test_reads(code, expected):
    assert structure.reads(code, "channels") is expected


UNITS = ["(", "[channels(", "f'{x}'\n", "-", "x=", "'", "a.", '"""\n', "{{", "channels=", "f'{'"]


@pytest.mark.parametrize("unit", UNITS)
def test_reads_any_program_in_little_time(unit):
    start = time.process_time()
    structure.reads(unit * (parse.MAX_CODE_CHARS // len(unit)), "channels")
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": []}, r"instances must have one entry per completion \(1\), got 0"),
        ({"lengths": [1, 2]}, "lengths must have one entry per completion"),
        ({"lengths": [-3]}, "lengths must be at least 0 tokens, got -3"),
        ({"baselines": [1e8, 1e8]}, r"baselines must have one entry per completion \(1\), got 2"),
        ({"baselines": [np.nan]}, "baselines must be finite"),
        ({"paradigm": "prose"}, "paradigm must be one of code, text, got 'prose'"),
        ({"box": None}, "box must be a Sandbox"),
        ({"deadline_s": 0}, "deadline_s must be above 0"),
    ],
)
def test_bad_arguments(box, changes, message):
    arguments = {"completions": [PERFECT], "instances": [instance()], "box": box, **changes}
    with pytest.raises(ValueError, match=message):
        score(**arguments)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("structure", np.nan, "at least 0"),
        ("performance", -1.0, "at least 0"),
        ("depth", np.inf, "at least 0"),
        ("kappa", -1.0, "at least 0"),
        ("penalty", 2.0, r"within \[0, 1.0\]"),
        ("delta", np.nan, r"within \[0, 1.0\]"),
        ("min_tokens", 0, "at least 1"),
        ("min_tokens", np.nan, "at least 1"),
    ],
)
def test_bad_terms(name, value, accepted):
    with pytest.raises(ValueError, match=f"{name} must be finite and {accepted}, got"):
        Terms(**{name: value})


_violations = jax.jit(lsa.violations)


def unservable():
    """A slot without users, and one without idle channels."""
    inst = instance()
    return (
        inst.replace(user_mask=np.zeros(6, bool)),
        inst.replace(occupied=np.ones(15, bool)),
    )


NOTHING_TO_DO = [
    ("action = {}", True),
    ("action = {int(u): -1 for u in users}", True),
    ("action = {int(u): int(channels[i]) for i, u in enumerate(users[:len(channels)])}", True),
    ("action = {999: 0}", False),
    ("action = {int(u): 0 for u in users} or {999: -1}", False),
    ("action = {}[0]", False),
]


@pytest.mark.parametrize("which", [0, 1])
def test_where_no_user_can_be_served_the_empty_action_is_valid(box, which):
    """In `decide` and in `score` alike, at full structure, and without a gain to be had."""
    inst = unservable()[which]
    texts = [block(f"channels.size\n{code}") for code, _ in NOTHING_TO_DO]
    expected = [valid for _, valid in NOTHING_TO_DO]
    scores = score(texts, [inst] * len(texts), box)
    assert list(scores.valid) == expected
    assert [R_s == pytest.approx(1.2) for R_s in scores.structure] == expected
    np.testing.assert_array_equal(scores.performance, 0)
    assert [d.valid for d in decide_each(box, texts, inst)] == expected
    text = score(["action = {}"], [inst], None, paradigm="text")
    assert text.valid[0] and text.structure[0] == pytest.approx(1.2)


def decide_each(box, texts, inst):
    class Says:
        name, prompt_budget, max_new_tokens = "says", 4000, 1

        def count_tokens(self, text):
            return len(text) // 4

        def generate(self, prompts, **_):
            return [Completion(text, 1, 1, 0.0) for text in texts]

    return decide(Says(), box, [inst], num_samples=len(texts))


@settings(max_examples=200, deadline=None)
@given(
    num_idle=st.integers(0, 4),
    active=st.lists(st.booleans(), min_size=4, max_size=4),
    action=st.none() | st.dictionaries(st.integers(0, 5), st.integers(-2, 5), max_size=5),
)
def test_valid_is_what_earns_every_step(num_idle, active, action):
    """Of the one definition of valid: the shares are whole exactly when it holds."""
    inst = lsa.make_instance(np.full(4, 1e-9), np.full(4, 1e7), occupied=np.arange(4) >= num_idle)
    inst = inst.replace(user_mask=np.array(active))
    slot = host_slot(inst)
    raw, unknown_users = raw_assignment(slot, action)
    violations = {kind: int(n) for kind, n in _violations(inst, raw)._asdict().items()}
    violations["unknown_user"] = unknown_users
    status = "invalid" if action is None else "ok"
    result = ActionResult(action, status, "", None, "", 0.0, 0.0)
    R_s = structure.structure_score(PARADIGMS["text"], slot, result, violations)
    assert 0 <= R_s <= structure.MAX_STRUCTURE + 1e-9
    assert is_valid(slot, action, violations) == (R_s == pytest.approx(structure.MAX_STRUCTURE))
    served = {u: c for u, c in (action or {}).items() if c != -1}
    by_hand = (
        action is not None
        and all(u < 4 and active[u] for u in action)
        and all(0 <= c < num_idle for c in served.values())
        and len(set(served.values())) == len(served) == min(sum(active), num_idle)
    )
    assert is_valid(slot, action, violations) == by_hand

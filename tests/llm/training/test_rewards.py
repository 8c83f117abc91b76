"""Rewards of real programs run in the real sandbox, against sums worked out by hand."""

import asyncio
import functools
import threading
import time

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.decision import parse
from llm.decision.namespace import raw_assignment
from llm.sandbox import Limits, Sandbox
from llm.training import rewards, structure
from llm.training.rewards import Terms, evaluate, score
from llm.training.trl_rewards import TrlRewards


def block(code):
    return f"Here is the program.\n```python\n{code}\n```"


PERFECT = block(
    "order = np.argsort(-power_w.mean(axis=1))\n"
    "wide = channels[np.argsort(-bandwidth_hz)]\n"
    "action = {int(users[u]): int(c) for u, c in zip(order, wide)}"
)


@functools.cache
def instance(seed=0, channels=15, setting="plain"):
    scenario = lsa.Scenario(num_users=12, num_channels=channels, num_active=6)
    return lsa.sample_instance(jax.random.key(seed), scenario.replace(**lsa.SETTINGS[setting]))


@pytest.fixture(scope="module")
def box():
    with Sandbox(workers=2, limits=Limits(wall_s=5.0, cpu_s=2.0)) as sandbox:
        yield sandbox


def occupied_instance():
    inst = instance()
    return inst.replace(occupied=inst.occupied.at[3].set(True))


LADDER = [
    ("I do not know.", 0.0, "no code"),
    (block("action = {"), 0.1, "error"),
    ("```python\naction = {", 0.0, "error"),
    (block("action = 1 / 0"), 0.2, "error"),
    (block("action = 7"), 0.4, "invalid"),
    (block("for c in channels: pass\naction = 7"), 0.6, "invalid"),
    (block("action = {-5: 1}"), 0.6, "ok"),
    # One of six users, on a channel that does not exist.
    (block("action = {int(users[0]): 999}"), 0.6 + 0.1, "ok"),
    # One of six, placed: users, channels and distinct are whole, a sixth is complete.
    (block("action = {int(users[0]): 1}"), 0.6 + 0.3 + 0.1 / 6, "ok"),
    # Everybody on channel 1: a sixth is distinct, a sixth is complete.
    (block("action = {int(u): 1 for u in users}"), 0.6 + 0.2 + 0.2 / 6, "ok"),
    # Everybody on a channel that a primary user holds.
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
    np.testing.assert_array_equal(scores.valid, [False] * 11 + [True] * 2)
    assert sum(structure.CODE_STEPS.values()) == pytest.approx(structure.MAX_STRUCTURE)
    assert sum(structure.TEXT_STEPS.values()) == pytest.approx(structure.MAX_STRUCTURE)


def test_performance_is_equation_13_clipped(box):
    inst = instance()
    texts = [text for text, _, _ in LADDER]
    scores = score(texts, [inst] * len(texts), box)
    for text, gain, part in zip(texts, scores.gain, scores.performance, strict=True):
        ran = (
            box.run(text.split("```python\n")[1].split("```")[0], box_data(inst))
            if (text.count("```") == 2)
            else None
        )
        raw = raw_assignment(inst, ran.action if ran else None).assignment
        expected = lsa.performance_gain(jax.random.key(0), inst, jax.numpy.asarray(raw))
        np.testing.assert_allclose(gain, expected, rtol=1e-5, atol=1e-5)
        assert part == pytest.approx(np.clip(expected, -1, 1), rel=1e-5, abs=1e-5)
    best = lsa.solvers.hungarian(jax.random.key(0), inst).value
    base = lsa.expected_random_throughput(inst)
    assert scores.gain[-1] == pytest.approx(2 * float(best / base - 1), rel=1e-4)


def box_data(inst):
    from llm.decision.namespace import program_data

    return program_data(inst)


def test_depth_is_equation_14(box):
    terms = Terms(delta=0.4, min_tokens=50)
    scores = score([PERFECT] * 4, [instance()] * 4, box, lengths=[0, 25, 50, 500], terms=terms)
    np.testing.assert_allclose(scores.depth, [-0.4, -0.2, 0.0, 0.0])
    total = terms.structure * scores.structure + scores.performance + 0.5 * scores.depth
    np.testing.assert_allclose(scores.total, total, rtol=1e-6)
    without = score([PERFECT], [instance()], box)
    assert np.isnan(without.depth).all() and np.isfinite(without.total).all()


def test_order_of_merit(box):
    """No answer < a broken one < a valid one at random < the best one."""
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

    def counted(jobs, *args):
        counts.append(len(jobs))
        return run(jobs, *args)

    monkeypatch.setattr(box, "map", counted)
    a, b = instance(0), instance(1)
    other = block("action = {}")
    scores = score([PERFECT, PERFECT, other, PERFECT], [a, a, a, b], box)
    assert counts == [3]
    assert scores.gain[0] == scores.gain[1] and scores.gain[0] != scores.gain[3]


def test_few_sizes_are_compiled():
    """However many completions of a step are valid, the evaluator is compiled per power of two."""
    rewards._evaluate.clear_cache()
    insts = [instance(s) for s in range(4)]
    rng = np.random.default_rng(0)
    for n in range(1, 25):
        chosen = [insts[i] for i in sorted(rng.integers(0, 4, n))]
        evaluate(chosen, [rng.integers(-1, 15, 6).astype(np.int32) for _ in range(n)])
    assert rewards._evaluate._cache_size() <= 3 * 5


def test_evaluation_against_one_by_one():
    rng = np.random.default_rng(1)
    chosen = [instance(s % 3, setting="fading") for s in range(10)]
    raw = [rng.integers(-2, 17, 6).astype(np.int32) for _ in range(10)]
    value = evaluate(chosen, raw)
    known = evaluate(chosen, raw, baselines=rewards.random_baselines(chosen))
    np.testing.assert_allclose(known.gain, value.gain, rtol=1e-5, atol=1e-5)
    for k, (inst, action) in enumerate(zip(chosen, raw, strict=True)):
        action = jax.numpy.asarray(action)
        gain = lsa.performance_gain(jax.random.key(0), inst, action)
        assert value.gain[k] == pytest.approx(float(gain), rel=1e-5, abs=1e-5)
        for kind, count in lsa.violations(inst, action)._asdict().items():
            assert value.violations[kind][k] == int(count)
        assert value.users[k] == 6 and value.idle[k] == int((~inst.occupied).sum())


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
        ({"paradigm": "prose"}, "paradigm must be 'code' or 'text', got 'prose'"),
        ({"box": None}, "box must be a Sandbox"),
    ],
)
def test_bad_arguments(box, changes, message):
    arguments = {"completions": [PERFECT], "instances": [instance()], "box": box, **changes}
    with pytest.raises(ValueError, match=message):
        score(**arguments)


@pytest.mark.parametrize("bad", [{"kappa": -1.0}, {"penalty": 2.0}, {"delta": np.nan}])
def test_bad_terms(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be finite"):
        Terms(**bad)


def trl_call(rewards_object, **step):
    """As TRL does: all parts gathered on one event loop in a thread of its own."""
    out = []

    async def gather():
        return await asyncio.gather(*(part(**step) for part in rewards_object.functions))

    thread = threading.Thread(target=lambda: out.append(asyncio.run(gather())))
    thread.start()
    thread.join()
    return out[0]


def test_trl_functions_share_one_execution(box, monkeypatch):
    insts = [instance(0), instance(1)]
    calls = []
    run = box.map
    monkeypatch.setattr(box, "map", lambda jobs, *a: calls.append(len(jobs)) or run(jobs, *a))
    parts = TrlRewards(insts, box, terms=Terms(min_tokens=20))
    texts = [PERFECT, block("action = 7"), "No.", PERFECT]
    metrics, extra = {}, {}
    step = {
        "prompts": ["p"] * 4,
        "completions": [[{"role": "assistant", "content": t}] for t in texts],
        "completion_ids": [[0] * 10] * 4,
        "instance": [0, 0, 1, None],
        "log_metric": metrics.__setitem__,
        "log_extra": extra.__setitem__,
        "trainer_state": object(),
    }
    R_s, R_p, R_d = trl_call(parts, **step)
    assert calls == [2], "one sandbox call for all three parts"
    direct = score(texts[:3], [insts[0], insts[0], insts[1]], box)
    np.testing.assert_allclose(R_s[:3], direct.structure, rtol=1e-6)
    np.testing.assert_allclose(R_p[:3], direct.performance, rtol=1e-6)
    np.testing.assert_allclose(R_d[:3], [-0.25] * 3)
    assert R_s[3] is R_p[3] is R_d[3] is None
    assert metrics["answers/valid"] == pytest.approx(1 / 3)
    assert metrics["answers/no_code"] == pytest.approx(1 / 3)
    assert extra["status"] == ["ok", "invalid", "no code", None]
    # The next step is computed anew, and without token ids the depth does not apply.
    del step["completion_ids"]
    assert trl_call(parts, **step)[2] == [None] * 4
    assert calls[0] == 2 and len(calls) == 3

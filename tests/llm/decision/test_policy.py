"""From instances to assignments, with the embedded model and with scripted ones."""

import dataclasses

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.decision import namespace, policy
from llm.decision.mapping import CompletionTooLongError, mapping_text, mapping_tokens
from llm.decision.policy import decide
from llm.decision.slot import host_slot
from llm.models import Completion

SORT = """```python
rows = np.argsort(-power_w[:, 0])
cols = np.argsort(-bandwidth_hz)
action = {int(users[i]): int(channels[j]) for i, j in zip(rows, cols)}
```"""
ROW = "first = [(int(u), int(c)) for u, c in zip(users, channels)]\n"


@dataclasses.dataclass
class Scripted:
    """Says what it is told to, whatever the prompt."""

    completions: list[str]
    name: str = "scripted"
    prompt_budget: int = 4000
    max_new_tokens: int = 10
    context: int | None = None

    def count_tokens(self, text):
        return len(text) // 3

    def generate(self, prompts, *, num_samples=1, **_):
        assert len(prompts) * num_samples == len(self.completions)
        return [Completion(text, 5, 6, 0.25) for text in self.completions]


@pytest.fixture(scope="module")
def slots():
    key = jax.random.key(0)
    scenario = lsa.SMALL_SCALES[(15, 20, 4)].replace(occupancy=0.2)
    variants = [scenario.replace(**lsa.SETTINGS[s]) for s in ("plain", "fading", "interference")]
    return [lsa.sample_instance(key, variant) for variant in variants]


def feasible(inst, assignment):
    return all(int(count) == 0 for count in policy._violations(inst, assignment))


@pytest.mark.parametrize("repair_rule", ["sorted", "greedy"])
def test_a_good_program_is_taken_as_it_is(box, slots, repair_rule):
    (made,) = decide(Scripted([SORT]), box, slots[:1], repair_rule=repair_rule)
    best = lsa.solvers.sorted_matching(jax.random.key(0), slots[0])
    assert (made.status, made.valid, made.detail) == ("ok", True, "")
    assert set(made.violations.values()) == {0}
    np.testing.assert_array_equal(made.assignment, made.raw)
    np.testing.assert_array_equal(made.assignment, best.assignment)
    assert (made.prompt_tokens, made.completion_tokens) == (5, 6)
    assert made.seconds.generate == 0.25
    assert made.total_s == pytest.approx(sum(made.seconds))
    assert all(seconds > 0 for seconds in made.seconds)


BROKEN = [
    ("I do not know.", "no code", {"unserved": 4}),
    ("```python\nx = (\n```", "error", {"unserved": 4}),
    ("```python\n1 / 0\n```", "error", {"unserved": 4}),
    ("```python\nx = 1\n```", "invalid", {"unserved": 4}),
    ("```python\naction = {'a': 1}\n```", "invalid", {"unserved": 4}),
    (f"```python\n{ROW}action = dict(first[:3])\n```", "ok", {"unserved": 1}),
    (f"```python\n{ROW}action = {{u: first[0][1] for u, _ in first}}\n```", "ok", {"duplicate": 3}),
    (f"```python\n{ROW}action = dict(first)\naction[first[0][0]] = 20\n```", "ok", {"unknown": 1}),
    (f"```python\n{ROW}action = dict(first)\naction[99] = 1\n```", "ok", {"unknown_user": 1}),
    (
        f"```python\n{ROW}taken = set(range(20)) - set(channels.tolist())\n"
        "action = dict(first)\naction[first[0][0]] = taken.pop()\n```",
        "ok",
        {"occupied": 1},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("completion", "status", "counts"), BROKEN)
def test_a_bad_program_is_counted_and_repaired(box, slots, completion, status, counts):
    (made,) = decide(Scripted([completion]), box, slots[:1])
    assert made.status == status
    assert {kind: n for kind, n in made.violations.items() if n} == counts
    assert not made.valid
    assert feasible(slots[0], made.assignment)
    assert made.detail or status == "ok"


def test_an_endless_program_is_a_time_out(box, slots):
    (made,) = decide(Scripted(["```python\nwhile True: pass\n```"]), box, slots[:1])
    assert (made.status, made.valid) == ("timeout", False)
    assert feasible(slots[0], made.assignment)


def test_messages_give_the_line_of_the_program(box, slots):
    (made,) = decide(Scripted(["```python\nx = 1\ny = z\n```"]), box, slots[:1])
    assert made.detail.startswith("line 2: NameError")


def test_more_users_than_idle_channels(box):
    inst = lsa.make_instance(
        np.array([1e-10, 2e-10, 3e-10]), np.array([10e6, 20e6]), user_id=np.array([7, 8, 9])
    )
    code = "```python\naction = {9: 1, 8: 0}\n```"
    (made,) = decide(Scripted([code]), box, [inst])
    assert made.valid
    assert made.assignment.tolist() == [-1, 0, 1]
    assert made.violations["unserved"] == 1


def test_programs_and_samples_keep_their_places(box, slots):
    completions = [f"```python\naction = {{{i}: {i}}}\n```" for i in range(6)]
    made = decide(Scripted(completions), box, slots, num_samples=2)
    assert [d.completion for d in made] == completions
    kinds = [d.prompt.text.split("Setting: ")[1].split(";")[0] for d in made]
    assert kinds == ["plain"] * 2 + ["fading"] * 2 + ["interference"] * 2


def test_text_paradigm_runs_nothing(slots):
    users = [int(u) for u in slots[0].user_id]
    idle = np.flatnonzero(~np.asarray(slots[0].occupied))
    good = f"action = {dict(zip(users, idle[:4].tolist(), strict=True))}"
    completions = [good, f"action = {{{users[0]}: {idle[0]}}}", "action = {1: 1, 1: 2}"]
    made = decide(Scripted(completions), None, slots[:1], paradigm="text", num_samples=3)
    assert [d.valid for d in made] == [True, False, False]
    assert [d.status for d in made] == ["ok", "ok", "invalid"]
    assert "appears twice" in made[2].detail
    assert all(feasible(slots[0], d.assignment) for d in made)
    assert "no program" in made[0].prompt.text
    assert made[0].seconds.execute == 0


class Recording(Scripted):
    """Remembers how it was called."""

    def generate(self, prompts, **options):
        self.called = options
        return super().generate(prompts, num_samples=options["num_samples"])


def test_a_mapping_that_does_not_fit_is_refused_with_its_size(slots):
    needed = mapping_tokens(host_slot(slots[0]), Scripted([]).count_tokens)
    longest = mapping_text(dict(zip(range(11, 15), range(16, 20), strict=True)))  # ids of 2 digits
    assert needed == pytest.approx(len(longest) // 3 + 1, abs=1)
    with pytest.raises(CompletionTooLongError) as refused:
        decide(Scripted([]), None, slots[:1], paradigm="text", max_new_tokens=needed - 1)
    assert str(refused.value) == (
        f"a mapping of 4 users takes up to {needed} tokens, and max_new_tokens={needed - 1} "
        f"leaves {needed - 1}"
    )
    assert (refused.value.tokens, refused.value.room) == (needed, needed - 1)
    # The model's own 10 tokens are for programs.
    model = Recording(["action = {}"])
    (made,) = decide(model, None, slots[:1], paradigm="text")
    assert model.called["max_new_tokens"] > needed
    model.context = made.prompt.tokens + needed
    model.completions = ["action = {}"]
    decide(model, None, slots[:1], paradigm="text")
    assert model.called["max_new_tokens"] == needed
    model.context -= 1
    with pytest.raises(CompletionTooLongError, match=r"a prompt of \d+ tokens in a context of"):
        decide(model, None, slots[:1], paradigm="text")


def test_constraints_name_the_slot_s_users_and_idle_channels(slots):
    model = Recording(["action = {}"] * 2)
    decide(model, None, slots[1:], paradigm="text", constrain=True)
    for inst, constraint in zip(slots[1:], model.called["constraints"], strict=True):
        idle = np.flatnonzero(~np.asarray(inst.occupied))
        power = np.asarray(inst.mean_power_w)[np.asarray(inst.user_mask)]
        assert constraint.users[0] == np.asarray(inst.user_id)[power.argmax()]
        assert sorted(constraint.users) == sorted(np.asarray(inst.user_id).tolist())
        assert sorted(constraint.channels) == idle.tolist()
        assert constraint.channels[0] == idle[np.asarray(inst.bandwidth_hz)[idle].argmax()]
    decide(model, None, slots[1:], paradigm="text")
    assert "constraints" not in model.called
    with pytest.raises(ValueError, match="constrain is for mappings, and code asks for programs"):
        decide(model, object(), slots[:1], constrain=True)


def test_constrained_mappings_are_valid(embedded, slots):
    """By a model that was never shown one."""
    made = decide(
        embedded,
        None,
        slots,
        paradigm="text",
        budget=480,
        constrain=True,
        temperature=1.0,
        num_samples=2,
    )
    assert all(d.valid and d.status == "ok" and d.finish_reason == "stop" for d in made)
    assert all((d.raw == d.assignment).all() for d in made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paradigm": "json"}, "paradigm must be one of"),
        ({"repair_rule": "best"}, "repair_rule must be"),
        ({"budget": 50}, r"budget must be at least \d+ tokens"),
    ],
)
def test_options_are_checked_before_generation(box, slots, options, message):
    with pytest.raises(ValueError, match=message):
        decide(Scripted([]), box, slots[:1], **options)
    with pytest.raises(ValueError, match="box must be a Sandbox"):
        decide(Scripted([]), None, slots[:1])


def test_a_slot_too_large_for_a_program_is_refused_before_generation(box, slots, monkeypatch):
    monkeypatch.setattr(namespace.check_size, "__defaults__", (100,))
    with pytest.raises(ValueError, match=r"the data of a program needs \d+ bytes for 4 users"):
        decide(Scripted([]), box, slots[1:2])


def test_embedded_model_end_to_end(box, slots, embedded):
    made = decide(embedded, box, slots, temperature=1.0, num_samples=8, seed=5)
    assert len(made) == 24
    assert all(feasible(slots[i // 8], d.assignment) for i, d in enumerate(made))
    assert sum(d.valid for d in made) >= 12
    assert len({d.code for d in made}) >= 8
    assert all(d.prompt.tokens == d.prompt_tokens <= embedded.prompt_budget for d in made)
    again = decide(embedded, box, slots[1:2], temperature=1.0, num_samples=8, seed=5)
    assert [d.completion for d in again] == [d.completion for d in made[8:16]]


def test_a_time_budget_is_in_the_prompt_and_enforced(box, slots):
    told = ROW + "action = {first[0][0]: first[0][1]} if time_budget_s == 0.25 else {}"
    burns = ROW + "while True: pass"
    completions = [f"```python\n{code}\n```" for code in (told, burns)]
    short, cut = decide(Scripted(completions), box, slots[:1], num_samples=2, time_budget_s=0.25)
    assert "Time budget: 0.25 s" in short.prompt.text
    assert (short.status, (short.raw >= 0).sum()) == ("ok", 1)
    assert (cut.status, cut.detail) == ("timeout", "used up 0.25 s of CPU time")
    (whole,) = decide(Scripted(completions[:1]), box, slots[:1])
    assert f"Time budget: {box.limits.cpu_s:g} s" in whole.prompt.text
    with pytest.raises(ValueError, match=r"time_budget_s must be from 0.01 to 3600, not 0"):
        decide(Scripted(completions[:1]), box, slots[:1], time_budget_s=0)
    with pytest.raises(ValueError, match="time_budget_s is for programs"):
        decide(Scripted(["action = {}"]), None, slots[:1], paradigm="text", time_budget_s=1.0)

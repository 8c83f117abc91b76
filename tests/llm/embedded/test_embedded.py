"""The shipped model, its corpus, and the script that trains it."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import lsajax as lsa
from llm.decision import namespace
from llm.decision.paradigm import CODE
from llm.decision.policy import decide
from llm.decision.serialize import serialize
from llm.embedded import corpus, network, pretrain
from llm.embedded.card import card
from llm.embedded.corpus.tokenizer import MAX_TOKEN_CHARS, train_tokenizer
from llm.models import EMBEDDED, SHIPPED, load_model
from llm.training.evaluation import evaluate
from llm.training.prompts import Cell

objective_value = jax.jit(lsa.objective_value)
SCENARIO = lsa.Scenario(num_users=40, num_channels=50, num_active=30)

SOME_KINDS = ("plain, throughput", "fading, fair", "plain, coupled")

TINY = pretrain.Config(out="", steps=1, prompts=6, batch=3, samples=3, hidden=32, layers=2)


@pytest.mark.parametrize("scale", [(15, 20, 8), pytest.param("III", marks=pytest.mark.slow)])
def test_every_family_is_valid_for_every_kind(box, scale):
    rng = np.random.default_rng(0)
    base = (lsa.SCALES | lsa.SMALL_SCALES)[scale]
    for kind in SOME_KINDS:
        inst = lsa.sample_instance(jax.random.key(1), base.replace(**corpus.KINDS[kind]))
        families = [family for family in corpus.FAMILIES for _ in range(5)]
        if not kind.endswith("coupled"):
            families = [family for family in families if family != "improve"]
        made = [corpus.sample_completion(rng, kind, family=f, mistake=None) for f in families]
        decisions = decide(_Says([s.text for s in made]), box, [inst], num_samples=len(made))
        for sample, decision in zip(made, decisions, strict=True):
            assert decision.code == sample.code
            assert decision.valid, (sample.code, decision.detail, decision.violations)
            assert decision.seconds.execute < 2.0


@pytest.mark.parametrize("mistake", corpus.MISTAKES)
def test_every_mistake_breaks_something(box, mistake):
    rng = np.random.default_rng(0)
    inst = lsa.sample_instance(jax.random.key(1), lsa.SCALES["I"])
    made = [
        corpus.sample_completion(rng, "plain, throughput", mistake=mistake).text for _ in range(12)
    ]
    decisions = decide(_Says(made), box, [inst], num_samples=len(made))
    assert not any(d.valid for d in decisions)


class _Says:
    name, prompt_budget, max_new_tokens = "says", 4000, 1

    def __init__(self, texts):
        self.texts = texts

    def count_tokens(self, text):
        return len(text) // 4

    def generate(self, prompts, **_):
        from llm.models import Completion

        return [Completion(text, 1, 1, 0.0) for text in self.texts]


@pytest.mark.parametrize("kind", corpus.KINDS)
def test_the_right_family_is_as_good_as_any(box, kind):
    """And of its prompts the corpus has the share that it says."""
    rng = np.random.default_rng(3)
    inst = lsa.sample_instance(jax.random.key(4), SCENARIO.replace(**corpus.KINDS[kind]))
    families = list(corpus.FAMILIES)
    texts = [corpus.sample_completion(rng, kind, family=f, mistake=None).text for f in families]
    made = decide(_Says(texts), box, [inst], num_samples=len(texts))
    value = {
        f: float(objective_value(inst, d.raw))
        for f, d in zip(families, made, strict=True)
        if d.valid
    }
    right = corpus.right_family(kind, 30, 45, 1.0)
    assert value[right] >= max(value.values()) * (1 - 1e-6)
    drawn = [corpus.sample_completion(rng, kind, right=right).family for _ in range(1000)]
    # Four standard deviations.
    assert abs(drawn.count(right) / len(drawn) - corpus.RIGHT_SHARE) < 0.042


def test_a_short_budget_makes_a_cheaper_family_right():
    for kind in corpus.KINDS:
        ample, short = (corpus.right_family(kind, 800, 900, s) for s in (5.0, 0.02))
        assert short == "sort_both"
        assert (ample == short) == (kind in ("plain, throughput", "plain, fair"))
        assert corpus.right_family(kind, 5, 9, 0.02) == ample


def test_no_prompt_has_what_is_held_out():
    assert not set(corpus.HELD_OUT) & set(corpus.KINDS)
    for part in (0, 1):  # but each setting and each objective is met
        known = {kind.split(", ")[part] for kind in corpus.KINDS}
        assert known >= {kind.split(", ")[part] for kind in corpus.HELD_OUT}


def test_corpus_is_broad_and_seeded():
    draw = lambda: [  # noqa: E731
        corpus.sample_completion(np.random.default_rng([7, i]), "fading, fair") for i in range(600)
    ]
    samples = draw()
    assert samples == draw()
    assert {s.family for s in samples} == set(corpus.FAMILIES)
    assert {s.mistake for s in samples} == {None, *corpus.MISTAKES}
    assert len({s.code for s in samples}) > 400
    broken = np.mean([s.mistake is not None for s in samples])
    assert abs(broken - corpus.BROKEN_SHARE) < 0.06


def test_shared_prompt_batch_is_the_plain_loss():
    """Completions side by side behind one prompt cost what they cost one by one."""
    tokenizer = train_tokenizer(TINY.vocabulary, 0)
    model = network.build_model(TINY, tokenizer).eval()
    prompts = network.make_prompts(TINY, tokenizer)
    batch = network.make_batch(np.random.default_rng(5), TINY, tokenizer, prompts)
    rng = np.random.default_rng(5)
    start = int(rng.integers(len(prompts) - TINY.batch + 1))
    total = count = 0.0
    for kind, right, prompt in prompts[start : start + TINY.batch]:
        for _ in range(TINY.samples):
            text = corpus.sample_completion(rng, kind, right=right).text
            completion = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            labels = torch.tensor([[-100] * len(prompt) + completion])
            loss = model(torch.tensor([prompt + completion]), labels=labels).loss.item()
            total, count = total + loss * len(completion), count + len(completion)
    assert len(batch.target) == count
    assert network.batch_loss(model, batch).item() == pytest.approx(total / count, rel=1e-5)


def test_reload_gives_the_identical_tokenisation(tmp_path):
    tokenizer = train_tokenizer(TINY.vocabulary, 0)
    network.save(
        pretrain.Config(out=str(tmp_path)), network.build_model(TINY, tokenizer), tokenizer
    )
    rng = np.random.default_rng(1)
    texts = [CODE.static_text, "tab\tand  spaces\r\n\n  é ∑ 漢 <|end|>", *_texts(rng)]
    for again in (AutoTokenizer.from_pretrained(tmp_path), tokenizer):
        for text in texts:
            ids = tokenizer(text)["input_ids"]
            assert again(text)["input_ids"] == ids
            assert again.decode(ids) == text


def _texts(rng):
    for _ in range(30):
        yield serialize(corpus.random_slot(rng), lambda t: len(t) // 3, 1500).text
        yield corpus.sample_completion(rng, str(rng.choice(list(corpus.KINDS)))).text


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped(name):
    folder, model = SHIPPED[name], load_model(name)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 6e6
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "eval.json"} <= {
        f.name for f in folder.iterdir()
    }
    report = json.loads((folder / "eval.json").read_text())
    assert report["parameters"] == model.module.num_parameters() < 2e6
    written = (folder / "README.md").read_text()
    for temperature in ("temperature_1", "temperature_0"):
        shares = report["evaluation"][temperature]
        for share in ("ran", "valid", "right"):
            assert f"{100 * shares[share]:.1f} %" in written
    assert f"{report['training']['steps']} steps" in written
    # A line of the instructions costs about a token; another text means another training.
    assert model.count_tokens(CODE.static_text) < 2 * CODE.static_text.count("\n")


def test_the_card_is_made_of_the_report():
    report = json.loads((SHIPPED["embedded-base"] / "eval.json").read_text())
    assert card(report) == (SHIPPED["embedded-base"] / "README.md").read_text()


def test_both_have_one_tokenizer():
    first, second = (folder / "tokenizer.json" for folder in SHIPPED.values())
    assert first.read_bytes() == second.read_bytes()


def test_no_piece_of_a_program_is_a_line():
    tokenizer = load_model("embedded-base").tokenizer
    rng = np.random.default_rng(0)
    kinds = list(corpus.KINDS)
    codes = [corpus.sample_completion(rng, kinds[i % len(kinds)]).code for i in range(60)]
    pieces = {i for code in codes for i in tokenizer(code)["input_ids"]}
    assert max(len(tokenizer.decode([i])) for i in pieces) <= MAX_TOKEN_CHARS


def test_greedy_answers_are_right_for_the_prompt(box, embedded):
    cells = [Cell("plain", "throughput", "15,20,8"), Cell("fading", "fair", "15,20,8")]
    right = dict.fromkeys(cells, ("assign_rates", "assign_values"))
    found = evaluate(embedded, box, cells, realizations=1, num_samples=0, right=right)
    assert found["right"].all(), found[["family", "status"]]
    assert found["gap"].max() < 0.01


def test_the_base_searches_where_users_are_coupled(box):
    """Also in a combination that no prompt of its training had."""
    cells = [Cell(setting, "coupled", "15,20,8") for setting in ("plain", "interference")]
    right = dict.fromkeys(cells, ("improve",))
    model = load_model("embedded-base")
    found = evaluate(model, box, cells, realizations=1, num_samples=0, right=right)
    assert found["right"].all(), found[["family", "status"]]


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_it_reads_real_prompts_of_any_size(embedded, kind):
    for scenario in (lsa.SMALL_SCALES[5, 5, 1], lsa.SCALES["III"]):
        inst = lsa.sample_instance(jax.random.key(2), scenario.replace(**corpus.KINDS[kind]))
        for detail in (None, 1.0):
            prompt = serialize(inst, embedded.count_tokens, embedded.prompt_budget, detail=detail)
            assert prompt.tokens + embedded.max_new_tokens <= embedded.context


@pytest.mark.slow
def test_sampled_programs_are_valid_as_often_as_the_card_says(box, embedded):
    scenario = lsa.SMALL_SCALES[(15, 20, 8)]
    slots = [
        lsa.sample_instance(jax.random.key(99), scenario.replace(**changes))
        for changes in corpus.KINDS.values()
    ]
    made = decide(embedded, box, slots, temperature=1.0, num_samples=8)
    report = json.loads((EMBEDDED / "eval.json").read_text())["evaluation"]["temperature_1"]
    # 120 samples: three standard deviations are 0.11 at a share of 0.8.
    assert abs(np.mean([d.valid for d in made]) - report["valid"]) < 0.13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "/proc/none"}, "--out must be a folder that can be written"),
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"hidden": 9}, "--hidden must be a positive multiple of 8"),
        ({"minutes": -1}, "--minutes must be at least 0"),
        ({"vocabulary": 100}, "--vocabulary must be at least 512"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        pretrain.prepare(pretrain.Config(**{"out": str(tmp_path), **options}))


def test_a_bad_option_ends_with_one_line_before_torch_is_imported(tmp_path):
    """The module that stands in for torch ends the process where it is imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    command = [sys.executable, "-m", "llm.embedded.pretrain", "--out", str(tmp_path), "--steps"]
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    ended = [
        subprocess.run(
            [*command, steps],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for steps in ("0", "1")
    ]
    assert [done.returncode for done in ended] == [2, 1]
    assert ended[0].stderr.splitlines()[-1] == "error: --steps must be at least 1, got 0"
    assert ended[1].stderr.splitlines()[-1] == "torch was imported"


def test_prompt_layer_needs_no_torch():
    code = "import sys; import llm.decision.policy, llm.models.server"
    done = subprocess.run(
        [sys.executable, "-c", code + "; sys.exit('torch' in sys.modules)"], check=False
    )
    assert done.returncode == 0


def test_namespace_is_what_the_corpus_uses():
    rng = np.random.default_rng(0)
    names = {name.split("(")[0] for name in namespace.NAMES}
    for family in corpus.FAMILIES:
        code = corpus.sample_completion(rng, "plain, coupled", family=family, mistake=None).code
        assert any(name in code for name in names - {"np"})


@pytest.mark.slow
def test_training_is_reproducible(tmp_path):
    config = pretrain.Config(out=str(tmp_path), steps=5, prompts=20, minutes=0, threads=1)
    first, second = (network.train(config)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)

"""Folders of LoRA adapters: loaded on their base, found by a short name, shipped with a card."""

import copy
import json
import re
import shutil
import types

import pandas as pd
import peft
import pytest
import torch
from transformers import Qwen2ForCausalLM

from experiments import code_model
from llm import models
from llm.adapters import ship
from llm.decision.serialize import serialize
from llm.models.local import LocalModel
from llm.training import common
from llm.training.evaluation import held_out
from llm.training.models import load_base
from llm.training.programs import PROGRAMS
from llm.training.prompts import OBJECTIVES, Cell
from llm.training.rewards import score
from lsajax.runs.cli import Unavailable

PROMPTS = ["a", "users and channels " * 9, "sort\n" * 3]
NAME = "qwen-coder-0.5b"


@pytest.fixture(scope="module")
def adapter(folder, tmp_path_factory):
    """The folder of an adapter of the toy that changes what it says."""
    path = tmp_path_factory.mktemp("adapters") / NAME
    network = Qwen2ForCausalLM.from_pretrained(folder)
    config = peft.LoraConfig(target_modules="all-linear", init_lora_weights=False, lora_alpha=64)
    torch.manual_seed(1)
    peft.get_peft_model(network, config).save_pretrained(path)
    (path / "lsa.json").write_text('{"max_new_tokens": 6}')
    return path


def test_the_folder_of_an_adapter(folder, adapter, toy):
    model = models.load_model(str(adapter), device="cpu")
    made = [c.text for c in model.generate(PROMPTS)]
    network = Qwen2ForCausalLM.from_pretrained(folder)
    wrapped = peft.PeftModel.from_pretrained(network, str(adapter))
    expected = LocalModel.of(wrapped, toy.tokenizer).generate(PROMPTS, max_new_tokens=6)
    assert made == [c.text for c in expected]
    assert made != [c.text for c in toy.generate(PROMPTS, max_new_tokens=6)]
    assert not isinstance(model.module, peft.PeftModel)  # merged, which is faster
    half = models.load_model(str(adapter), device="cpu", dtype="bfloat16")
    assert isinstance(half.module, peft.PeftModel)
    assert half.generate(["a"], temperature=1.0)[0].completion_tokens >= 1


def test_an_adapter_brings_its_chat_template(adapter, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(adapter, own)
    (own / "chat_template.jinja").write_text("{{ messages[0]['content'] }} sort")
    plain, told = (models.load_model(str(path), device="cpu") for path in (adapter, own))
    assert told._ids("a") == told.tokenizer("a sort")["input_ids"] != plain._ids("a")


@pytest.fixture(scope="module")
def asked(toy):
    """What the shipped chat template makes of a text."""
    tokenizer = copy.deepcopy(toy.tokenizer)
    tokenizer.chat_template = (models.ADAPTERS / NAME / "chat_template.jinja").read_text()

    def rendered(text, *answer):
        messages = [{"role": "user", "content": text}, *answer]
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=not answer, tokenize=False
        )

    return rendered


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_shipped_template_tells_what_decides_and_no_numbers(asked, objective):
    cell = Cell("fading", objective, "15,20,8", 1.0)
    (inst,) = held_out(cell, 1, seed=0)
    prompt = serialize(inst, len, 10_000, time_budget_s=1.0)
    made = asked(prompt.text)
    assert set(prompt.levels) > {"sizes", "statistics"}
    for line in ("Objective: maximise", "Setting: fading", "Time budget: 1 s", "rate_bps()"):
        assert made.count(line) == prompt.text.count(line) + (line == "rate_bps()") * 2
    for line in ("Sizes:", "Noise:", "Bandwidth in MHz", "Received power in dBm"):
        assert line in prompt.text and line not in made
    begun = made.rpartition("<|im_start|>assistant\n")[2]
    assert begun == "```python\n# users, channels, power_w, bandwidth_hz, rate_bps() are given\n"


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_an_answer_to_learn_from_goes_on_from_what_is_begun(asked, code):
    """What SFT trains on is what is generated from."""
    inst = held_out(Cell("plain", "throughput", "15,20,8", 1.0), 1, seed=0)[0]
    prompt = serialize(inst, len, 10_000).text
    answer = {"role": "assistant", "content": f"```python\n{code}```"}
    assert asked(prompt, answer).startswith(asked(prompt) + code)


def test_its_example_is_valid(asked, box):
    inst = held_out(Cell("plain", "throughput", "15,20,8", 1.0), 1, seed=0)[0]
    made = asked(serialize(inst, len, 10_000).text)
    example = re.search(r"```python\n.*?```", made, re.DOTALL)
    assert score([example[0]], [inst], box).valid.all()


def test_other_texts_are_asked_as_they_are(asked):
    inst = held_out(Cell("plain", "throughput", "15,20,8", 1.0), 1, seed=0)[0]
    for text in ("Say yes.", serialize(inst, len, 10_000, paradigm="text").text):
        wanted = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        assert asked(text) == wanted
        answer = {"role": "assistant", "content": "```python\nx```"}
        assert asked(text, answer) == f"{wanted}```python\nx```<|im_end|>\n"


def test_a_chat_template_is_a_file_by_name_or_path(folder, tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[0]['content'] }} sort")
    for template in (file, str(file)):
        model = models.load_model(str(folder), device="cpu", chat_template=template)
        assert model._ids("a") == model.tokenizer("a sort")["input_ids"]
    with pytest.raises(ValueError, match=r"chat_template must be a file to read, got .*nowhere"):
        models.load_model(str(folder), device="cpu", chat_template=str(tmp_path / "nowhere"))


def test_an_adapter_that_cannot_be_had(adapter, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    (broken / "adapter_model.safetensors").unlink()
    with pytest.raises(models.ModelUnavailable, match=r"adapter .* cannot be loaded"):
        models.load_model(str(broken), device="cpu")
    named = json.loads((broken / "adapter_config.json").read_text())
    named["base_model_name_or_path"] = "/no/such"
    (broken / "adapter_config.json").write_text(json.dumps(named))
    with pytest.raises(models.ModelUnavailable, match="folder '/no/such' does not exist"):
        models.load_model(str(broken), device="cpu")


def test_a_training_starts_from_the_code_model_without_its_adapter(folder, monkeypatch):
    monkeypatch.setenv("LSA_QWEN", str(folder))
    sizes = {"prompt_budget": 64, "max_new_tokens": 8}
    base = load_base(f"{NAME}-base", "code", **sizes)
    template = (models.ADAPTERS / NAME / "chat_template.jinja").read_text()
    assert base.source == str(folder) and base.tokenizer.chat_template == template
    with pytest.raises(
        Unavailable, match=f"--model must be embedded, embedded-base, {NAME}, {NAME}-b"
    ):
        load_base("nothing", "code", **sizes)


def test_a_training_goes_on_with_an_adapter(folder, adapter):
    base = load_base(str(adapter), "code", prompt_budget=64, max_new_tokens=None)
    assert (base.source, base.adapter) == (str(folder), str(adapter))
    assert base.max_new_tokens == 6  # of the adapter's own file


def test_an_adapter_that_no_training_can_go_on_with(adapter, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    (broken / "adapter_model.safetensors").unlink()
    base = load_base(str(broken), "code", prompt_budget=64, max_new_tokens=None)
    with pytest.raises(Unavailable, match=f"--model {broken} cannot be loaded"):
        common.network(base, types.SimpleNamespace(model_init_kwargs=None))
    named = json.loads((broken / "adapter_config.json").read_text())
    named["base_model_name_or_path"] = "/no/such"
    (broken / "adapter_config.json").write_text(json.dumps(named))
    with pytest.raises(Unavailable, match="is an adapter of '/no/such', which is no folder here"):
        load_base(str(broken), "code", prompt_budget=64, max_new_tokens=None)


@pytest.mark.parametrize("ships", [False, True])
def test_the_code_model_by_its_short_name(folder, adapter, toy, monkeypatch, tmp_path, ships):
    """From a folder in place of the hub, with the adapter if there is one."""
    monkeypatch.setenv("LSA_QWEN", str(folder))
    monkeypatch.setattr(models, "ADAPTERS", tmp_path)
    (tmp_path / NAME).mkdir()
    if ships:
        shutil.copytree(adapter, tmp_path / NAME, dirs_exist_ok=True)
        file = tmp_path / adapter.name / "adapter_config.json"
        named = json.loads(file.read_text())
        named["base_model_name_or_path"] = models.CODE_MODELS[adapter.name]
        file.write_text(json.dumps(named))
    (tmp_path / NAME / "chat_template.jinja").write_text(toy.tokenizer.chat_template)
    model = models.load_model(NAME, device="cpu", dtype="float32")
    assert model.name == NAME
    base = models.load_model(f"{NAME}-base", device="cpu", dtype="float32")
    assert (base.name, base.max_new_tokens) == (f"{NAME}-base", 768)
    same = [c.text for c in model.generate(PROMPTS, max_new_tokens=6)] == [
        c.text for c in toy.generate(PROMPTS, max_new_tokens=6)
    ]
    assert same != ships


@pytest.fixture
def finished(adapter, tmp_path):
    """A run with that adapter, and what was measured of it."""
    run = tmp_path / "run"
    shutil.copytree(adapter, run / "checkpoint-7")
    before = tmp_path / "sft" / "checkpoint-2"
    shutil.copytree(adapter, before)
    for place, model, command in (
        (before.parent, "/a/folder", "llm.sft --model /a/folder --out /b/sft"),
        (run, str(before), f"llm.grpo --config c.yaml --model {before} --out /b/run --seed 3"),
    ):
        own = {"cells": ["plain/throughput/15,20,8/1"], "trl": {"max_steps": 60}, "model": model}
        record = {"config": own, "command": f"python -m {command}"}
        (place / "run.json").write_text(json.dumps(record))
    answers = [
        Cell("plain", "throughput", "15,20,8", 1.0)._asdict()
        | {"realization": r, "temperature": t, "sample": 0, "valid": valid, "right": False}
        | {"gap": 0.25 if valid else None, "family": "random", "program": "", "truncated": False}
        | {"total": float(valid), "structure": 0.4, "performance": 0.6, "completion_tokens": 9}
        for r in range(2)
        for t in (0.0, 1.0)
        for valid in (r == 0,)
    ]
    worse = pd.DataFrame(answers)
    better = worse.assign(valid=True, total=1.0, gap=0.25)
    rows = tmp_path / "code_model.csv"
    pd.concat([code_model.rows("zero-shot", worse), code_model.rows("GRPO", better)]).to_csv(rows)
    return ship.Config(run / "checkpoint-7", "GRPO", rows=rows, out=tmp_path / "adapters")


def test_what_ships_is_what_was_trained(finished, adapter, folder, toy, monkeypatch):
    monkeypatch.delenv("LSA_QWEN", raising=False)
    with pytest.raises(
        ValueError, match=f"--run must have an adapter of Qwen/.*, got one of {folder}"
    ):
        ship.check(finished)
    monkeypatch.setenv("LSA_QWEN", str(folder))
    ship.run(ship.check(finished))
    (finished.out / NAME / "chat_template.jinja").write_text(toy.tokenizer.chat_template)
    monkeypatch.setattr(models, "ADAPTERS", finished.out)
    shipped = models.load_model(NAME, device="cpu", dtype="float32")
    trained = models.load_model(str(adapter), device="cpu")
    assert shipped.max_new_tokens == 6
    for ours, theirs in zip(shipped.module.parameters(), trained.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)  # of half precision
    card = (finished.out / NAME / "README.md").read_text()
    assert f"    python -m llm.sft --model {models.CODE_MODELS[NAME]} --out sft\n" in card
    after = "--seed 3 --model sft/checkpoint-2 --out run"
    assert f"    python -m llm.grpo --config c.yaml {after}\n" in card
    assert "\n7 steps of the last; plain/throughput/15,20,8/1." in card
    assert "| GRPO | 1 | 2 | 100 (34 to 100) | 25.0 ± 0.0 | 0 (0 to 66) | 0 | random 2 |" in card
    assert "/b/" not in card


def test_an_adapter_that_is_no_better_does_not_ship(finished, folder, monkeypatch):
    monkeypatch.setenv("LSA_QWEN", str(folder))
    for label, base, message in (
        ("zero-shot", "GRPO", "--label must be better than GRPO: its samples have .* 0.50"),
        ("SFT", "GRPO", "--label must be a model of .*, got 'SFT'"),
    ):
        config = ship.Config(finished.run, label, base=base, rows=finished.rows)
        with pytest.raises(ValueError, match=message):
            ship.check(config)
    with pytest.raises(ValueError, match="--run must have an adapter"):
        ship.check(ship.Config(finished.run.parent, "GRPO", rows=finished.rows))

"""Checkpoints through `transformers`, on a toy model."""

import copy
import time

import peft
import pytest
import torch
from transformers import Qwen2ForCausalLM

from llm import models
from llm.models.local import LocalModel

PROMPTS = ["a", "users and channels " * 9, "sort\n" * 3]


def test_counts_and_order(toy):
    made = toy.generate(PROMPTS, max_new_tokens=12)
    assert [c.prompt_tokens for c in made] == [toy.count_tokens(p) for p in PROMPTS]
    assert all(1 <= c.completion_tokens <= 12 for c in made)
    assert all(c.seconds > 0 for c in made)
    # The template of the tokenizer is counted.
    assert toy.count_tokens("a") == len(toy.tokenizer("<|user|>a<|assistant|>")["input_ids"])


def test_greedy_equals_a_plain_loop(toy):
    """Against argmax by hand: left padding changes nothing, hidden settings do not apply."""
    for prompt, completion in zip(PROMPTS, toy.generate(PROMPTS, max_new_tokens=8), strict=True):
        ids = toy.tokenizer(f"<|user|>{prompt}<|assistant|>")["input_ids"]
        made = []
        while len(made) < 8 and toy.tokenizer.eos_token_id not in made:
            with torch.no_grad():
                logits = toy.module(torch.tensor([ids + made])).logits
            made.append(int(logits[0, -1].argmax()))
        assert completion.text == toy.tokenizer.decode(made, skip_special_tokens=True)
        assert completion.completion_tokens == len(made)
        ended = toy.tokenizer.eos_token_id in made
        assert completion.finish_reason == ("stop" if ended else "length")


def test_why_a_completion_ended(toy, monkeypatch):
    (made,) = toy.generate(PROMPTS[:1], max_new_tokens=3)
    assert (made.finish_reason, made.truncated) == ("length", True)
    # The token that came second now ends the text.
    ids = toy.tokenizer(f"<|user|>{PROMPTS[0]}<|assistant|>")["input_ids"]
    output = toy.module.generate(torch.tensor([ids]), max_new_tokens=3)[0, len(ids) :].tolist()
    monkeypatch.setattr(toy.module.generation_config, "eos_token_id", output[1])
    ended = toy.generate(PROMPTS, max_new_tokens=3)[0]
    assert (ended.finish_reason, ended.truncated) == ("stop", False)
    assert ended.completion_tokens == output.index(output[1]) + 1


def test_a_sample_does_not_depend_on_its_batch(toy):
    together = toy.generate(PROMPTS, max_new_tokens=10, temperature=1.0, seed=3, num_samples=3)
    for i, prompt in enumerate(PROMPTS):
        alone = toy.generate([prompt], max_new_tokens=10, temperature=1.0, seed=3, num_samples=3)
        assert [c.text for c in alone] == [c.text for c in together[3 * i : 3 * i + 3]]
    assert len({c.text for c in together[:3]}) == 3
    other = toy.generate(PROMPTS[:1], max_new_tokens=10, temperature=1.0, seed=4)
    assert other[0].text != together[0].text


def test_samples_follow_the_softmax(toy):
    """First tokens of many samples against the network's own probabilities."""
    temperature, draws = 0.7, 4000
    ids = toy.tokenizer("<|user|>a<|assistant|>")["input_ids"]
    with torch.no_grad():
        logits = toy.module(torch.tensor([ids])).logits[0, -1]
    expected = torch.softmax(logits / temperature, -1)
    sampler = LocalModel.sampler(range(draws), temperature, torch.device("cpu"))
    tokens = sampler(torch.zeros(draws, 1), logits.expand(draws, -1)).argmax(-1)
    observed = torch.bincount(tokens, minlength=len(expected)) / draws
    assert (observed - expected).abs().max() < 4 * (0.25 / draws) ** 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"max_new_tokens": 300}, "exceed the context of 256 tokens"),
    ],
)
def test_sampling_options_are_checked(toy, options, message):
    with pytest.raises(ValueError, match=message):
        toy.generate(PROMPTS, **options)


def test_models_that_cannot_be_had(tmp_path, monkeypatch):
    with pytest.raises(models.ModelUnavailable, match="folder '/no/such' does not exist"):
        models.load_model("/no/such")
    with pytest.raises(models.ModelUnavailable, match=r"holds no checkpoint: no config\.json"):
        models.load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(models.ModelUnavailable, match="cannot be loaded"):
        models.load_model(str(tmp_path))
    # A hub out of reach.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(models.ModelUnavailable, match="no hub in reach"):
        models.load_model("nobody/nothing")
    assert time.perf_counter() - start < 10
    with pytest.raises(ValueError, match="model must be"):
        models.load_model("")


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"batch_size": 0}, {"max_new_tokens": -1}, {"prompt_budget": 0}]
)
def test_load_options_are_checked(folder, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LocalModel(str(folder), device="cpu", **options)


def test_a_network_in_memory_is_left_as_it_was(folder, toy):
    network = Qwen2ForCausalLM.from_pretrained(folder)
    settings = network.generation_config
    network.train()
    model = LocalModel.of(network, toy.tokenizer, name="mine", batch_size=4)
    assert (model.name, model.context) == ("mine", 256)
    for options in ({}, {"temperature": 1.0, "num_samples": 2}):
        made = model.generate(PROMPTS, max_new_tokens=6, **options)
        expected = toy.generate(PROMPTS, max_new_tokens=6, **options)
        assert [c.text for c in made] == [c.text for c in expected]
    assert network.training and network.generation_config is settings
    assert settings.top_k == 3  # its own, which did not apply
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        LocalModel.of(network, toy.tokenizer, batch_size=0)


@pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
def test_adapters_in_memory_are_left_as_they_were(folder, toy, task):
    network = Qwen2ForCausalLM.from_pretrained(folder)
    settings = network.generation_config
    config = peft.LoraConfig(task_type=task, target_modules=["q_proj"])
    wrapped = peft.get_peft_model(network, config)
    made = LocalModel.of(wrapped, toy.tokenizer).generate(PROMPTS, max_new_tokens=6)
    # An adapter that is not trained yet changes nothing.
    assert [c.text for c in made] == [c.text for c in toy.generate(PROMPTS, max_new_tokens=6)]
    assert network.generation_config is settings
    assert wrapped.training and not network.training


def test_options_of_the_chat_template(folder, toy):
    tokenizer = copy.deepcopy(toy.tokenizer)
    tokenizer.chat_template = (
        "<|user|>{{ messages[0]['content'] }}<|assistant|>{% if think %}sort{% endif %}"
    )
    plain = LocalModel.of(toy.module, tokenizer)
    told = LocalModel.of(toy.module, tokenizer, chat_template_kwargs={"think": True})
    assert plain.count_tokens("a") == toy.count_tokens("a")
    assert told.count_tokens("a") > plain.count_tokens("a")


def test_half_precision_on_the_cpu(folder):
    model = LocalModel(str(folder), device="cpu", dtype="bfloat16")
    assert next(model.module.parameters()).dtype == torch.bfloat16
    assert model.generate(["a"], max_new_tokens=3, temperature=1.0)[0].completion_tokens >= 1

"""What prompts share is computed once, and completions stay what they were."""

import inspect

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from llm.models.local import LocalModel
from llm.models.prefix import Prefix, can_reuse

SHARED = "users and channels are numbered\n" * 3
SLOTS = [SHARED + f"Sizes: {i}\n" + "sort " * i for i in range(5)]
CALLS = [SLOTS[:1], SLOTS[1:2], SLOTS, ["a", SLOTS[0]], [SHARED], SLOTS[2:]]


@pytest.fixture(scope="module")
def plain(folder):
    return LocalModel(str(folder), device="cpu", batch_size=4, reuse_prefix=False)


@pytest.fixture
def counted(toy, monkeypatch):
    """Tokens that go through the network, by call."""
    tokens = []
    forward = toy.module.forward

    def spy(input_ids, **options):
        tokens.append(input_ids.numel())
        return forward(input_ids=input_ids, **options)

    spy.__signature__ = inspect.signature(forward)
    monkeypatch.setattr(toy.module, "forward", spy)
    return tokens


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "num_samples": 3, "seed": 2}])
def test_completions_are_the_same(toy, plain, options):
    assert toy.reuse_prefix and not plain.reuse_prefix
    for prompts in CALLS:
        made, expected = (
            model.generate(prompts, max_new_tokens=12, **options) for model in (toy, plain)
        )
        assert [c.text for c in made] == [c.text for c in expected]
        assert [c.prompt_tokens for c in made] == [c.prompt_tokens for c in expected]
        assert [c.finish_reason for c in made] == [c.finish_reason for c in expected]


def test_logits_agree_to_rounding(toy):
    ids = [toy._ids(prompt) for prompt in SLOTS]
    prefix = Prefix()
    with torch.inference_mode():
        shared = prefix.prepare(toy.module, ids)
        assert 16 <= shared < min(map(len, ids))
        for row in ids:
            rest = torch.tensor([row[shared:]])
            made = toy.module(rest, past_key_values=prefix.expanded(toy.module, 1)).logits
            expected = toy.module(torch.tensor([row])).logits[:, shared:]
            assert (made - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_is_shared_goes_through_the_network_once(toy, counted):
    lengths = [toy.count_tokens(prompt) for prompt in SLOTS]
    toy.generate(["b" * 40], max_new_tokens=1)
    counted.clear()
    toy.generate(SLOTS, max_new_tokens=1)  # five rows in batches of four
    shared = len(toy._prefix.ids)
    assert toy.count_tokens(SHARED) - 2 <= shared < min(lengths)
    assert counted[0] <= shared and sum(counted) <= shared + 5 * (max(lengths) - shared)
    # The slot after it: what it shares with the last prefix is there already.
    counted.clear()
    toy.generate(SLOTS[3:4], max_new_tokens=1)
    assert sum(counted) == lengths[3] - shared
    # Samples of one prompt: the prompt once, then its last token for each.
    counted.clear()
    toy.generate(SLOTS[3:4], max_new_tokens=1, num_samples=4)
    assert sum(counted) == 4


def test_nothing_is_kept_of_a_network_whose_weights_may_change(folder, toy):
    network = Qwen2ForCausalLM.from_pretrained(folder)
    model = LocalModel.of(network, toy.tokenizer)
    before = model.generate(SLOTS[:1], max_new_tokens=12)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(-0.7)
    made = model.generate(SLOTS[:1], max_new_tokens=12)
    fresh = LocalModel.of(network, toy.tokenizer, reuse_prefix=False)
    assert made[0].text == fresh.generate(SLOTS[:1], max_new_tokens=12)[0].text != before[0].text


def test_other_caches_are_left_alone(toy):
    sizes = {"vocab_size": len(toy.tokenizer), "hidden_size": 32, "num_hidden_layers": 2}
    windows = Qwen2Config(
        **sizes,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=8,
        max_window_layers=0,
    )
    states = MambaConfig(**sizes, state_size=4, eos_token_id=1, pad_token_id=0)
    for network in (Qwen2ForCausalLM(windows), MambaForCausalLM(states)):
        assert not can_reuse(network)
        made = LocalModel.of(network, toy.tokenizer).generate(SLOTS[:2], max_new_tokens=2)
        assert len(made) == 2

"""Prompts computed once: the same log-probabilities, entropies, gradients and completions."""

import copy
import types

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from llm.training.shared_prompt import SharedPrompts, share_prefill

PAD = 0


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD,
        eos_token_id=1,
    )
    return Qwen2ForCausalLM(config).eval()


def batch(width=9, kept=6, seed=1):
    """Three prompts of different lengths, twice each and mixed, with completions of any length."""
    generator = torch.Generator().manual_seed(seed)
    prompts = torch.randint(2, 97, (3, width), generator=generator)
    lengths = torch.tensor([width - 2, 4, 6])
    prompt_mask = (torch.arange(width) >= width - lengths[:, None]).long()
    prompts = prompts * prompt_mask
    order = torch.tensor([0, 1, 2, 1, 0, 2])
    tails = torch.randint(2, 97, (6, kept), generator=generator)
    tail_mask = (torch.arange(kept) < torch.tensor([5, 1, 3, 4, 2, 0])[:, None]).long()
    ids = torch.cat([prompts[order], tails * tail_mask], 1)
    return ids, torch.cat([prompt_mask[order], tail_mask], 1)


def trainer_like():
    """What the mixin asks of a trainer."""

    class Plain:
        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            raise AssertionError("the plain way")

    class Shared(SharedPrompts, Plain):
        is_deepspeed_enabled = is_fsdp_enabled = False
        args = types.SimpleNamespace(gradient_checkpointing=False)
        accelerator = types.SimpleNamespace(
            unwrap_model=lambda model: model, autocast=lambda: torch.autocast("cpu", enabled=False)
        )

    return Shared()


def plainly(model, ids, mask, kept):
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -kept - 1 : -1]
    log_probs = logits.log_softmax(-1)
    own = log_probs.gather(-1, ids[:, -kept:, None])[..., 0]
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    seen = mask[:, -kept:]
    return own * seen, entropy * seen


@pytest.mark.parametrize("batch_size", [None, 4])
def test_log_probabilities_entropies_and_gradients_are_the_plain_ones(model, batch_size):
    ids, mask = batch()
    kept = 6
    fused = copy.deepcopy(model)
    add_fused_lm_head(fused, outputs=("log_probs", "entropy"))
    got = trainer_like()._get_per_token_logps_and_entropies(
        fused, ids, mask, kept, batch_size=batch_size, compute_entropy=True
    )
    wanted = plainly(model, ids, mask, kept)
    for one, other in zip(got, wanted, strict=False):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, got[0].numel()).view_as(got[0])
    (got[0] * weights).sum().backward()
    (wanted[0] * weights).sum().backward()
    for (name, one), other in zip(fused.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
    model.zero_grad()


def test_greedy_completions_are_the_plain_ones(model):
    ids, mask = (part[:, :9] for part in batch())
    shared = copy.deepcopy(model)
    share_prefill(shared)
    calls = []
    forward = shared.model.forward
    shared.model.forward = lambda *a, **k: (calls.append(k["input_ids"].shape), forward(*a, **k))[1]
    options = {"max_new_tokens": 8, "do_sample": False}
    got = shared.generate(input_ids=ids, attention_mask=mask, **options)
    wanted = model.generate(input_ids=ids, attention_mask=mask, **options)
    assert torch.equal(got, wanted)
    assert calls[0] == (3, 8)  # three prompts, though there are six rows
    assert all(shape == (6, 1) for shape in calls[1:])

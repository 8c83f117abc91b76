"""Attention by groups of heads: what the plain one finds, in half precision on a CPU alone."""

import copy

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from llm.models.attention import NAME, attend, group_heads


def softmax_attention(query, key, value, mask, scaling):
    """Oracle in NumPy float64: [rows, queries, heads, width]."""
    rows, heads, queries, width = query.shape
    share = heads // key.shape[1]
    found = np.empty((rows, queries, heads, width))
    for row in range(rows):
        for head in range(heads):
            keys, values = key[row, head // share], value[row, head // share]
            score = query[row, head] @ keys.T * scaling
            score = np.where(mask[row, 0], score, -np.inf)
            weight = np.exp(score - score.max(-1, keepdims=True))
            found[row, :, head] = weight / weight.sum(-1, keepdims=True) @ values
    return found


class Layer(torch.nn.Module):
    """What the plain function reads of a layer."""

    is_causal = True

    def __init__(self, share):
        super().__init__()
        self.num_key_value_groups = share


@pytest.mark.parametrize(
    ("queries", "heads", "groups"), [(1, 6, 2), (1, 6, 1), (1, 4, 4), (3, 6, 2)]
)
def test_it_is_attention(queries, heads, groups):
    rng = np.random.default_rng(0)
    query = rng.normal(size=(3, heads, queries, 8))
    key, value = rng.normal(size=(2, 3, groups, 11, 8))
    mask = rng.random((3, 1, queries, 11)) < 0.7
    mask[..., -1] = True
    tensors = (torch.tensor(x) for x in (query, key, value, mask))
    found, _ = attend(Layer(heads // groups), *tensors, scaling=0.3)
    np.testing.assert_allclose(found, softmax_attention(query, key, value, mask, 0.3), rtol=1e-12)


def model(dtype, kv_heads=2):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=kv_heads,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config).to(dtype).eval()


def test_a_model_decodes_as_before():
    plain = model(torch.bfloat16)
    grouped = copy.deepcopy(plain)
    group_heads(grouped)
    assert grouped.config._attn_implementation == NAME
    assert plain.config._attn_implementation == "sdpa"
    ids = torch.randint(1, 97, (4, 12))
    mask = (torch.arange(12) >= torch.tensor([0, 3, 5, 0])[:, None]).long()
    found = [
        net.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=6,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        ).logits
        for net in (plain, grouped)
    ]
    for before, after in zip(*found, strict=True):
        torch.testing.assert_close(after, before, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    "network",
    [model(torch.float32), model(torch.bfloat16, kv_heads=8)],
    ids=["single", "no groups"],
)
def test_other_models_stay_as_they_are(network):
    group_heads(network)
    assert network.config._attn_implementation == "sdpa"

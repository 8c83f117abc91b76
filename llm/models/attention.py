"""Attention of a new token in half precision on a CPU, where heads share keys and values.

PyTorch's kernel for a CPU copies keys and values once for each head that reads them, if there is
one query and the precision is half: about half of a decoding step of Qwen2.5-Coder-0.5B, for 16
sequences (`benchmarks.attention`). Heads that share keys and values are rows of one
query here, so that each is read once. Numbers are the same up to rounding.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_grouped"


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention with the signature of `transformers.AttentionInterface`.

    Args:
        module: the layer.
        query: [rows, heads, queries, width].
        key: [rows, groups, keys, width]; heads / groups heads in turn share a group.
        value: the same.
        attention_mask: [rows, 1, queries, keys], False where not to look, or None.
        dropout: see PyTorch.
        scaling: see PyTorch.
        others: what the common function takes besides.

    Returns:
        [rows, queries, heads, width], and None for the weights.
    """
    rows, heads, queries, width = query.shape
    groups = key.shape[1]
    if queries > 1 or heads == groups or dropout or others.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    grouped = query.reshape(rows, groups, heads // groups, width)
    found = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=scaling
    )
    return found.reshape(rows, 1, heads, width), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def group_heads(network: Any) -> None:
    """Makes a network decode by `attend` where that is faster; others stay as they are."""
    config = network.config
    heads = getattr(config, "num_attention_heads", 0)
    if (
        network.device.type == "cpu"
        and network.dtype in (torch.bfloat16, torch.float16)
        and config._attn_implementation == "sdpa"
        and getattr(config, "num_key_value_heads", heads) != heads
    ):
        network.set_attn_implementation(NAME)

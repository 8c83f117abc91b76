"""Keys and values of what prompts share from their start, computed once and kept between calls."""

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_LEAST = 16  # tokens below which a pass of its own costs more than it saves


def can_reuse(module: Any) -> bool:
    """Whether the network's cache is keys and values of each token and nothing else.

    Others (sliding windows, recurrent states) cannot be cut back to a prefix.
    """
    layers = DynamicCache(config=module.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


class Prefix:
    """The longest prefix of the last prompts, as a network sees it."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []  # of each layer, batch of one

    def prepare(self, module: Any, prompts: Sequence[list[int]]) -> int:
        """Hold the prefix that the prompts share; only what differs from the last one is computed.

        Returns:
            Its tokens; 0 where the prompts share too little.
        """
        # The longest prefix of all is that of the first and the last in order.
        shared = min(_common(min(prompts), max(prompts)), min(map(len, prompts)) - 1)
        if shared < _LEAST:
            return 0
        wanted = prompts[0][:shared]
        kept = min(_common(self.ids, wanted), shared)
        cache = self._cache(module, kept, 1)
        if kept < shared:
            options = {"past_key_values": cache, "use_cache": True}
            if "logits_to_keep" in inspect.signature(module.forward).parameters:
                options["logits_to_keep"] = 1  # none are used, and of a long prompt they are large
            module(input_ids=torch.tensor([wanted[kept:]], device=module.device), **options)
        self.ids = wanted
        layers: Any = cache.layers
        self._pairs = [(layer.keys, layer.values) for layer in layers]
        return shared

    def expanded(self, module: Any, rows: int) -> DynamicCache:
        """A cache of the prefix for a batch of `rows`, which generation may extend."""
        return self._cache(module, len(self.ids), rows)

    def _cache(self, module: Any, length: int, rows: int) -> DynamicCache:
        cache = DynamicCache(config=module.config)
        if length:
            for layer, (keys, values) in enumerate(self._pairs):
                keys, values = (x[:, :, :length].expand(rows, -1, -1, -1) for x in (keys, values))
                cache.update(keys, values, layer)
        return cache


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

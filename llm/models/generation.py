"""What `transformers` needs for seeded samples from the softmax alone."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor


class SeededSampler(LogitsProcessor):
    """Gumbel noise per row from the row's own generator: its argmax is a sample.

    `transformers` draws a batch from one global stream, so that a sample there depends on its
    neighbours. With noise of its own each row is reproducible in any batch.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: torch.device):
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() / self.temperature - noise.log()


class FirstToken(LogitsProcessor):
    """Sees when the scores of the first token are there: the prompt is read by then."""

    def __init__(self) -> None:
        self.at_s: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.at_s is None:
            if scores.is_cuda:
                torch.cuda.synchronize(scores.device)
            self.at_s = time.perf_counter()
        return scores


def plain_generation(module: Any, tokenizer: Any) -> GenerationConfig:
    """Greedy, with the tokens that end and pad a text and nothing else.

    Built anew: a checkpoint's own generation settings (penalties, top-k) would apply unseen.
    """
    ends = module.generation_config.eos_token_id
    pad = tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id if ends is None else ends,
        pad_token_id=tokenizer.eos_token_id if pad is None else pad,
    )


@contextlib.contextmanager
def generating(module: Any, config: Any) -> Iterator[None]:
    """The module in eval mode and with these generation settings alone, and then as it was."""
    # Some wrappers of peft hand their settings down to the network inside, others do not.
    inner = module.get_base_model() if hasattr(module, "get_base_model") else module
    holders = [(holder, holder.generation_config) for holder in (module, inner)]
    training = [part for part in module.modules() if part.training]
    for holder, _ in holders:
        holder.generation_config = config
    module.eval()
    try:
        yield
    finally:
        for holder, own in holders:
            holder.generation_config = own
        for part in training:
            part.training = True


def ends_of(config: Any) -> set[int]:
    """Tokens that end a text."""
    ends = config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends])

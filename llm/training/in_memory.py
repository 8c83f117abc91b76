"""A module that is in training, behind the interface of `llm.models`."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import GenerationConfig

from llm.models.completion import Completion
from llm.models.local import LocalModel
from llm.training.durable import same_random_numbers


class InMemoryModel(LocalModel):
    """Generates with a module as it is, and leaves it, and all random numbers, as they were.

    Args:
        module: a causal language model.
        tokenizer: its own, with a chat template.
        name: for tables.
        prompt_budget: default prompt length [tokens].
        max_new_tokens: default completion length [tokens].
        batch_size: sequences per forward pass.
    """

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        *,
        name: str,
        prompt_budget: int,
        max_new_tokens: int,
        batch_size: int = 64,
    ) -> None:
        self.module, self.tokenizer, self.name = module, tokenizer, name
        self.device = module.device
        self.batch_size = batch_size
        self.prompt_budget, self.max_new_tokens = prompt_budget, max_new_tokens
        self.context = getattr(module.config, "max_position_embeddings", None)

    def generate(self, prompts: Sequence[str], **options: Any) -> list[Completion]:
        """See `llm.models.Model`."""
        with self._as_for_use(), same_random_numbers():
            return super().generate(prompts, **options)

    @contextlib.contextmanager
    def _as_for_use(self) -> Iterator[None]:
        training, own = self.module.training, self.module.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else self.tokenizer.eos_token_id
        self.module.eval()
        self.module.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=ends, pad_token_id=self.tokenizer.pad_token_id
        )
        try:
            yield
        finally:
            self.module.generation_config = own
            self.module.train(training)

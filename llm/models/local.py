"""Checkpoints that `transformers` loads: batched, seeded generation on CPU or GPU."""

import copy
import functools
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from llm.models.completion import (
    HUB_PROMPT_BUDGET,
    Completion,
    check_constraints,
    check_sampling,
    sample_seed,
)
from llm.models.constraint import Constraint
from llm.models.generation import FirstToken, SeededSampler, ends_of, generating, plain_generation
from llm.models.loading import load_checkpoint, own_defaults, torch_device
from llm.models.prefix import Prefix, can_reuse

if TYPE_CHECKING:
    from llm.models.constrained import Vocabulary

_HUB_MAX_NEW_TOKENS = 768


class LocalModel:
    """A causal language model with a chat template, from a folder or a hub name.

    Args:
        source: folder or hub name.
        name: as shown in tables; the source by default.
        device: "cpu", "cuda", "cuda:1"; None takes CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16"; None takes float32 on the CPU and bfloat16 on
            a GPU.
        batch_size: sequences per forward pass.
        prompt_budget: default prompt length [tokens]; None takes 2048, or what the checkpoint's
            own `lsa.json` says.
        max_new_tokens: default completion length [tokens]; None likewise, 768.
        chat_template: file of a Jinja chat template in place of the checkpoint's own.
        chat_template_kwargs: what the chat template is told besides the prompt, for example
            `{"enable_thinking": False}`.
        reuse_prefix: what all prompts of a call share from their start is computed once, and what
            they share with the call before not at all; see `llm.models.prefix`. Completions are
            the same but for rounding (of logits in float32, 1e-5 of their size). Networks whose
            cache cannot be cut go without.

    Raises:
        ModelUnavailable: the folder does not exist or does not load, or the hub is out of reach.
        ValueError: an option out of range.
    """

    def __init__(
        self,
        source: str,
        *,
        name: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = 16,
        prompt_budget: int | None = None,
        max_new_tokens: int | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        reuse_prefix: bool = True,
    ):
        _check_sizes(batch_size, prompt_budget, max_new_tokens)
        template = None if chat_template is None else _template(chat_template)
        tokenizer, module = load_checkpoint(source, torch_device(device), dtype)
        if template is not None:
            tokenizer.chat_template = template
        own = own_defaults(source)
        self._hold(
            module,
            tokenizer,
            name=name or source,
            batch_size=batch_size,
            prompt_budget=prompt_budget or own.get("prompt_budget"),
            max_new_tokens=max_new_tokens or own.get("max_new_tokens"),
            chat_template_kwargs=chat_template_kwargs,
            reuse_prefix=reuse_prefix,
        )
        # The first call sets things up inside PyTorch, which belongs to no decision's time.
        self.generate(["a"], max_new_tokens=2, temperature=1.0)

    @classmethod
    def of(
        cls,
        module: Any,
        tokenizer: Any,
        *,
        name: str = "in memory",
        batch_size: int = 16,
        prompt_budget: int | None = None,
        max_new_tokens: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        reuse_prefix: bool = True,
    ) -> "LocalModel":
        """A network that is in memory already, for example one in training; see `LocalModel`.

        It stays where it is. Its mode (train or eval) and its generation settings are as before
        after each call, and nothing that depends on its weights is kept until the next.

        Args:
            module: a causal language model of `transformers`, or of peft around one.
            tokenizer: its tokenizer.

        Raises:
            ValueError: an option out of range.
        """
        _check_sizes(batch_size, prompt_budget, max_new_tokens)
        model = cls.__new__(cls)
        model._hold(
            module,
            tokenizer,
            name=name,
            batch_size=batch_size,
            prompt_budget=prompt_budget,
            max_new_tokens=max_new_tokens,
            chat_template_kwargs=chat_template_kwargs,
            reuse_prefix=reuse_prefix,
        )
        model._keeps_prefix = False
        return model

    def _hold(
        self,
        module: Any,
        tokenizer: Any,
        *,
        name: str,
        batch_size: int,
        prompt_budget: int | None,
        max_new_tokens: int | None,
        chat_template_kwargs: Mapping[str, Any] | None,
        reuse_prefix: bool,
    ) -> None:
        self.module, self.tokenizer, self.name = module, tokenizer, name
        self.device = module.device
        self.batch_size = batch_size
        self.prompt_budget = prompt_budget or HUB_PROMPT_BUDGET
        self.max_new_tokens = max_new_tokens or _HUB_MAX_NEW_TOKENS
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.context = getattr(module.config, "max_position_embeddings", None)
        self.reuse_prefix = reuse_prefix and can_reuse(module)
        self._prefix = Prefix()
        self._keeps_prefix = True

    def without_prefix(self) -> "LocalModel":
        """The same network, without `reuse_prefix`."""
        other = copy.copy(self)
        other.reuse_prefix = False
        return other

    sampler = SeededSampler

    def _ids(self, prompt: str) -> list[int]:
        if not self.tokenizer.chat_template:
            return self.tokenizer(prompt)["input_ids"]
        messages = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, **self.chat_template_kwargs
        )["input_ids"]

    def count_tokens(self, text: str) -> int:
        """Tokens of the prompt `text` as the model receives it, chat template included."""
        return len(self._ids(text))

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        num_samples: int = 1,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> list[Completion]:
        """See `llm.models.Model`. Temperature 0 is greedy; no top-k, top-p or penalties.

        Under a constraint ids come once each: only the token limit can make a mapping invalid.

        Raises:
            ValueError: an option out of range, or a prompt that leaves no room in the context.
        """
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        check_sampling(limit, temperature, num_samples)
        check_constraints(constraints, prompts)
        ids = [self._ids(prompt) for prompt in prompts]
        longest = max(map(len, ids), default=0)
        if self.context and longest + limit > self.context:
            raise ValueError(
                f"prompt of {longest} tokens and max_new_tokens={limit} exceed the context of "
                f"{self.context} tokens of {self.name}"
            )
        rows = [(i, k) for i in range(len(prompts)) for k in range(num_samples)]
        # Prompts of like length together: less padding. Samples do not depend on their batch.
        rows.sort(key=lambda row: len(ids[row[0]]))
        done: dict[tuple[int, int], Completion] = {}
        config = plain_generation(self.module, self.tokenizer)
        with torch.inference_mode(), generating(self.module, config):
            shared, shared_s = self._share(ids, len(rows))
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                seeds = [sample_seed(seed, prompts[i], k) for i, k in batch]
                processors = LogitsProcessorList()
                if constraints is not None:
                    processors.append(self._constrained([constraints[i] for i, _ in batch]))
                if temperature > 0:
                    processors.append(self.sampler(seeds, temperature, self.device))
                made = self._batch([ids[i] for i, _ in batch], shared, shared_s, limit, processors)
                done.update(zip(batch, made, strict=True))
        return [done[row] for row in sorted(done)]

    def _constrained(self, constraints: Sequence[Constraint | None]) -> LogitsProcessor:
        # Imported here: most models are never constrained.
        from llm.models.constrained import ConstrainedDecoding

        return ConstrainedDecoding(self._vocabulary, constraints)

    @functools.cached_property
    def _vocabulary(self) -> "Vocabulary":
        from llm.models.constrained import Vocabulary

        size = self.module.get_output_embeddings().weight.shape[0]
        ends = ends_of(plain_generation(self.module, self.tokenizer))
        return Vocabulary(self.tokenizer, size, sorted(ends))

    def _share(self, ids: list[list[int]], rows: int) -> tuple[int, float]:
        """Tokens of the prefix that is ready for all prompts, and seconds for each of the rows."""
        if not (self.reuse_prefix and ids):
            return 0, 0.0
        start = time.perf_counter()
        if not self._keeps_prefix:
            self._prefix = Prefix()
        shared = self._prefix.prepare(self.module, ids)
        return shared, (time.perf_counter() - start) / rows

    def _batch(
        self,
        ids: list[list[int]],
        shared: int,
        shared_s: float,
        limit: int,
        processors: LogitsProcessorList,
    ) -> list[Completion]:
        start = time.perf_counter()
        width = max(map(len, ids))
        config = self.module.generation_config
        pad = config.pad_token_id
        # Padding stands between the shared prefix and the rest of a prompt.
        tokens = torch.tensor(
            [row[:shared] + [pad] * (width - len(row)) + row[shared:] for row in ids],
            device=self.device,
        )
        mask = torch.tensor(
            [[1] * shared + [0] * (width - len(row)) + [1] * (len(row) - shared) for row in ids],
            device=self.device,
        )
        first, cached = FirstToken(), {}
        if shared:
            cached["past_key_values"] = self._prefix.expanded(self.module, len(ids))
        output = self.module.generate(
            tokens,
            attention_mask=mask,
            max_new_tokens=limit,
            logits_processor=LogitsProcessorList([first, *processors]),
            **cached,
        )[:, width:].tolist()
        ends = ends_of(config)
        ended = [next((n + 1 for n, t in enumerate(row) if t in ends), None) for row in output]
        lengths = [n or len(row) for n, row in zip(ended, output, strict=True)]
        texts = [
            self.tokenizer.decode(row[:n], skip_special_tokens=True)
            for row, n in zip(output, lengths, strict=True)
        ]
        seconds = shared_s + (time.perf_counter() - start) / len(ids)
        assert first.at_s is not None, "the limit is at least one token"
        prefill_s = shared_s + (first.at_s - start) / len(ids)
        return [
            Completion(text, len(prompt), n, seconds, "stop" if end else "length", prefill_s)
            for text, prompt, n, end in zip(texts, ids, lengths, ended, strict=True)
        ]


def _template(file: str | os.PathLike[str]) -> str:
    """The Jinja text in a file. Raises ValueError."""
    try:
        return pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"chat_template must be a file to read, got {file}: {error}") from None


def _check_sizes(batch_size: int, prompt_budget: int | None, max_new_tokens: int | None) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    for option, value in (("prompt_budget", prompt_budget), ("max_new_tokens", max_new_tokens)):
        if value is not None and value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")

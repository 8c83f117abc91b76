"""Checkpoints that `transformers` loads: batched, seeded generation on CPU or GPU."""

import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import httpx
import huggingface_hub.constants
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from llm.models.completion import (
    HUB_PROMPT_BUDGET,
    Completion,
    ModelUnavailable,
    check_sampling,
    sample_seed,
)

_DEFAULTS_FILE = "lsa.json"
_HUB_MAX_NEW_TOKENS = 768


class _SeededSampler(LogitsProcessor):
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
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        for option, value in (("prompt_budget", prompt_budget), ("max_new_tokens", max_new_tokens)):
            if value is not None and value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        self.name = name or source
        self.batch_size = batch_size
        self.device = _device(device)
        self.tokenizer, self.module = _load(source, self.device, dtype)
        own = _own_defaults(source)
        self.prompt_budget = prompt_budget or own.get("prompt_budget", HUB_PROMPT_BUDGET)
        self.max_new_tokens = max_new_tokens or own.get("max_new_tokens", _HUB_MAX_NEW_TOKENS)
        self.context = getattr(self.module.config, "max_position_embeddings", None)
        # The first call sets things up inside PyTorch, which belongs to no decision's time.
        self.generate(["a"], max_new_tokens=2, temperature=1.0)

    sampler = _SeededSampler

    def _ids(self, prompt: str) -> list[int]:
        if not self.tokenizer.chat_template:
            return self.tokenizer(prompt)["input_ids"]
        messages = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
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
    ) -> list[Completion]:
        """See `llm.models.Model`. Temperature 0 is greedy; no top-k, top-p or penalties.

        Raises:
            ValueError: an option out of range, or a prompt that leaves no room in the context.
        """
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        check_sampling(limit, temperature, num_samples)
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
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            seeds = [sample_seed(seed, prompts[i], k) for i, k in batch]
            made = self._batch([ids[i] for i, _ in batch], limit, temperature, seeds)
            done.update(zip(batch, made, strict=True))
        return [done[row] for row in sorted(done)]

    @torch.inference_mode()
    def _batch(
        self, ids: list[list[int]], limit: int, temperature: float, seeds: Sequence[int]
    ) -> list[Completion]:
        start = time.perf_counter()
        width = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        tokens = torch.tensor([[pad] * (width - len(row)) + row for row in ids], device=self.device)
        mask = torch.tensor(
            [[0] * (width - len(row)) + [1] * len(row) for row in ids], device=self.device
        )
        processors = LogitsProcessorList()
        if temperature > 0:
            processors.append(self.sampler(seeds, temperature, self.device))
        output = self.module.generate(
            tokens,
            attention_mask=mask,
            max_new_tokens=limit,
            logits_processor=processors,
        )[:, width:].tolist()
        ends = self.module.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        ended = [next((n + 1 for n, t in enumerate(row) if t in ends), None) for row in output]
        lengths = [n or len(row) for n, row in zip(ended, output, strict=True)]
        texts = [
            self.tokenizer.decode(row[:n], skip_special_tokens=True)
            for row, n in zip(output, lengths, strict=True)
        ]
        seconds = (time.perf_counter() - start) / len(ids)
        return [
            Completion(text, len(prompt), n, seconds, "stop" if end else "length")
            for text, prompt, n, end in zip(texts, ids, lengths, ended, strict=True)
        ]


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device must be 'cpu' where PyTorch sees no GPU, got {device!r}")
    return torch.device(device)


def _load(source: str, device: torch.device, dtype: str | None) -> tuple[Any, Any]:
    path = pathlib.Path(source)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1
    if looks_local and not path.is_dir():
        raise ModelUnavailable(f"model folder {source!r} does not exist")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelUnavailable(f"model folder {source!r} holds no checkpoint: no config.json")
    dtypes = ("float32", "bfloat16", "float16")
    if dtype is not None and dtype not in dtypes:
        raise ValueError(f"dtype must be one of {', '.join(dtypes)}, got {dtype!r}")
    wanted = dtype or ("float32" if device.type == "cpu" else "bfloat16")
    # Told beforehand, since the hub's client spends most of a minute on retries.
    local = path.is_dir() or not _hub_answers()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
        module: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, wanted), local_files_only=local
        )
    except (OSError, ValueError, KeyError) as error:
        hub = "not in the local cache and no hub in reach" if local else "hub name"
        where = "folder" if path.is_dir() else hub
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"model {source!r} cannot be loaded ({where}): {reason}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    module.to(device).eval()
    # Built anew: a checkpoint's own generation settings (penalties, top-k) would apply unseen.
    own = module.generation_config
    module.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, module


def _hub_answers() -> bool:
    """Whether anything, an error page included, comes back from the hub."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(huggingface_hub.constants.ENDPOINT, timeout=5.0)
    except httpx.HTTPError:
        return False
    return True


def _own_defaults(source: str) -> dict[str, int]:
    file = pathlib.Path(source) / _DEFAULTS_FILE
    return json.loads(file.read_text()) if file.is_file() else {}

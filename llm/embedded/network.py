"""The embedded model's network, its batches and its training."""

import copy
import json
import math
import pathlib
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from llm.decision.serialize import serialize
from llm.embedded import corpus
from llm.embedded.corpus.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from llm.embedded.pretrain import Config

CONTEXT = 768
PROMPT_BUDGET = 384
MAX_NEW_TOKENS = 256


def build_model(config: "Config", tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """The untrained network; a Qwen2 type would swap the pre-tokenizer for its own on reload."""
    torch.manual_seed(config.seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=5 * config.hidden // 2,
            num_hidden_layers=config.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=config.hidden // 4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_prompts(
    config: "Config", tokenizer: PreTrainedTokenizerFast
) -> list[tuple[str, str, list[int]]]:
    """Kind, right family and token ids of prompts as `serialize` writes them.

    They are of all sizes and time budgets, in more or less detail.
    """
    rng = np.random.default_rng([config.seed, 1])

    def ids(text: str) -> list[int]:
        return tokenizer(f"<|user|>{text}<|assistant|>")["input_ids"]

    # Twice those whose program is the longest.
    kinds = [*corpus.KINDS, *(kind for kind in corpus.KINDS if kind.endswith("coupled"))]
    prompts: list[tuple[str, str, list[int]]] = []
    while len(prompts) < config.prompts:
        kind = str(rng.choice(kinds))
        slot = corpus.random_slot(rng, kind)
        budget_s = float(rng.choice(corpus.TIME_BUDGETS_S))
        # Short ones are cheap to learn from, and what is met in use; some have any detail.
        detail = rng.random() if rng.random() < 0.1 else None
        prompt = serialize(
            slot, lambda t: len(ids(t)), PROMPT_BUDGET, time_budget_s=budget_s, detail=detail
        )
        right = corpus.right_family(kind, len(slot.users), len(slot.channels), budget_s)
        prompts.append((kind, right, ids(prompt.text)))
    # Neighbours in length share a batch: less padding.
    return sorted(prompts, key=lambda prompt: len(prompt[2]))


class Batch(NamedTuple):
    """Rows of a prompt followed by several completions that do not see each other.

    The prompt is most of the work and is shared.

    Attributes:
        tokens: [rows, width].
        positions: [rows, width], counted from the start of the prompt for every completion.
        mask: [rows, 1, width, width], True where attended to.
        source: [labels] flat positions whose output is scored.
        target: [labels] the token that should come next there.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor


def make_batch(
    rng: np.random.Generator, config: "Config", tokenizer: PreTrainedTokenizerFast, prompts: list
) -> Batch:
    """Prompts of like length, each with completions drawn anew."""
    start = int(rng.integers(max(1, len(prompts) - config.batch + 1)))
    rows = []
    for kind, right, prompt in prompts[start : start + config.batch]:
        texts = [
            corpus.sample_completion(rng, kind, right=right).text for _ in range(config.samples)
        ]
        completions = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
        rows.append((prompt, completions))
    width = max(len(prompt) + sum(map(len, completions)) for prompt, completions in rows)
    tokens = np.full((len(rows), width), tokenizer.pad_token_id)
    positions = np.zeros((len(rows), width), int)
    part = np.full((len(rows), width), -1)
    source, target = [], []
    for r, (prompt, completions) in enumerate(rows):
        end = len(prompt)
        tokens[r, :end], positions[r, :end], part[r, :end] = prompt, np.arange(end), 0
        for k, completion in enumerate(completions, 1):
            here = slice(end, end + len(completion))
            tokens[r, here], part[r, here] = completion, k
            positions[r, here] = len(prompt) + np.arange(len(completion))
            # The first token follows the prompt, whatever stands between the two in the row.
            source += [
                r * width + len(prompt) - 1,
                *range(r * width + end, r * width + here.stop - 1),
            ]
            target += completion
            end = here.stop
    sees = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    mask = sees & np.tri(width, dtype=bool)
    arrays = (tokens, positions, mask[:, None], np.array(source), np.array(target))
    return Batch(*map(torch.from_numpy, arrays))


def batch_loss(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy per completion token [nat]."""
    hidden = model.model(
        batch.tokens, position_ids=batch.positions, attention_mask=batch.mask
    ).last_hidden_state
    logits = model.lm_head(hidden.flatten(0, 1)[batch.source])
    return torch.nn.functional.cross_entropy(logits, batch.target)


def train(config: "Config") -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast, dict]:
    """The trained model, its tokenizer, and a record of the training."""
    torch.set_num_threads(config.threads)
    begun = time.perf_counter()
    tokenizer = train_tokenizer(config.vocabulary, config.seed)
    model = build_model(config, tokenizer)
    prompts = make_prompts(config, tokenizer)
    print(f"{model.num_parameters() / 1e6:.2f} M parameters, {len(prompts)} prompts", flush=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    rng = np.random.default_rng([config.seed, 2])
    limit_s = 60 * config.minutes or math.inf
    start, step, mean = time.perf_counter(), 0, math.nan
    while step < config.steps and time.perf_counter() - start < limit_s:
        progress = max(step / config.steps, (time.perf_counter() - start) / limit_s)
        warm = min(1.0, (step + 1) / 30)
        for group in optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * progress))
            group["lr"] = config.learning_rate * warm * (0.02 + 0.98 * cosine)
        loss = batch_loss(model, make_batch(rng, config, tokenizer, prompts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        mean = loss.item() if math.isnan(mean) else 0.95 * mean + 0.05 * loss.item()
        step += 1
        if step % 25 == 0:
            seconds = time.perf_counter() - start
            print(f"step {step:4d}  loss {mean:.3f}  {seconds:5.0f} s", flush=True)
    seconds = time.perf_counter() - start
    record = {"steps": step, "loss": mean, "train_s": seconds, "setup_s": start - begun}
    return model.eval(), tokenizer, record


def save(
    config: "Config", model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> pathlib.Path:
    """Write the checkpoint in half precision, with the lengths it was trained for."""
    out = pathlib.Path(config.out)
    copy.deepcopy(model).to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    limits = {"prompt_budget": PROMPT_BUDGET, "max_new_tokens": MAX_NEW_TOKENS}
    (out / "lsa.json").write_text(json.dumps(limits, indent=2) + "\n")
    return out

"""A GRPO step with prompts computed once, beside TRL's plain way: generation, and gradients.

`python -m benchmarks.shared_prompt [--model MODEL]` takes both ways in turn on the same prompts and
completions and prints the seconds of each and their ratio; rows go to a CSV.
"""

import copy
import dataclasses
import pathlib
import statistics
import time
import types
from typing import Any

import pandas as pd
import torch
import tyro
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from llm.training import prompts
from llm.training.models import load_base
from llm.training.shared_prompt import SharedPrompts, share_prefill


@dataclasses.dataclass(frozen=True)
class Config:
    """The benchmark of shared prompts.

    Args:
        model: see `python -m llm.grpo --help`.
        dtype: of the weights.
        groups: prompts.
        group: completions of each.
        tokens: of a completion.
        rounds: of both ways in turn.
        threads: of PyTorch.
        out: file of the CSV.
        quick: one round of one group.
    """

    model: str = "embedded"
    dtype: str = "float32"
    groups: int = 4
    group: int = 16
    tokens: int = 64
    rounds: int = 5
    threads: int = 1
    out: pathlib.Path = pathlib.Path("results/benchmarks/shared_prompt.csv")
    quick: bool = False


class Plain(GRPOTrainer):
    """TRL's own computation without the rest of a trainer."""

    def __init__(self) -> None:
        self.args = types.SimpleNamespace(gradient_checkpointing=False)  # type: ignore[assignment]
        self.accelerator = types.SimpleNamespace(  # type: ignore[assignment]
            unwrap_model=lambda model: model, autocast=lambda: torch.autocast("cpu", enabled=False)
        )
        self.is_deepspeed_enabled = self.is_fsdp_enabled = False


class Shared(SharedPrompts, Plain):
    """Ours."""


def batch(config: Config) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The model; ids and mask of its prompts, padded on the left, each `group` times."""
    base = load_base(config.model, "code", prompt_budget=None, max_new_tokens=config.tokens)
    cells = prompts.cells(["plain", "fading"], ["throughput", "fair"], ["15,20,8"])
    stream = prompts.Stream(cells, config.groups, seed=0, purpose="benchmark")
    texts = prompts.Prompts(stream, base.count_tokens, base.prompt_budget, "code")
    chats = [[{"role": "user", "content": texts.text(i)}] for i in range(config.groups)]
    encoded = base.tokenizer.apply_chat_template(
        [chat for chat in chats for _ in range(config.group)],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        padding=True,
    )
    model = AutoModelForCausalLM.from_pretrained(base.source, dtype=getattr(torch, config.dtype))
    return model, encoded["input_ids"], encoded["attention_mask"]


def main(config: Config) -> None:
    """Both ways in turn."""
    if config.quick:
        config = dataclasses.replace(config, groups=1, rounds=1)
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    model, ids, mask = batch(config)
    shared = copy.deepcopy(model)
    share_prefill(shared)
    for one in (model, shared):
        add_fused_lm_head(one, outputs=("log_probs", "entropy"))
    completions = torch.randint(5, model.config.vocab_size, (len(ids), config.tokens))
    all_ids = torch.cat([ids, completions], 1)
    all_mask = torch.cat([mask, torch.ones_like(completions)], 1)

    def generate(one: Any) -> None:
        one.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=config.tokens,
            min_new_tokens=config.tokens,
            do_sample=True,
        )

    def gradients(one: Any, way: Plain) -> None:
        for rows in range(0, len(ids), config.group):
            part = slice(rows, rows + config.group)
            scores, _, _ = way._get_per_token_logps_and_entropies(
                one, all_ids[part], all_mask[part], config.tokens, compute_entropy=True
            )
            scores.sum().backward()
        one.zero_grad()

    ways = {
        ("generation", "plain"): lambda: generate(model),
        ("generation", "shared"): lambda: generate(shared),
        ("gradients", "plain"): lambda: gradients(model, Plain()),
        ("gradients", "shared"): lambda: gradients(shared, Shared()),
    }
    rows = []
    for turn in range(config.rounds):
        for (what, way), work in ways.items():
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            rows.append({"turn": turn, "what": what, "way": way, "seconds": seconds})
    table = pd.DataFrame(rows).pivot(index=["what", "turn"], columns="way", values="seconds")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    table.reset_index().to_csv(config.out, index=False, float_format="%.4f")
    print(f"{len(ids)} completions, prompts of {mask.sum(1).unique().tolist()} tokens")
    for what, own in table.groupby(level="what"):
        ratio = statistics.median(own["plain"] / own["shared"])
        print(f"{what}: {own.median().round(3).to_dict()} s, {ratio:.2f} times faster")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

"""Seconds that GRPO's shared prompts save: a group's completions and their update, both ways.

`python -m benchmarks.shared_prompt --model FOLDER_OR_NAME` takes the completions of one prompt with
a LoRA adapter around the model, as `python -m llm.grpo` does: they are generated, then scored with
gradients. A turn does it with the prompt computed once (`llm.training.shared_prompt`), and the
plain way, in turn.
"""

import dataclasses
import pathlib
import time
import types
from typing import Any

import numpy as np
import tyro

from benchmarks import timing


@dataclasses.dataclass(frozen=True)
class Group:
    """Completions of one prompt.

    Attributes:
        model: a folder or hub name of a transformers checkpoint, or "embedded".
        cell: setting/objective/size/seconds of the prompt.
        completions: of the prompt.
        new_tokens: of each completion; none ends before.
        turns: both ways once each.
        threads: of PyTorch.
        seed: of the prompt, and of the completions.
        quick: two completions of four tokens, one turn.
    """

    model: str = "embedded"
    cell: str = "fading/throughput/15,20,8/1"
    completions: int = 16
    new_tokens: int = 64
    turns: int = 3
    threads: int = 1
    seed: int = 0
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Config(Group):
    """What is measured.

    Attributes:
        dtype: of the model's weights.
        lora_rank: of the adapter.
        out: file of the figures.
    """

    dtype: str = "bfloat16"
    lora_rank: int = 8
    out: pathlib.Path = pathlib.Path("results/benchmarks/shared_prompt.json")


def prompt_ids(base: Any, cell: str, seed: int) -> list[int]:
    """Tokens of the prompt of a fresh instance of a cell."""
    from llm.decision.serialize import serialize
    from llm.training.evaluation import held_out
    from llm.training.prompts import cell_named

    named = cell_named(cell)
    (inst,) = held_out(named, 1, seed)
    text = serialize(
        inst, base.count_tokens, base.prompt_budget, time_budget_s=named.time_budget_s
    ).text
    return base.tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True
    )["input_ids"]


def scorers() -> dict[bool, Any]:
    """Whether prompts are shared -> log-probabilities of TRL's trainer, that way."""
    from accelerate import Accelerator
    from trl import GRPOTrainer

    from llm.training.shared_prompt import SharedPrompts

    class Both(SharedPrompts, GRPOTrainer):
        """Of the trainer no more than what its scoring reads."""

        def __init__(self) -> None:
            self.is_deepspeed_enabled = self.is_fsdp_enabled = False
            self.model_kwarg_keys: set[str] = set()
            self.temperature = 1.0
            self.args: Any = types.SimpleNamespace(gradient_checkpointing=False, report_to=[])
            self.accelerator = Accelerator(cpu=True)

    both = Both()
    return {
        True: both._get_per_token_logps_and_entropies,
        False: super(SharedPrompts, both)._get_per_token_logps_and_entropies,
    }


def network(base: Any, config: Config) -> Any:
    """The model with an adapter around it and TRL's head, as in training."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    model = AutoModelForCausalLM.from_pretrained(
        base.source, dtype=getattr(torch, config.dtype), local_files_only=True
    )
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    lora = LoraConfig(
        r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear"
    )
    return get_peft_model(model, lora)


def complete(generate: Any, ids: Any, config: Group) -> Any:
    """All completions of the prompts `ids`, sampled."""
    import torch

    torch.manual_seed(config.seed)
    with torch.no_grad():
        return generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            min_new_tokens=config.new_tokens,
            max_new_tokens=config.new_tokens,
        )


def turn(model: Any, generate: Any, scorer: Any, ids: Any, config: Config) -> dict[str, float]:
    """Seconds of generation and of scoring with gradients, of one group."""
    import torch

    start = time.perf_counter()
    made = complete(generate, ids, config)
    generated = time.perf_counter()
    log_probs, *_ = scorer(
        model, made, torch.ones_like(made), made.shape[1] - ids.shape[1], compute_entropy=True
    )
    log_probs.mean().backward()
    model.zero_grad()
    return {"generation": generated - start, "update": time.perf_counter() - generated}


def main(config: Config) -> None:
    """Prints the seconds of each turn, then writes medians and their ratios."""
    import torch

    from llm.training.models import load_base
    from llm.training.shared_prompt import share_prefill

    if config.quick:
        config = dataclasses.replace(config, completions=2, new_tokens=4, turns=1)
    torch.set_num_threads(config.threads)
    base = load_base(config.model, "code", prompt_budget=None, max_new_tokens=config.new_tokens)
    model = network(base, config)
    ids = torch.tensor([prompt_ids(base, config.cell, config.seed)] * config.completions)
    inner = model.get_base_model()
    generates = {False: inner.generate}
    share_prefill(inner)
    generates[True] = inner.generate
    scoring = scorers()
    seconds: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for k in range(config.turns):
        for shared, own in seconds.items():
            own.append(turn(model, generates[shared], scoring[shared], ids, config))
            shown = ", ".join(f"{name} {value:.2f} s" for name, value in own[-1].items())
            print(f"turn {k}, {'shared' if shared else 'plain'}: {shown}", flush=True)
    record: dict[str, Any] = dataclasses.asdict(config)
    del record["out"], record["quick"]
    record |= {"model": pathlib.Path(config.model).name, "prompt_tokens": ids.shape[1]}
    record["table"] = {part: of(seconds, part) for part in seconds[True][0]}
    record["table"]["both"] = of(
        {way: [{"both": sum(found.values())} for found in own] for way, own in seconds.items()},
        "both",
    )
    timing.write(config.out, record)


def of(seconds: dict[bool, list[dict[str, float]]], part: str) -> dict[str, float]:
    """Medians of a part, both ways, and the median of the ratios turn by turn."""
    shared, plain = (np.array([found[part] for found in seconds[way]]) for way in (True, False))
    return {
        "shared_s": float(np.median(shared)),
        "plain_s": float(np.median(plain)),
        "ratio": timing.ratio(plain, shared),
    }


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.shared_prompt", description=__doc__))

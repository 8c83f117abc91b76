"""Seconds of completions with heads that share keys read together, and as PyTorch does it.

`python -m benchmarks.attention --model FOLDER_OR_NAME` lets a model in half precision go on from
one prompt in many copies, which are computed once, by `llm.models.attention` and by the plain
scaled dot-product attention in turn.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np
import tyro

from benchmarks import timing
from benchmarks.shared_prompt import Group, complete, prompt_ids


@dataclasses.dataclass(frozen=True)
class Config(Group):
    """What is measured.

    Attributes:
        out: file of the figures.
    """

    out: pathlib.Path = pathlib.Path("results/benchmarks/attention.json")


def decode(network: Any, ids: Any, way: str, config: Config) -> None:
    """Makes all completions, by one of the ways to attend."""
    network.set_attn_implementation(way)
    complete(network.generate, ids, config)


def main(config: Config) -> None:
    """Prints and writes the medians and their ratio."""
    import torch

    from llm.models.attention import NAME
    from llm.models.loading import load_checkpoint
    from llm.training.models import load_base
    from llm.training.shared_prompt import share_prefill

    if config.quick:
        config = dataclasses.replace(config, completions=2, new_tokens=4, turns=1)
    torch.set_num_threads(config.threads)
    base = load_base(config.model, "code", prompt_budget=None, max_new_tokens=config.new_tokens)
    _, network = load_checkpoint(base.source, torch.device("cpu"), "bfloat16")
    if network.config.num_key_value_heads == network.config.num_attention_heads:
        raise SystemExit(
            f"--model must be one whose heads share keys, and those of {config.model} do not"
        )
    share_prefill(network)
    ids = torch.tensor([prompt_ids(base, config.cell, config.seed)] * config.completions)
    ways = {way: functools.partial(decode, network, ids, way, config) for way in (NAME, "sdpa")}
    found = timing.interleave(ways, config.turns)
    record: dict[str, Any] = dataclasses.asdict(config)
    del record["out"], record["quick"]
    record |= {"model": pathlib.Path(config.model).name, "prompt_tokens": ids.shape[1]}
    record["table"] = {
        "grouped_s": float(np.median(found[NAME])),
        "plain_s": float(np.median(found["sdpa"])),
        "ratio": timing.ratio(found["sdpa"], found[NAME]),
    }
    print(", ".join(f"{name} {value:.2f}" for name, value in record["table"].items()))
    timing.write(config.out, record)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.attention", description=__doc__))

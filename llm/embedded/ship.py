"""Makes the shipped checkpoint of a finished run: `python -m llm.embedded.ship --run RUN`.

The weights in half precision, what they do on held-out slots, and a card.
"""
# ruff: noqa: E501 - lines of a document

import dataclasses
import json
import pathlib

from lsajax.runs import cli

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Embedded model

This is **not a code model**. It is the network of {parameters:.2f} million parameters that
`llm/embedded/base` describes, after reinforcement learning (GRPO) on what its programs were worth in the
sandbox. It has no general ability: it knows the prompt of `llm/decision/paradigm.py` in its code form, and
answers with a short Python program. What an experiment reports with it says nothing about what a language
model can do.

## How

    python -m llm.grpo --config configs/embedded.yaml --out {run} --seed {seed}

{steps} steps of {prompts} prompts with {group} answers each took {minutes:.0f} minutes on 2 cores, without its evaluations. The
cells that prompts were drawn from are in that file; curves, and what it learned and did not, on the page
`docs/learning.md`. This checkpoint is `python -m llm.embedded.ship --run {run}`.

## Measured
On {slots} slots that it was not trained on, of all kinds of its pretraining, before
any repair:

| temperature | samples | ran | valid | right | different programs | tokens a completion |
|---|---|---|---|---|---|---|
{rows}

*Ran*: the sandbox ran it to an `action` of integers. *Valid*: every user served, no channel unknown,
occupied or used twice. *Right*: valid, and of a family that is within 1 % of the way from random to best
of the best one that ends in time.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """What is shipped.

    Args:
        run: folder of a finished `python -m llm.grpo`.
        out: folder of the checkpoint.
        seed: of the held-out slots.
        workers: of the sandbox.
    """

    run: pathlib.Path
    out: pathlib.Path = pathlib.Path("llm/embedded/checkpoint")
    seed: int = 0
    workers: int = 2


def check(config: Config) -> Config:
    """Raises ValueError where the run is none, or not finished."""
    if not (config.run / "model" / "config.json").is_file():
        raise ValueError(f"--run must be a finished run of python -m llm.grpo, got {config.run}")
    return config


def run(config: Config) -> None:
    """Save, reload, evaluate."""
    import pandas as pd
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from llm.embedded.evaluation import evaluate

    source = config.run / "model"
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16)
    model.save_pretrained(config.out)
    AutoTokenizer.from_pretrained(source).save_pretrained(config.out)
    (config.out / "lsa.json").write_text((source / "lsa.json").read_text())
    record = json.loads((config.run / "run.json").read_text())
    steps = pd.read_parquet(config.run / "rows.parquet")
    report = {
        "config": record["config"],
        "parameters": model.num_parameters(),
        "training": {"steps": len(steps), "train_s": float(steps["step_time"].sum())},
        "evaluation": evaluate(str(config.out), seed=config.seed, workers=config.workers),
    }
    (config.out / "eval.json").write_text(json.dumps(report, indent=2) + "\n")
    (config.out / "README.md").write_text(card(report, config.run.name))


def card(report: dict, run_name: str) -> str:
    """The text of the card for the `eval.json` content `report`."""
    trl = report["config"]["trl"]
    evaluation = report["evaluation"]
    rows = []
    for temperature in (1, 0):
        own = evaluation[f"temperature_{temperature}"]
        shares = " | ".join(f"{100 * own[name]:.1f} %" for name in ("ran", "valid", "right"))
        rows.append(
            f"| {temperature} | {own['samples']} | {shares} | {own['distinct_programs']} "
            f"| {own['mean_tokens']:.0f} |"
        )
    return _CARD.format(
        parameters=report["parameters"] / 1e6,
        run=run_name,
        seed=trl.get("seed", 42),
        steps=report["training"]["steps"],
        minutes=report["training"]["train_s"] / 60,
        prompts=trl["per_device_train_batch_size"] // trl["num_generations"],
        group=trl["num_generations"],
        slots=evaluation["slots"],
        rows="\n".join(rows),
    )


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start it again")

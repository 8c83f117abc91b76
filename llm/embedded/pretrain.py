"""Trains the embedded model from scratch: `python -m llm.embedded.pretrain --out FOLDER`."""

import dataclasses
import json
import pathlib

from lsajax.runs import cli


@dataclasses.dataclass(frozen=True)
class Config:
    """How the embedded model is trained.

    Attributes:
        out: folder of the checkpoint.
        steps: optimiser steps; the same seed and steps give the same model on one machine.
        minutes: stops earlier where the steps take longer than this; 0 for no limit.
        seed: of corpus, initial weights and order.
        batch: prompts per step.
        samples: completions per prompt and step.
        learning_rate: peak of AdamW; linear warm-up, cosine decay.
        prompts: prompts generated; completions are drawn anew in every step.
        hidden: width.
        layers: depth.
        vocabulary: size of the byte-level BPE.
        threads: of PyTorch.
    """

    out: str
    steps: int = 450
    minutes: float = 15.0
    seed: int = 0
    batch: int = 8
    samples: int = 4
    learning_rate: float = 3e-3
    prompts: int = 2000
    hidden: int = 192
    layers: int = 4
    vocabulary: int = 1024
    threads: int = 1


def prepare(config: Config) -> Config:
    """Checks `config` and makes its folder.

    Raises:
        ValueError: an option out of range, or a folder that cannot be written.
    """
    for name in ("steps", "batch", "samples", "prompts", "layers", "threads"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(config, name)}")
    if config.hidden < 8 or config.hidden % 8:
        raise ValueError(f"--hidden must be a positive multiple of 8, got {config.hidden}")
    if config.minutes < 0 or not config.learning_rate > 0:
        raise ValueError(
            "--minutes must be at least 0 and --learning-rate above 0, "
            f"got {config.minutes} and {config.learning_rate}"
        )
    if config.vocabulary < 512:
        raise ValueError(f"--vocabulary must be at least 512, got {config.vocabulary}")
    try:
        pathlib.Path(config.out).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(config.out) / "lsa.json").touch()
    except OSError as error:
        raise ValueError(f"--out must be a folder that can be written: {error}") from None
    return config


def run(config: Config) -> None:
    """Train, save, reload, evaluate."""
    from llm.embedded import network
    from llm.embedded.card import card
    from llm.embedded.evaluation import evaluate

    model, tokenizer, record = network.train(config)
    out = network.save(config, model, tokenizer)
    report = {
        "config": dataclasses.asdict(config) | {"out": out.name},
        "parameters": model.num_parameters(),
        "training": record,
        "evaluation": evaluate(config.out, seed=config.seed, workers=config.threads),
    }
    (out / "eval.json").write_text(json.dumps(report, indent=2) + "\n")
    (out / "README.md").write_text(card(report))
    print(json.dumps(report["evaluation"], indent=2))


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__, advice="nothing of it can be resumed: start it again")

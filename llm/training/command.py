"""What `python -m llm.grpo` and `python -m llm.sft` are: options, checks, then the training."""

import importlib
import os
from typing import Any

from lsajax.runs import cli


def main(name: str, options: str, trl_config: str, description: str) -> None:
    """Runs a training from the command line.

    Nothing heavy is imported before it is known where JAX is to run.

    Args:
        name: of the module of `llm.training` with `Asked`, `prepare` and `run`.
        options: class of `llm.training.options`.
        trl_config: class of TRL.
        description: first lines of the help.
    """

    def training() -> Any:
        return importlib.import_module(f"llm.training.{name}")

    def parse() -> Any:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a GPU is the trainer's
        from llm.training.processes import quiet

        quiet()
        import trl

        from llm.training import options as known

        own, theirs = getattr(known, options), getattr(trl, trl_config)
        return training().Asked(*known.parse(own, theirs, description))

    cli.main(
        object,
        lambda asked: training().prepare(asked),
        lambda job: training().run(job),
        description,
        parse=parse,
        advice="--resume goes on from the last checkpoint",
    )

"""Trains a model by GRPO on what the sandbox makes of its answers: `python -m llm.grpo --out RUN`.

Prompts are freshly sampled instances of all settings, objectives, sizes and time budgets that are
asked for, mixed. Every field of `trl.GRPOConfig` is an option too; see docs/training.md.
"""

import os
from typing import Any

from lsajax.runs import cli


def _parse() -> Any:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a GPU is the trainer's
    from llm.training.processes import quiet

    quiet()
    from trl import GRPOConfig

    from llm.training.grpo import Asked
    from llm.training.options import GrpoOptions, parse

    return Asked(*parse(GrpoOptions, GRPOConfig, __doc__ or ""))


def _prepare(asked: Any) -> Any:
    from llm.training.grpo import prepare

    return prepare(asked)


def _run(job: Any) -> None:
    from llm.training.grpo import run

    run(job)


if __name__ == "__main__":
    cli.main(
        object,
        _prepare,
        _run,
        __doc__,
        parse=_parse,
        advice="--resume goes on from the last checkpoint",
    )

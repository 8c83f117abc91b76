"""Trains a model on expert answers: `python -m llm.sft --out RUN`.

In the code paradigm these are canonical programs of the algorithm that is right for each setting,
objective, size and time budget; in the text paradigm the best mappings. Every field of
`trl.SFTConfig` is an option too; see docs/training.md.
"""

import os
from typing import Any

from lsajax.runs import cli


def _parse() -> Any:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a GPU is the trainer's
    from llm.training.processes import quiet

    quiet()
    from trl import SFTConfig

    from llm.training.options import SftOptions, parse
    from llm.training.sft import Asked

    return Asked(*parse(SftOptions, SFTConfig, __doc__ or ""))


def _prepare(asked: Any) -> Any:
    from llm.training.sft import prepare

    return prepare(asked)


def _run(job: Any) -> None:
    from llm.training.sft import run

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

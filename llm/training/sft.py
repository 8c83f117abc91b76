"""Supervised fine-tuning on expert answers: from the options to a trained model in its folder."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from llm.sandbox import Sandbox
from llm.training import callbacks, common, experts, prompts
from llm.training.data import Examples, expert_examples
from llm.training.durable import DurableCheckpoints
from llm.training.models import Base, load_base
from llm.training.options import SftOptions
from lsajax.runs.cli import Unavailable
from lsajax.runs.folder import RUN, RunFolder


@dataclasses.dataclass(frozen=True)
class Asked:
    """A command line of `python -m llm.sft`."""

    options: SftOptions
    config: SFTConfig


@dataclasses.dataclass
class Job:
    """A training that is checked and may start."""

    options: SftOptions
    config: SFTConfig
    base: Base
    cells: list[prompts.Cell]
    peft_config: Any
    folder: RunFolder | None


class Trainer(DurableCheckpoints, SFTTrainer):
    """TRL's trainer, with checkpoints that are whole or not there."""


class CountedTokens(TrainerCallback):
    """Goes on with the count of tokens in a resumed run, where TRL's own starts anew."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Takes the count of the last step that was logged."""
        counts = [row["num_tokens"] for row in state.log_history if "num_tokens" in row]
        if counts:
            self.trainer._total_train_tokens = counts[-1]


def prepare(asked: Asked) -> Job:
    """Checks options, model and folder.

    Raises:
        ValueError: what no run can be made of.
        Unavailable: the model cannot be had.
    """
    options, config = asked.options, asked.config
    cells = prompts.asked_cells(options)
    if options.examples < len(cells):
        raise ValueError(
            f"--examples must be at least {len(cells)}, one per cell, got {options.examples}"
        )
    if not 0 <= options.held_out < 1:
        raise ValueError(f"--held_out must be within [0, 1), got {options.held_out}")
    base = load_base(
        options.model,
        options.paradigm,
        prompt_budget=options.prompt_budget,
        max_new_tokens=options.max_new_tokens,
        chat_template=options.chat_template,
    )
    config.max_length = base.prompt_budget + base.max_new_tokens
    if options.held_out and config.eval_strategy == "no":
        config.eval_strategy, config.eval_steps = "steps", config.save_steps
    peft_config = common.lora_config(options, base)
    folder = common.run_folder(pathlib.Path(str(options.out)), options, config)
    return Job(options, config, base, cells, peft_config, folder)


def run(job: Job, watching: Sequence[TrainerCallback] = ()) -> None:
    """Makes the examples, trains, and writes the model, its rows, evaluations and curves.

    Args:
        job: of `prepare`.
        watching: callbacks beside the training's own.
    """
    common.train(job, lambda box: build(job, examples(job, box), box), watching)


def examples(job: Job, box: Sandbox | None) -> Examples:
    """Expert answers for the cells that are asked for.

    Raises:
        Unavailable: no program ends in a cell's time budget here, or an answer is too long.
    """
    options, config, base = job.options, job.config, job.base
    stream = prompts.Stream(job.cells, options.examples, seed=config.seed, purpose="experts' slots")
    texts = prompts.Prompts(stream, base.count_tokens, base.prompt_budget, options.paradigm)
    try:
        right = right_programs(job, box)
        made = expert_examples(
            stream,
            texts,
            right,
            paradigm=options.paradigm,
            held_out=options.held_out,
            render=base.rendered,
            count_tokens=base.count_text,
            max_new_tokens=base.max_new_tokens,
        )
    except ValueError as error:
        raise Unavailable(str(error)) from None
    if job.folder is not None:
        job.folder.metadata["examples"] = {
            "train": len(made.train),
            "held_out": len(made.held_out),
            "repeated": made.repeated,
            "right": {_named(cell): family for cell, family in right.items()},
        }
    return made


def right_programs(job: Job, box: Sandbox | None) -> dict[prompts.Cell, str]:
    """The family that is taken for each cell; none without programs.

    Which programs end in time the clock decides: so the first process measures for all, and a
    resumed run takes what its record says.

    Raises:
        ValueError: no program ends in a cell's time budget here.
    """
    if box is None:
        return {}
    found: list[Any] = [None, None]
    if job.folder is not None:
        file = job.folder.path / RUN
        record = json.loads(file.read_text()) if job.options.resume and file.exists() else {}
        taken = record.get("examples", {}).get("right", {})
        seed = job.config.seed
        try:
            found[0] = {
                cell: taken.get(_named(cell)) or experts.right_program(cell, box, seed=seed)
                for cell in dict.fromkeys(job.cells)
            }
        except ValueError as error:  # the other processes wait for what is found
            found[1] = str(error)
    programs, reason = broadcast_object_list(found)
    if reason is not None:
        raise ValueError(reason)
    return programs


def _named(cell: prompts.Cell) -> str:
    return " ".join(map(str, cell))


def build(job: Job, made: Examples, box: Sandbox | None) -> tuple[Trainer, callbacks.Rows]:
    """The trainer with its data and callbacks."""
    base = job.base
    if not made.held_out:
        job.config.eval_strategy = "no"
    trainer = Trainer(
        common.network(base, job.config),
        args=job.config,
        train_dataset=Dataset.from_list(made.train),
        eval_dataset=Dataset.from_list(made.held_out) if made.held_out else None,
        processing_class=base.tokenizer,
        peft_config=job.peft_config,
    )
    trainer.add_callback(CountedTokens(trainer))
    return trainer, common.add_callbacks(trainer, job.options, base, job.cells, job.folder, box)

"""Supervised fine-tuning on expert answers: from the options to a trained model in its folder."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from llm.decision.paradigm import paradigm_named
from llm.sandbox import Sandbox, SandboxUnavailable
from llm.training import callbacks, common, prompts
from llm.training.data import Examples, expert_examples
from llm.training.durable import DurableCheckpoints
from llm.training.models import Base, load_base
from llm.training.options import SftOptions
from lsajax.runs.cli import Unavailable
from lsajax.runs.folder import RunFolder


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
    peft_config = common.lora_config(options)
    folder = common.run_folder(pathlib.Path(str(options.out)), options, config)
    return Job(options, config, base, cells, peft_config, folder)


def run(job: Job, watching: Sequence[TrainerCallback] = ()) -> None:
    """Makes the examples, trains, and writes the model, its rows, evaluations and curves.

    Args:
        job: of `prepare`.
        watching: callbacks beside the training's own.
    """
    options, config, base = job.options, job.config, job.base
    cpus = common.start_processes(options, config, base)
    out = pathlib.Path(str(options.out))
    box = None
    try:
        if paradigm_named(options.paradigm).runs_programs:
            box = common.open_sandbox(options, cpus)
        trainer, rows = build(job, examples(job, box), box)
        for callback in watching:
            trainer.add_callback(callback)
        last = callbacks.last_checkpoint(out) if options.resume else None
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except SandboxUnavailable as error:
        raise Unavailable(str(error)) from None
    finally:
        if box is not None:
            box.close()
    common.finish(trainer, job.folder, rows, base)


def examples(job: Job, box: Sandbox | None) -> Examples:
    """Expert answers for the cells that are asked for."""
    options, config, base = job.options, job.config, job.base
    stream = prompts.Stream(job.cells, options.examples, seed=config.seed, purpose="experts' slots")
    texts = prompts.Prompts(stream, base.count_tokens, base.prompt_budget, options.paradigm)
    made = expert_examples(
        stream,
        texts,
        box,
        paradigm=options.paradigm,
        held_out=options.held_out,
        seed=config.seed,
        count_tokens=base.count_text,
        max_new_tokens=base.max_new_tokens,
    )
    if job.folder is not None:
        job.folder.metadata["examples"] = {
            "train": len(made.train),
            "held_out": len(made.held_out),
            "repeated": made.repeated,
            "right": made.right,
        }
    return made


def build(job: Job, made: Examples, box: Sandbox | None) -> tuple[Trainer, callbacks.Rows]:
    """The trainer with its data and callbacks."""
    base = job.base
    if not made.held_out:
        job.config.eval_strategy = "no"
    trainer = Trainer(
        base.source,
        args=job.config,
        train_dataset=Dataset.from_list(made.train),
        eval_dataset=Dataset.from_list(made.held_out) if made.held_out else None,
        processing_class=base.tokenizer,
        peft_config=job.peft_config,
    )
    return trainer, common.add_callbacks(trainer, job.options, base, job.cells, job.folder, box)

"""GRPO on execution feedback: from the options to a trained model in its folder."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from llm.decision.paradigm import paradigm_named
from llm.models.attention import group_heads
from llm.sandbox import Sandbox
from llm.training import callbacks, common, prompts
from llm.training.durable import DurableCheckpoints
from llm.training.models import Base, load_base
from llm.training.options import GrpoOptions, as_mapping
from llm.training.rewards import Terms
from llm.training.shared_prompt import SharedPrompts, share_prefill
from llm.training.trl_rewards import TrlRewards
from lsajax.runs.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Asked:
    """A command line of `python -m llm.grpo`."""

    options: GrpoOptions
    config: GRPOConfig


@dataclasses.dataclass
class Job:
    """A training that is checked and may start."""

    options: GrpoOptions
    config: GRPOConfig
    base: Base
    cells: list[prompts.Cell]
    terms: Terms
    peft_config: Any
    folder: RunFolder | None


class Trainer(SharedPrompts, DurableCheckpoints, GRPOTrainer):
    """TRL's trainer, with checkpoints that are whole or not there, and prompts computed once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config: Any = self.args
        if not (config.use_vllm or config.gradient_checkpointing):
            model = self.accelerator.unwrap_model(self.model)
            network = getattr(model, "get_base_model", lambda: model)()
            group_heads(network)
            share_prefill(network)


def generation_cycle(config: Any) -> int:
    """Optimiser steps from one generation boundary to the next: there a run resumes exactly."""
    micro = config.steps_per_generation * config.num_iterations
    return math.lcm(micro, config.gradient_accumulation_steps) // config.gradient_accumulation_steps


def num_prompts(config: Any) -> int:
    """Prompts that `max_steps` take: no epoch ends before them."""
    micro = config.max_steps * config.gradient_accumulation_steps
    generations = math.ceil(micro / (config.steps_per_generation * config.num_iterations))
    return generations * config.generation_batch_size // config.num_generations


def prepare(asked: Asked) -> Job:
    """Checks options, model and folder.

    Raises:
        ValueError: what no run can be made of.
        Unavailable: the model cannot be had.
    """
    options, config = asked.options, asked.config
    out = pathlib.Path(str(options.out))
    cells = prompts.asked_cells(options)
    values = as_mapping("terms", options.terms)
    try:
        terms = Terms(**(values | {"form": options.form}))
    except TypeError as error:
        raise ValueError(f"--terms must be of llm.training.terms.Terms: {error}") from None
    if not paradigm_named(options.paradigm).runs_programs and options.slots > 1:
        raise ValueError(f"--slots must be 1 in the text paradigm, got {options.slots}")
    if config.shuffle_dataset:
        raise ValueError("--shuffle_dataset must be false: prompts come in a seeded order already")
    cycle = generation_cycle(config)
    if config.save_strategy == "steps" and config.save_steps % cycle:
        raise ValueError(
            f"--save_steps must be a multiple of {cycle}, the steps from one generation to the "
            f"next, so that a run resumes exactly; got {config.save_steps:g}"
        )
    base = load_base(
        options.model,
        options.paradigm,
        prompt_budget=options.prompt_budget,
        max_new_tokens=config.max_completion_length,
        chat_template=options.chat_template,
    )
    config.max_completion_length = base.max_new_tokens
    config.reward_weights = [terms.structure, terms.performance, terms.depth]
    peft_config = common.lora_config(options, base)
    folder = common.run_folder(out, options, config)
    return Job(options, config, base, cells, terms, peft_config, folder)


def run(job: Job, watching: Sequence[TrainerCallback] = ()) -> None:
    """Trains, and writes the model, its rows, evaluations and curves.

    Args:
        job: of `prepare`.
        watching: callbacks beside the training's own.
    """
    config = job.config
    stream = prompts.Stream(
        job.cells,
        num_prompts(config),
        seed=config.seed,
        slots=job.options.slots,
        purpose="training",
    )
    common.train(job, lambda box: build(job, stream, box), watching)


def build(job: Job, stream: prompts.Stream, box: Sandbox | None) -> tuple[Trainer, callbacks.Rows]:
    """The trainer with its rewards, prompts and callbacks."""
    options, config, base = job.options, job.config, job.base
    rewards = TrlRewards(
        stream,
        box,
        paradigm=options.paradigm,
        terms=job.terms,
        deadline_s=options.step_deadline_s,
        budget_s=[stream.cell(i).time_budget_s for i in range(len(stream))]
        if box is not None
        else None,
        count_tokens=base.count_text,
        describe=lambda i: stream.cell(i)._asdict() | {"instance": float(i)},
    )
    rows = Dataset.from_dict(
        {
            # Filled in by the collator when its step comes.
            "prompt": [[{"role": "user", "content": ""}]] * len(stream),
            "instance": list(range(len(stream))),
        }
    )
    trainer = Trainer(
        common.network(base, config),
        reward_funcs=rewards.functions,
        train_dataset=rows,
        args=config,
        processing_class=base.tokenizer,
        peft_config=job.peft_config,
    )
    fill_in: Any = prompts.Prompts(stream, base.count_tokens, base.prompt_budget, options.paradigm)
    trainer.data_collator = fill_in
    return trainer, common.add_callbacks(trainer, options, base, job.cells, job.folder, box)

"""What both trainings do around TRL: adapter, folder, callbacks, the model at the end."""

import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from llm.decision.paradigm import paradigm_named
from llm.models.loading import LIMITS_FILE
from llm.sandbox import Limits, Sandbox, SandboxUnavailable
from llm.training import callbacks, processes, prompts
from llm.training.durable import STAGING, is_disk_failure
from llm.training.in_memory import InMemoryModel
from llm.training.models import Base
from llm.training.options import as_mapping, own_config
from llm.training.trl_rewards import NotFiniteError
from lsajax.runs.cli import Unavailable
from lsajax.runs.folder import BadRun, RunFolder

_MAX_WORKERS = 8


def train(
    job: Any,
    build: Callable[[Sandbox | None], tuple[Any, callbacks.Rows]],
    watching: Sequence[Any],
) -> None:
    """Trains, and writes the model, its rows, evaluations and curves.

    Args:
        job: of `grpo.prepare` or `sft.prepare`.
        build: makes the trainer, around the sandbox of the programs.
        watching: callbacks beside the training's own.
    """
    options = job.options
    cpus = start_processes(options, job.config, job.base)
    box = None
    try:
        if paradigm_named(options.paradigm).runs_programs:
            box = open_sandbox(options, cpus)
        trainer, rows = build(box)
        for callback in watching:
            trainer.add_callback(callback)
        out = pathlib.Path(str(options.out))
        last = callbacks.last_checkpoint(out) if options.resume else None
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except (SandboxUnavailable, NotFiniteError) as error:
        raise Unavailable(str(error)) from None
    finally:
        if box is not None:
            box.close()
    finish(trainer, job.folder, rows, job.base)


def start_processes(options: Any, config: Any, base: Base) -> int:
    """CPUs and threads of this process; returns how many CPUs it may use."""
    cpus = processes.share_cpus()
    if config.use_cpu:
        processes.set_threads(options.torch_threads, small=base.small, cpus=cpus)
    return cpus


def open_sandbox(options: Any, cpus: int) -> Sandbox:
    """The sandbox of a training."""
    workers = options.sandbox_workers or min(cpus, _MAX_WORKERS)
    return Sandbox(workers=workers, limits=Limits(wall_s=20.0, cpu_s=5.0))


def lora_config(options: Any, base: Base) -> Any:
    """A new LoRA adapter's configuration, or None.

    Raises ValueError on a field that peft refuses, or that the adapter of `base` has otherwise.
    """
    fields = as_mapping("lora", options.lora)
    if not options.lora_rank and not fields:
        return None
    from peft import LoraConfig

    rank = fields.pop("r", options.lora_rank)
    if base.adapter is not None:
        own = LoraConfig.from_pretrained(base.adapter).to_dict()
        for name, value in (fields | ({"r": rank} if rank else {})).items():
            if not _same(value, own.get(name)):
                raise ValueError(
                    f"--lora_rank and --lora must be as in the adapter that --model names, or left "
                    f"out: {name} is {own.get(name)} there, got {value}"
                )
        return None
    defaults = {
        "task_type": "CAUSAL_LM",
        "target_modules": "all-linear",
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
    }
    try:
        return LoraConfig(r=rank, **(defaults | fields))
    except (TypeError, ValueError) as error:
        raise ValueError(f"--lora must be fields of peft.LoraConfig: {error}") from None


def _same(given: Any, own: Any) -> bool:
    """Whether a field of LoRA is what an adapter has; which layers "all-linear" was it forgot."""
    if isinstance(own, set):
        return given == "all-linear" or set(given) == own
    return given == own


def network(base: Base, config: Any) -> Any:
    """What a trainer starts from: a folder or hub name, or a network with the adapter it has.

    Raises Unavailable where the adapter cannot be read.
    """
    if base.adapter is None:
        return base.source
    from peft import PeftModel
    from trl.trainer.utils import create_model_from_path

    options, config.model_init_kwargs = dict(config.model_init_kwargs or {}), None
    whole = create_model_from_path(base.source, **options)
    try:
        return PeftModel.from_pretrained(whole, base.adapter, is_trainable=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"--model {base.name} cannot be loaded: {reason}") from error


def run_folder(out: pathlib.Path, options: Any, config: Any) -> RunFolder | None:
    """The folder of rows, on the process that writes them.

    Raises:
        BadRun: the folder cannot be used as asked.
    """
    if processes.rank() != 0:
        return None
    record = own_config(options, config) | {"processes": config.world_size}
    folder = RunFolder(out, record, identity=["step"], resume=options.resume)
    if not options.resume and callbacks.last_checkpoint(out):
        raise BadRun(f"--out {out} holds checkpoints already; give --resume, or another folder")
    return folder


def add_callbacks(
    trainer: Any,
    options: Any,
    base: Base,
    cells: list[prompts.Cell],
    folder: RunFolder | None,
    box: Sandbox | None,
) -> callbacks.Rows:
    """Bar, rows and held-out evaluations, in place of the trainer's own printing."""
    from transformers import PrinterCallback, ProgressCallback

    trainer.extra_files = {LIMITS_FILE: json.dumps(base.limits, indent=2) + "\n"}
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    rows = callbacks.Rows(folder)
    trainer.add_callback(rows)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(callbacks.Bar())
    if options.eval_realizations:
        trainer.add_callback(
            callbacks.HeldOut(
                pathlib.Path(trainer.args.output_dir) / "evaluation",
                options.eval_every,
                measure(trainer, options, base, cells, box),
                trainer.accelerator.wait_for_everyone,
            )
        )
    return rows


def measure(
    trainer: Any, options: Any, base: Base, cells: list[prompts.Cell], box: Sandbox | None
) -> Callable[[], Any]:
    """A function that evaluates the model in training on held-out instances."""

    right: dict[prompts.Cell, tuple[str, ...]] = {}

    def table() -> Any:
        from llm.training.evaluation import evaluate, right_families

        held_out = list(dict.fromkeys(cells))
        count, seed = options.eval_realizations, trainer.args.seed
        if box is not None and not right:  # they are the same at each evaluation
            right.update(right_families(box, held_out, realizations=count, seed=seed))
        model = InMemoryModel.of(
            trainer.accelerator.unwrap_model(trainer.model),
            base.tokenizer,
            name=base.name,
            prompt_budget=base.prompt_budget,
            max_new_tokens=base.max_new_tokens,
        )
        return evaluate(
            model,
            box,
            held_out,
            realizations=count,
            num_samples=options.eval_samples,
            seed=seed,
            paradigm=options.paradigm,
            right=right,
        )

    return table


def finish(trainer: Any, folder: RunFolder | None, rows: callbacks.Rows, base: Base) -> None:
    """Writes all rows in one file, the model where `load_model` finds it, and the curves.

    Raises:
        Unavailable: there is no room for the model.
    """
    out = pathlib.Path(trainer.args.output_dir)
    if folder is not None:
        rows.flush()
        folder.finish()
    staging = out / STAGING
    try:
        if folder is not None:
            shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
        save_whole(trainer, staging)
        if folder is not None:
            for name in ("model", "adapter"):
                if (staging / name).is_dir():
                    (staging / name / LIMITS_FILE).write_text(
                        json.dumps(base.limits, indent=2) + "\n"
                    )
                    shutil.rmtree(out / name, ignore_errors=True)
                    os.replace(staging / name, out / name)
    except Exception as failure:
        if not is_disk_failure(failure):
            raise
        shutil.rmtree(staging, ignore_errors=True)
        reason = str(failure).strip().splitlines()[0]
        raise Unavailable(f"the model was not written ({reason}): free room") from None
    if folder is None:
        return
    shutil.rmtree(staging, ignore_errors=True)
    try:
        callbacks.draw_curves(folder.rows(), out / "curves")
    except ImportError:
        print("no figure of the curves: matplotlib is not installed", file=sys.stderr)
    print(f"wrote {out / 'model'}, which --model and load_model take")


def save_whole(trainer: Any, out: pathlib.Path) -> None:
    """The model in `out`/model; one with a LoRA adapter merged there, and the adapter beside it."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not hasattr(model, "merge_and_unload"):
        trainer.save_model(str(out / "model"))
    elif trainer.accelerator.is_main_process:
        model.save_pretrained(out / "adapter", selected_adapters=["default"])
        template = trainer.processing_class.chat_template  # it was trained with no other
        (out / "adapter" / "chat_template.jinja").write_text(template, encoding="utf-8")
        model.merge_and_unload().save_pretrained(out / "model")
        trainer.processing_class.save_pretrained(out / "model")
    trainer.accelerator.wait_for_everyone()

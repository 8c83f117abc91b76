"""Command lines of training: own options beside every field of TRL's own configuration."""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from llm.training import recipes


@dataclasses.dataclass
class Options:
    """What both trainings share."""

    _argument_group_name = "what is trained, on what, and where it goes"

    out: str | None = dataclasses.field(
        default=None, metadata={"help": "Folder of the run; must be given."}
    )
    model: str = dataclasses.field(
        default="embedded",
        metadata={
            "help": "'embedded', 'embedded-base', 'qwen-coder-0.5b-base', a folder with a "
            "transformers checkpoint, a hub name, or 'qwen-coder-0.5b' or a folder with a LoRA "
            "adapter, which is trained on."
        },
    )
    paradigm: Literal["code", "text"] = dataclasses.field(
        default="code",
        metadata={"help": "Programs ('code') or mappings ('text') are asked for."},
    )
    settings: list[str] = dataclasses.field(
        default_factory=lambda: ["plain", "fading"],
        metadata={"help": "Settings that prompts are drawn from, see lsajax.SETTINGS."},
    )
    objectives: list[str] = dataclasses.field(
        default_factory=lambda: ["throughput"],
        metadata={"help": "Of throughput, priorities, fair, coupled."},
    )
    scales: list[str] = dataclasses.field(
        default_factory=lambda: ["15,20,8"],
        metadata={"help": "Sizes: I, II, III, or users,channels,requests such as 15,20,8."},
    )
    time_budgets: list[float] = dataclasses.field(
        default_factory=lambda: [1.0],
        metadata={"help": "CPU seconds that prompts state and programs are held to."},
    )
    cells: list[str] = dataclasses.field(
        default_factory=list,
        metadata={
            "help": "In place of all combinations of the four above: setting/objective/size/seconds"
            ", such as fading/fair/15,20,8/1. One that is named twice is met twice as often."
        },
    )
    prompt_budget: int | None = dataclasses.field(
        default=None, metadata={"help": "Tokens of a prompt at most; None is the model's own."}
    )
    chat_template: str | None = dataclasses.field(
        default=None,
        metadata={"help": "File of a Jinja chat template in place of the model's own."},
    )
    resume: bool = dataclasses.field(
        default=False, metadata={"help": "Go on from the last whole checkpoint in --out."}
    )
    lora_rank: int = dataclasses.field(
        default=0, metadata={"help": "Rank of a LoRA adapter; 0 trains all weights."}
    )
    lora: dict | str | None = dataclasses.field(
        default=None,
        metadata={
            "help": "Other fields of peft.LoraConfig, as JSON or as a mapping in the YAML file: "
            "'{\"lora_alpha\": 64}'."
        },
    )
    torch_threads: int | None = dataclasses.field(
        default=None,
        metadata={"help": "PyTorch's threads on a CPU; None is 1 for small models, else all."},
    )
    eval_every: int = dataclasses.field(
        default=0,
        metadata={"help": "Steps between held-out evaluations; 0 is before and after alone."},
    )
    eval_realizations: int = dataclasses.field(
        default=4,
        metadata={"help": "Held-out instances of each cell; 0 leaves evaluation out."},
    )
    eval_samples: int = dataclasses.field(
        default=4, metadata={"help": "Samples of each held-out instance, beside a greedy one."}
    )
    sandbox_workers: int | None = dataclasses.field(
        default=None, metadata={"help": "Programs at a time; None is one per CPU, at most 8."}
    )


@dataclasses.dataclass
class GrpoOptions(Options):
    """Of `python -m llm.grpo`."""

    recipe: str = dataclasses.field(
        default="paper",
        metadata={"help": f"Defaults of TRL's fields below: {', '.join(recipes.GRPO)}."},
    )
    form: Literal["paper", "ranked"] = dataclasses.field(
        default="paper", metadata={"help": "Form of the rewards, see llm.training.terms."}
    )
    terms: dict | str | None = dataclasses.field(
        default=None,
        metadata={"help": "Weights and constants of llm.training.terms.Terms, as JSON."},
    )
    slots: int = dataclasses.field(
        default=1, metadata={"help": "Instances that a program is scored on, 1 to 4."}
    )
    step_deadline_s: float | None = dataclasses.field(
        default=None,
        metadata={"help": "Seconds for all programs of a step; what is left then is not scored."},
    )


@dataclasses.dataclass
class SftOptions(Options):
    """Of `python -m llm.sft`."""

    examples: int = dataclasses.field(
        default=2000, metadata={"help": "Examples, before those that are there twice are left out."}
    )
    held_out: float = dataclasses.field(
        default=0.1, metadata={"help": "Share of the instances kept for the validation loss."}
    )
    max_new_tokens: int | None = dataclasses.field(
        default=None, metadata={"help": "Tokens of an answer at most; None is the model's own."}
    )


Own = TypeVar("Own", bound=Options)


def parse(
    own: type[Own], trl_config: type, description: str, argv: Sequence[str] | None = None
) -> tuple[Own, Any]:
    """Own options and TRL's configuration, from recipe, YAML file and command line, in that order.

    Args:
        own: `GrpoOptions` or `SftOptions`.
        trl_config: `trl.GRPOConfig` or `trl.SFTConfig`.
        description: first lines of the help.
        argv: without the program's name; None takes the process's own.

    Raises:
        ValueError: an unknown option or recipe, or a value that TRL or this package refuses.
    """
    import torch
    from trl import TrlParser

    argv = list(sys.argv[1:] if argv is None else argv)
    early = _early(argv)
    both: Any = [own, trl_config]
    parser = TrlParser(
        both,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
        epilog="--config FILE reads any of these from a YAML file; the command line comes first.",
    )
    has_gpu = torch.cuda.is_available()
    defaults: dict[str, Any] = {"bf16": has_gpu, "use_cpu": not has_gpu}
    if own is GrpoOptions:
        name = early.get("recipe") or "paper"
        if name not in recipes.GRPO:
            raise ValueError(f"--recipe must be one of {', '.join(recipes.GRPO)}, got {name!r}")
        defaults |= recipes.GRPO[name] | {"max_completion_length": None}
    else:
        defaults |= recipes.SFT
    if early.get("model", "embedded").startswith("embedded"):
        defaults |= recipes.EMBEDDED_RATE
    if early.get("out"):
        defaults["output_dir"] = early["out"]
    fixed = recipes.GRPO_FIXED if own is GrpoOptions else recipes.SFT_FIXED
    defaults |= {name: value for name, (value, _) in fixed.items()}
    known = {action.dest for action in parser._actions}
    parser.set_defaults_with_config(**{k: v for k, v in defaults.items() if k in known})
    options, config = _exit_as_error(parser, argv)
    _check(options, config)
    _check_fixed(options, config, fixed)
    return options, config


def _exit_as_error(parser: Any, argv: list[str]) -> tuple[Any, Any]:
    """argparse prints its usage, three screens here, before what is wrong."""

    def error(message: str) -> None:
        raise ValueError(message)

    known = parser.parse_known_args

    def parse_known_args(*args: Any, **kwargs: Any) -> Any:
        found, rest = known(*args, **kwargs)
        _check_groups(found)  # TRL's own words name what nobody typed
        return found, rest

    parser.error, parser.parse_known_args = error, parse_known_args
    return parser.parse_args_and_config(args=argv)


def _early(argv: Sequence[str]) -> dict[str, Any]:
    """What decides other options' defaults: of the command line, or else of the YAML file."""
    names = ("config", "recipe", "model", "out")
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        peek.add_argument(f"--{name}")
    found = {k: v for k, v in vars(peek.parse_known_args(argv)[0]).items() if v is not None}
    if "config" in found:
        import yaml

        file = pathlib.Path(found["config"])
        try:
            content = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"--config must be a YAML file that can be read: {error}") from None
        if not isinstance(content, dict):
            raise ValueError(f"--config must be a YAML mapping of options, got {file}")
        found = {name: content[name] for name in names if name in content} | found
    return found


def as_mapping(name: str, value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """A mapping that came as one, from YAML, or as JSON, from a command line."""
    if value is None:
        return {}
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"--{name} must be a mapping, in JSON on a command line, got {value!r}")
    return dict(value)


def _check(options: Options, config: Any) -> None:
    """Raises ValueError on what no run can be made of."""
    if not options.out:
        raise ValueError("--out must name the folder of the run")
    if config.max_steps < 1:
        raise ValueError(f"--max_steps must be at least 1, got {config.max_steps}")
    for name in ("lora_rank", "eval_every", "eval_realizations"):
        if getattr(options, name) < 0:
            raise ValueError(f"--{name} must be at least 0, got {getattr(options, name)}")
    if options.eval_samples < 0:
        raise ValueError(f"--eval_samples must be at least 0, got {options.eval_samples}")
    for name in ("torch_threads", "sandbox_workers", "prompt_budget"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    if config.save_strategy == "steps" and config.save_steps < 1:
        raise ValueError(f"--save_steps must be steps, at least 1, got {config.save_steps}")


def _check_groups(found: argparse.Namespace) -> None:
    """Raises ValueError where the completions of a step are no whole groups."""
    if not hasattr(found, "num_generations"):
        return
    if found.num_generations < 2:
        raise ValueError(f"--num_generations must be at least 2, got {found.num_generations}")
    if found.generation_batch_size is not None:
        return
    steps = "steps_per_generation" if found.steps_per_generation else "gradient_accumulation_steps"
    sizes = (
        found.per_device_train_batch_size,
        getattr(found, steps),
        int(os.environ.get("WORLD_SIZE", 1)),
    )
    made = math.prod(sizes)
    if made % found.num_generations:
        raise ValueError(
            f"--num_generations must divide --per_device_train_batch_size x --{steps} x processes, "
            f"{' x '.join(map(str, sizes))} = {made}, got {found.num_generations}"
        )


def _check_fixed(options: Options, config: Any, fixed: Mapping[str, tuple[Any, str]]) -> None:
    """Raises ValueError on another value of a field that the training sets itself."""
    fixed = {"output_dir": (os.path.expanduser(str(options.out)), "use --out"), **fixed}
    for name, (value, reason) in fixed.items():
        if getattr(config, name) != value:
            got = getattr(config, name)
            raise ValueError(f"--{name} must be left as it is, got {got!r}: {reason}")
    options.out = config.output_dir


def own_config(options: Options, config: Any) -> dict[str, Any]:
    """What determines a run's numbers: own options, and where TRL's differ from its defaults."""
    here = dataclasses.asdict(options)
    for name in ("out", "resume", "torch_threads", "sandbox_workers"):
        del here[name]
    plain = type(config)(output_dir="trainer_output", bf16=False, use_cpu=True).to_dict()
    theirs = config.to_dict()
    where = {"output_dir", "run_name", "logging_dir", "local_rank", "report_to", "disable_tqdm"}
    changed = {k: v for k, v in theirs.items() if k not in where and v != plain.get(k)}
    return json.loads(json.dumps({**here, "trl": changed}, default=str))

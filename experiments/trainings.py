"""Trainings of a language model that a study compares, each in a folder of its own.

One that is finished is skipped, and one that was killed goes on from its last checkpoint, to the
same numbers.
"""

import contextlib
import dataclasses
import importlib
import io
import json
import math
import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import lsajax as lsa
from experiments import config as options
from lsajax.runs.folder import BadRun

if TYPE_CHECKING:
    import pandas as pd

_EMBEDDED_RATE = 5e-4
"""The recipe's, twice that, is too much for 16 completions a step: some seeds lose validity."""

FOLDER = "trainings"
"""In the folder of a study; those of its trainings are there."""

_CLASSES = {"grpo": ("GrpoOptions", "GRPOConfig"), "sft": ("SftOptions", "SFTConfig")}


@dataclasses.dataclass(frozen=True)
class Config(options.FolderConfig):
    """Options of studies that train.

    Args:
        model: what the trainings start from: embedded-base (before any GRPO), a folder or a hub
            name of a transformers checkpoint.
        triple: N users, M channels, K of the users request, in the slots of the prompts.
        settings: of the prompts, mixed; see `python -m experiments.scaling --help`.
        steps: of GRPO.
        seeds: trainings of each kind, with the seeds from --seed on.
        prompts: of a step.
        group: completions of a prompt; 8 in the paper.
        max_completion_tokens: the most tokens of a completion.
        learning_rate: of GRPO; if not given 5e-4 for the embedded model, for others the recipe's.
        save_every: steps between two checkpoints, which --resume goes on from.
    """

    model: str = "embedded-base"
    triple: tuple[int, int, int] = (15, 20, 8)
    settings: tuple[options.Setting, ...] = ("plain", "fading")
    steps: int = 300
    seeds: int = 3
    prompts: int = 2
    group: int = 8
    max_completion_tokens: int = 192
    learning_rate: float | None = None
    save_every: int = 20


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_seed(config)
    least = {"steps": 1, "seeds": 1, "prompts": 1, "group": 2, "save_every": 1}
    least["max_completion_tokens"] = 1
    for name, low in least.items():
        if getattr(config, name) < low:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} must be at least {low}, got {getattr(config, name)}")
    rate = config.learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"--learning-rate must be above 0, finite, got {rate}")
    known = [name for name, made in lsa.SETTINGS.items() if "objective" not in made]
    options.check_names("--settings", config.settings, known)
    if not config.model:
        raise ValueError("--model must be embedded-base, a folder or a hub name, got ''")
    scenario(config)


def scenario(config: Config) -> lsa.Scenario:
    """Sizes of the prompts' slots. Raises ValueError where they do not fit together."""
    num_users, num_channels, num_active = config.triple
    return lsa.Scenario(num_users=num_users, num_channels=num_channels, num_active=num_active)


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        name: in tables; with the seed, of its folder.
        seed: of prompts and sampling.
        grpo: options of `python -m llm.grpo`.
        sft: options of `python -m llm.sft`, where that comes first, and GRPO starts from it.
    """

    name: str
    seed: int
    grpo: Mapping[str, Any]
    sft: Mapping[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of the GRPO."""
        return f"{re.sub('[^a-z0-9]+', '-', self.name.lower()).strip('-')}-{self.seed}"


class Stage(NamedTuple):
    """SFT or GRPO of a training.

    Attributes:
        kind: "sft" or "grpo".
        folder: of the run.
        options: of its command line.
        start: folder of the stage that must have ended before.
    """

    kind: str
    folder: pathlib.Path
    options: Mapping[str, Any]
    start: pathlib.Path | None = None

    @property
    def steps(self) -> int:
        """Steps of the whole stage."""
        return int(self.options["max_steps"])


def common(config: Config) -> dict[str, Any]:
    """Options of `python -m llm.grpo` that all trainings of a study have."""
    found = {
        "model": config.model,
        "settings": list(config.settings),
        "objectives": ["throughput"],
        "scales": [",".join(map(str, config.triple))],
        "num_generations": config.group,
        "per_device_train_batch_size": config.prompts * config.group,
        "gradient_accumulation_steps": 1,
        "max_completion_length": config.max_completion_tokens,
        "max_steps": config.steps,
        "warmup_steps": min(10, max(1, config.steps // 10)),
        "save_steps": config.save_every,
        "save_total_limit": 1,
        "eval_realizations": 0,
        "disable_tqdm": True,
    }
    rate = config.learning_rate
    if rate is None and config.model.startswith("embedded"):
        rate = _EMBEDDED_RATE
    return found | ({} if rate is None else {"learning_rate": rate})


def stages(training: Training, root: pathlib.Path) -> list[Stage]:
    """What a training consists of, in order."""
    own = {"seed": training.seed}
    folder = root / training.folder
    if training.sft is None:
        return [Stage("grpo", folder, {**training.grpo, **own})]
    before = root / f"{training.folder}-sft"
    grpo = {**training.grpo, **own, "model": str(before / "model")}
    return [
        Stage("sft", before, {**training.sft, **own}),
        Stage("grpo", folder, grpo, start=before),
    ]


def words(given: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    found = []
    for name, value in given.items():
        found.append(f"--{name}")
        if isinstance(value, Mapping):
            found.append(json.dumps(value))
        else:
            found += [str(v) for v in (value if isinstance(value, list) else [value])]
    return found


def check_all(trainings: Sequence[Training], root: pathlib.Path, *, resume: bool) -> None:
    """Checks each training as its own command would, before the first starts.

    Raises:
        ValueError: what no run can be made of, or a folder that cannot be used as asked.
        Unavailable: the model cannot be had.
    """
    if root.exists() and not resume:
        raise BadRun(
            f"--out {root.parent} holds trainings already; give --resume to go on with them, or "
            "another folder"
        )
    for training in trainings:
        for stage in stages(training, root):
            if stage.start is None or finished(stage.start):
                finished(stage.folder)
                _prepared(stage)[1].folder.close()


def _prepared(stage: Stage) -> tuple[Any, Any]:
    """Module and job of a stage."""
    import jax
    import trl

    from llm.training import options as known
    from llm.training.processes import quiet

    quiet()
    if "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")  # a GPU is the trainer's
    module = importlib.import_module(f"llm.training.{stage.kind}")
    own, theirs = _CLASSES[stage.kind]
    argv = [*words(stage.options), "--out", str(stage.folder), "--resume"]
    asked = known.parse(getattr(known, own), getattr(trl, theirs), "", argv)
    return module, module.prepare(module.Asked(*asked))


def finished(folder: pathlib.Path) -> bool:
    """Whether the training of a folder has ended.

    Raises:
        BadRun: it has ended, and the model is gone.
    """
    from lsajax.runs.folder import ROWS

    if not (folder / ROWS).exists():
        return False
    if not (folder / "model" / "config.json").exists():
        raise BadRun(
            f"{folder} has the rows of a finished training, but its model is missing; remove the "
            "folder, and --resume trains it again"
        )
    return True


def run_all(trainings: Sequence[Training], root: pathlib.Path) -> None:
    """Trains what is not trained yet, one after the other, with progress."""
    from rich.console import Console

    from experiments.study import progress_bar

    todo = [(training, stage) for training in trainings for stage in stages(training, root)]
    done = sum(stage.steps for _, stage in todo if finished(stage.folder))
    total = sum(stage.steps for _, stage in todo)
    console = Console(stderr=True)
    if done == total:
        console.print(f"all {len(trainings)} trainings are in {root} already", soft_wrap=True)
        return
    with progress_bar(console) as progress:
        task = progress.add_task("", total=total, completed=done)
        for training, stage in todo:
            if finished(stage.folder):
                continue
            name = f"{training.name}, seed {training.seed}, {stage.kind.upper()}"
            progress.update(task, description=name)

            def show(step: int, before: int = done) -> None:
                progress.update(task, completed=before + step)

            _run(stage, show)
            done += stage.steps


def _run(stage: Stage, show: Any) -> None:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Tells the progress bar of the study."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            show(state.global_step)

    module, job = _prepared(stage)
    try:
        # Where its model went is nobody's question here.
        with contextlib.redirect_stdout(io.StringIO()):
            module.run(job, [Watch()])
    finally:
        job.folder.close()
    rows(stage.folder, stage.steps)
    for checkpoint in stage.folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def rows(folder: pathlib.Path, steps: int) -> "pd.DataFrame":
    """Metrics of a finished training, a row per step.

    Raises:
        BadRun: steps are missing, or the file cannot be read.
    """
    import pandas as pd

    from lsajax.runs.folder import ROWS

    again = "remove the folder, and --resume trains it again"
    try:
        found = pd.read_parquet(folder / ROWS).sort_values("step", ignore_index=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadRun(f"{folder / ROWS} cannot be read ({reason}); {again}") from None
    missing = sorted(set(range(1, steps + 1)) - set(found["step"]))
    if missing:
        raise BadRun(f"{folder / ROWS} lacks the row of step {missing[0]}; {again}")
    return found


def seconds(folder: pathlib.Path) -> float:
    """Wall seconds of a finished training, all its sessions together."""
    return float(json.loads((folder / "run.json").read_text())["wall_s"])

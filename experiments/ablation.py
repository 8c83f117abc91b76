"""What the terms of the reward and the paradigm are worth (Table VIII): trained with and without.

GRPO with the full reward, without each of its terms, in both forms of the reward, and of a model
that writes mappings after SFT; each with several seeds. What they learned answers on instances that
are common to all, repair off and on.
"""

import contextlib
import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import lsajax as lsa
from experiments import config as options
from experiments import trainings
from experiments.trainings import Training
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    from experiments.methods import Method

TIME = "two hours on 2 cores"

Variant = Literal[
    "full",
    "no-structure",
    "no-depth",
    "no-performance",
    "ranked",
    "ranked-no-structure",
    "ranked-no-performance",
    "text",
]
NAMES: dict[Variant, str] = {
    "full": "Full reward",
    "no-structure": "Without structure",
    "no-depth": "Without depth",
    "no-performance": "Without performance",
    "ranked": "Ranked form",
    "ranked-no-structure": "Ranked, without structure",
    "ranked-no-performance": "Ranked, without performance",
    "text": "Text, SFT then GRPO",
}
BEFORE, SFT_ALONE = "Before GRPO", "Text, SFT alone"
_CHANGES: dict[Variant, dict[str, Any]] = {
    "full": {},
    "no-structure": {"terms": {"structure": 0.0}},
    "no-depth": {"terms": {"depth": 0.0}},
    "no-performance": {"terms": {"performance": 0.0}},
    "ranked": {"form": "ranked"},
    "ranked-no-structure": {"form": "ranked", "terms": {"structure": 0.0}},
    "ranked-no-performance": {"form": "ranked", "terms": {"performance": 0.0}},
    "text": {"paradigm": "text"},
}
_SFT_BATCH = 8
PAPER_SIZE = "I"


@dataclasses.dataclass(frozen=True)
class Config(trainings.Config, options.RunConfig):
    """Trainings with and without the terms of the reward.

    Args:
        variants: what is trained; all if not given. no-...: with that weight at 0; ranked: the form
            of the reward that puts every valid answer above every other; text: mappings.
        sft_steps: of the text variant, before its GRPO.
        sizes: where the models answer afterwards: N,M,K, or I, II, III; that of the training and
            the paper's scale I if none is given.
        temperature: of their answers; 0 is greedy.
        realizations: instances of each setting and size; every model sees the same ones.
    """

    variants: tuple[Variant, ...] = tuple(NAMES)
    sft_steps: int = 150
    sizes: tuple[str, ...] = ()
    temperature: float = 1.0
    realizations: int = 16


@dataclasses.dataclass(frozen=True)
class Prepared(options.Prepared[Config]):
    """A run with all of it checked; its study has the models once they are trained."""

    compared: list[Training]


@dataclasses.dataclass(frozen=True)
class Answering:
    """A model that answers.

    Attributes:
        kind: its name in the table, that of all its seeds.
        seed: of its training; None for the one before it.
        source: what `llm.models.load_model` takes.
        paradigm: "code" or "text".
    """

    kind: str
    seed: int | None
    source: str
    paradigm: str

    @property
    def name(self) -> str:
        """In rows."""
        return self.kind if self.seed is None else f"{self.kind}, seed {self.seed}"

    @property
    def raw_name(self) -> str:
        """In rows with the repair off."""
        return f"{self.name}, repair off"


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    trainings.check(config)
    options.check_run(config)
    options.check_names("--variants", config.variants, NAMES)
    if config.sft_steps < 1:
        raise ValueError(f"--sft-steps must be at least 1, got {config.sft_steps}")
    if not 0 <= config.temperature < float("inf"):
        raise ValueError(f"--temperature must be at least 0, finite, got {config.temperature}")
    for size in config.sizes:
        options.scenario_of("--sizes", size)


def compared(config: Config) -> list[Training]:
    """A training for each variant and seed."""
    common = trainings.common(config)
    shared = ("model", "settings", "objectives", "scales", "save_steps", "save_total_limit")
    sft = {name: common[name] for name in (*shared, "eval_realizations", "disable_tqdm")}
    sft |= {"paradigm": "text", "max_steps": config.sft_steps, "held_out": 0.0}
    # Each slot is a mapping of its own: none is met twice.
    sft |= {
        "examples": _SFT_BATCH * config.sft_steps,
        "max_new_tokens": config.max_completion_tokens,
    }
    sft |= {"per_device_train_batch_size": _SFT_BATCH}
    return [
        Training(
            NAMES[variant],
            seed,
            {**common, **_CHANGES[variant]},
            sft if variant == "text" else None,
        )
        for variant in config.variants
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def prepare(config: Config) -> Prepared:
    """Checks everything that can be checked before the first training, cheap checks first."""
    check(config)
    small: dict[str, Any] = {"steps": 4, "seeds": 1, "sft_steps": 20, "realizations": 3}
    config = options.quickened(config, **small, variants=("full", "no-structure", "text"))
    sizes = config.sizes or (",".join(map(str, config.triple)), PAPER_SIZE)
    config = dataclasses.replace(config, sizes=sizes)
    out = config.out or options.folder_of("ablation", config)
    without = ("seeds", "variants", "sizes", "realizations")
    folder = RunFolder(
        out,
        options.record("ablation", config, without=without),
        identity=("setting", "size", "method", "realization"),
        resume=config.resume,
    )
    from experiments import methods
    from experiments.study import Cell, Study

    found = compared(config)
    cells = [
        Cell(
            {"setting": setting, "size": size},
            options.scenario_of("--sizes", size).replace(**lsa.SETTINGS[setting]),
            {},
            setting,
        )
        for size in sizes
        for setting in config.settings
    ]
    study = Study(cells=cells, seed=config.seed, reference=methods.RANDOM)
    with contextlib.ExitStack() as resources:
        resources.enter_context(folder)
        trainings.check_all(found, out / trainings.FOLDER, resume=config.resume)
        return Prepared(config, study, folder, resources.pop_all(), found)


def answering(config: Config, compared: list[Training], root: pathlib.Path) -> list[Answering]:
    """The models: before, of each training, and between SFT and GRPO."""
    found = [Answering(BEFORE, None, config.model, "code")]
    for training in compared:
        paradigm = str(training.grpo.get("paradigm", "code"))
        *before, last = trainings.stages(training, root)
        for stage in before:
            source = str(stage.folder / "model")
            found.append(Answering(SFT_ALONE, training.seed, source, paradigm))
        source = str(last.folder / "model")
        found.append(Answering(training.name, training.seed, source, paradigm))
    return found


def run(prepared: Prepared) -> None:
    """All trainings and answers that are not on disk yet, then summary.csv, table and figure."""
    from experiments import ablation_tables, methods, outputs

    config, folder = prepared.config, prepared.folder
    root = folder.path / trainings.FOLDER
    try:
        trainings.run_all(prepared.compared, root)
        models = answering(config, prepared.compared, root)
        random = methods.from_solver(methods.RANDOM, lsa.solvers.random)
        asked = [random, *with_models(prepared, models)]
    except BaseException:
        prepared.resources.close()
        raise
    named = {method.name: method for method in asked}
    cells = [dataclasses.replace(cell, methods=named) for cell in prepared.study.cells]
    study = dataclasses.replace(prepared.study, cells=cells)
    spent: dict[str, list[float]] = {}
    for training in prepared.compared:
        stages = trainings.stages(training, root)
        own = sum(trainings.seconds(stage.folder) for stage in stages)
        spent.setdefault(training.name, []).append(own)
    outputs.report(
        dataclasses.replace(prepared, study=study),
        "ablation",
        table=functools.partial(ablation_tables.table, study, models, spent),
        figure=ablation_tables.figure,
        show=lambda summary, rows: ablation_tables.print_table(config, summary),
    )


def with_models(prepared: Prepared, models: list[Answering]) -> "list[Method]":
    """The models as methods, with a sandbox for programs; none is loaded whose rows are on disk.

    Raises:
        Unavailable: a model is not there, or there is no sandbox on this machine.
    """
    from experiments import language_model, methods
    from experiments.study import is_done
    from llm.models import ModelUnavailable, load_model
    from lsajax.runs.cli import Unavailable

    _, box = language_model.open_model(
        prepared.config.model, prepared.resources, prepared.folder.metadata
    )
    found = []
    for own in models:
        stub = methods.not_applicable(own.name, "its row is on disk")
        stub = dataclasses.replace(stub, raw_name=own.raw_name)
        alone = [dataclasses.replace(c, methods={own.name: stub}) for c in prepared.study.cells]
        if all(is_done(prepared.folder, c, prepared.config.realizations) for c in alone):
            found.append(stub)
            continue
        try:
            model = load_model(own.source)
        except ModelUnavailable as error:
            raise Unavailable(f"{own.name}: {error}") from error
        found.append(
            language_model.from_language_model(
                model,
                box if own.paradigm == "code" else None,
                name=own.name,
                raw_name=own.raw_name,
                temperature=prepared.config.temperature,
                paradigm=own.paradigm,
            )
        )
    return found


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

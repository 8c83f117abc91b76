"""Prompt budgets (Table VI): what more tokens, and more detail in them, are worth and cost.

The budget is the most tokens that a prompt may take, the detail the share of it for numbers of
users and channels: what else the prompt says is the same for every slot of a setting, and stays in
a prefix cache. The detail comes in levels, from the sizes alone to the power of each pair; prompts
that end after each of them say what a level adds. A program sees all of the numbers as arrays,
however few of them the prompt shows.
"""

import contextlib
import dataclasses
from typing import TYPE_CHECKING

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    from experiments.study import Cell
    from llm.models import Model
    from llm.sandbox import Sandbox

TIME = "two minutes on 2 cores"

AXES = ("prompt_budget", "prompt_detail", "prompt_level")
ALL = "all"
"""`prompt_level` of the cells that vary budget and detail: any level that fits may be there."""


@dataclasses.dataclass(frozen=True)
class Config(options.SlotConfig):
    """Prompt budgets, details and levels.

    Args:
        size: N,M,K, or I, II, III of Table V. The power of each pair fits into prompts of small
            networks alone.
        budgets: the most tokens of a prompt.
        details: shares of the budget for numbers of users and channels, 0 to 1; --prompt-tokens
            and --prompt-detail have no effect beside these.
        levels: of detail: for each a prompt that ends after it, under the largest budget or what
            the model's context has room for, with all of it for detail. sizes, statistics, rows,
            gains, interference, coupling; in the text paradigm ids, too, before statistics. What
            a level adds is the difference to the one before it; none leaves this out.
        realizations: instances of each budget and detail, and of each level; the same for all.
    """

    size: str = "II"
    budgets: tuple[int, ...] = (512, 1024, 2048, 4096)
    details: tuple[float, ...] = (0.0, 1 / 32, 0.25, 1.0)
    levels: tuple[str, ...] = ("sizes", "statistics", "rows", "gains")
    realizations: int = 16


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    from llm.decision.paradigm import paradigm_named

    options.check(config)
    options.scenario_of("--size", config.size)
    if config.model == options.NO_MODEL:
        raise ValueError("--model must be a language model, got none: it is the prompt that varies")
    for option in ("prompt_tokens", "prompt_detail"):
        if getattr(config, option) is not None:
            name = option.replace("_", "-")
            raise ValueError(f"--{name} has no effect beside --budgets and --details: leave it out")
    for option, values, accepted in (
        ("--budgets", config.budgets, "tokens of at least 1"),
        ("--details", config.details, "shares within 0..1"),
    ):
        fits = all(v >= 1 if option == "--budgets" else 0 <= v <= 1 for v in values)
        if not values or len(set(values)) < len(values) or not fits:
            raise ValueError(f"{option} must be {accepted}, each once, got {values}")
    if config.levels:
        known = paradigm_named(config.paradigm).levels
        options.check_names("--levels", config.levels, known)


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    config = options.resolved(options.quickened(config, realizations=4))
    without = ("realizations", "budgets", "details", "levels")
    folder = RunFolder(
        options.out_folder("context", config),
        options.record("context", config, without=without),
        identity=(*AXES, "method", "realization"),
        resume=config.resume,
    )
    from experiments import language_model, methods
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    model, box = language_model.open_model(
        config.model, resources, folder.metadata, paradigm=config.paradigm
    )
    study = Study(cells=cells(config, model, box), seed=config.seed, reference=methods.RANDOM)
    return options.Prepared(config, study, folder, resources)


def places(config: Config, model: "Model") -> list[tuple[int, float, str]]:
    """Values of the axes: each budget with each detail, then the levels in their order."""
    from llm.decision.paradigm import paradigm_named

    budget = max(config.budgets)
    context = getattr(model, "context", None)
    if context is not None:
        budget = min(budget, max(1, context - model.max_new_tokens))
    order = [name for name in paradigm_named(config.paradigm).levels if name in config.levels]
    grid = [(tokens, detail, ALL) for tokens in config.budgets for detail in config.details]
    return [*grid, *((budget, 1.0, level) for level in order)]


def cells(config: Config, model: "Model", box: "Sandbox | None") -> "list[Cell]":
    """A cell per place, all with the same instances."""
    from experiments import language_model, methods
    from experiments.study import Cell

    switches = {**lsa.SETTINGS[config.setting], "objective": config.objective}
    scenario = options.scenario_of("--size", config.size).replace(**switches)
    found = []
    for place in places(config, model):
        budget, detail, level = place
        asked = language_model.from_language_model(
            model,
            box,
            prompt_tokens=budget,
            prompt_detail=detail,
            prompt_level=None if level == ALL else level,
            temperature=config.temperature,
            time_budget_s=config.time_budget_s,
            paradigm=config.paradigm,
            constrain=config.constrain,
        )
        compared = [
            asked,
            methods.from_solver(methods.RANDOM, lsa.solvers.random),
            methods.from_solver(methods.SORTED, lsa.solvers.sorted_matching),
        ]
        named = {method.name: method for method in compared}
        axes: dict[str, int | float | str] = dict(zip(AXES, place, strict=True))
        found.append(Cell(axes, scenario, named, config.setting))
    return found


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed tables, the figure."""
    from experiments import context_tables, outputs

    outputs.report(
        prepared,
        "context",
        table=lambda rows: context_tables.table(prepared.config, prepared.study, rows),
        figure=context_tables.figure,
        show=lambda summary, rows: context_tables.print_tables(prepared.config, summary),
    )


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

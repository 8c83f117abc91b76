"""Methods that are moved to another size, setting or objective (Table VII), in numbers.

All are made for one place, home, and decide at others: as they are, and adapted. A language model
gets another prompt, a program is replaced by the right one, an agent is trained again, a search is
run again. Each move costs seconds, samples and lines, and loses value where nothing is adapted.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    from experiments.adaptation_methods import Agents, Place
    from experiments.methods import Method
    from experiments.study import Cell
    from llm.models import Model
    from llm.sandbox import Sandbox

TIME = "twenty minutes on 2 cores"

HOME = "home"
_SMALL, _LARGER, _LARGEST = (7, 10, 2), (15, 20, 8), (1000, 1000, 200)
_MOVES: dict[str, tuple[str, str, tuple[int, int, int]]] = {
    HOME: ("plain", "throughput", _SMALL),
    "larger": ("plain", "throughput", _LARGER),
    "scale I": ("plain", "throughput", _LARGEST),
    "fading": ("fading", "throughput", _SMALL),
    "multipath": ("multipath", "throughput", _SMALL),
    "fair": ("plain", "fair", _SMALL),
    "coupled": ("plain", "coupled", _SMALL),
    "multipath, fair": ("multipath", "fair", _SMALL),
    "larger, coupled": ("plain", "coupled", _LARGER),
    "all at once": ("fading", "coupled", _LARGER),
}
"""Move -> setting, objective and sizes there, of the paper's Tables III and V."""
MOVES = tuple(name for name in _MOVES if name != HOME)
_AGENTS = (("ppo", "joint"), ("dqn", "joint"), ("ppo", "sequential"))


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Moves from home, (7,10,2) in plain with throughput, to other places.

    Args:
        moves: which: larger, "scale I", fading, multipath, fair, coupled, "multipath, fair",
            "larger, coupled", "all at once".
        model: the language model; see `python -m experiments.scaling --help`.
        temperature: of its sampling; 0 is greedy.
        train_s: seconds of each training of an agent, at home and after each move; 0 leaves the
            agents out.
        budget_s: seconds of the local search; if not given the time that the model took on the
            same instance.
        realizations: instances of each place; every method sees the same ones.
    """

    moves: tuple[str, ...] = MOVES
    model: str = options.EMBEDDED
    temperature: float = 0.0
    train_s: float = 10.0
    budget_s: float | None = None
    realizations: int = 32


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_run(config)
    options.check_names("--moves", config.moves, MOVES)
    if config.model in ("", options.NO_MODEL):
        raise ValueError(f"--model must be a language model, got {config.model or 'none'!r}")
    if not 0 <= config.temperature < math.inf:
        raise ValueError(f"--temperature must be at least 0, finite, got {config.temperature}")
    if not 0 <= config.train_s < math.inf:
        raise ValueError(f"--train-s must be at least 0 seconds, finite, got {config.train_s}")
    if config.budget_s is not None and not 0 < config.budget_s < math.inf:
        raise ValueError(f"--budget-s must be above 0 seconds, finite, got {config.budget_s}")


@dataclasses.dataclass(frozen=True)
class Prepared(options.Prepared[Config]):
    """A run with all of it checked; its cells get their methods when it runs."""

    model: "Model"
    box: "Sandbox"


def prepare(config: Config) -> Prepared:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    config = options.quickened(config, moves=("fading", "coupled"), train_s=2.0, realizations=4)
    out = config.out or options.folder_of("adaptation", config)
    folder = RunFolder(
        out,
        options.record("adaptation", config, without=("realizations", "moves")),
        identity=("move", "method", "realization"),
        resume=config.resume,
    )
    from experiments import language_model, methods
    from experiments.study import Cell, Study

    places = {move: place_of(move) for move in (HOME, *config.moves)}
    study = Study(
        cells=[Cell({"move": m}, p.scenario, {}, p.setting) for m, p in places.items()],
        seed=config.seed,
        reference=methods.RANDOM,
        budget_s=config.budget_s,
        budget_from=methods.LLM,
    )
    with contextlib.ExitStack() as resources:
        resources.enter_context(folder)
        model, box = language_model.open_model(config.model, resources, folder.metadata)
        assert box is not None, "programs run in it"
        return Prepared(config, study, folder, resources.pop_all(), model, box)


def place_of(move: str) -> "Place":
    """Setting, objective and sizes of home or of a move."""
    from experiments.adaptation_methods import Place

    return Place(*_MOVES[move])


def run(prepared: Prepared) -> None:
    """All trainings and instances that are not on disk yet, then summary.csv, table and figure."""
    from experiments import adaptation_tables as tables
    from experiments import outputs

    config = prepared.config
    try:
        study = dataclasses.replace(prepared.study, cells=cells(prepared))
    except BaseException:
        prepared.resources.close()
        raise
    outputs.report(
        dataclasses.replace(prepared, study=study),
        "adaptation",
        table=lambda rows: tables.table(study, rows),
        figure=tables.figure,
        show=lambda summary, rows: tables.print_table(config, summary),
    )


def cells(prepared: Prepared) -> "list[Cell]":
    """The study's cells with their methods; none is made whose rows are on disk."""
    from experiments.study import is_done

    at_home: dict[str, Any] = {}
    found = []
    for cell in prepared.study.cells:
        makers = _makers(prepared, str(cell.axes["move"]), at_home)
        compared = []
        for name, make in makers.items():
            stub = _stub(name)
            alone = dataclasses.replace(cell, methods={name: stub})
            there = is_done(prepared.folder, alone, prepared.config.realizations)
            compared.append(stub if there else make())
        found.append(dataclasses.replace(cell, methods={m.name: m for m in compared}))
    return found


def _stub(name: str) -> "Method":
    """What has the name of a method, and the rows, and decides nothing."""
    from experiments import methods

    stub = methods.not_applicable(name, "its row is on disk")
    return dataclasses.replace(stub, raw_name=methods.LLM_RAW if name == methods.LLM else None)


def _makers(
    prepared: Prepared, move: str, at_home: dict[str, Any]
) -> "dict[str, Callable[[], Method]]":
    """Name -> what makes the method at home or after a move, in the order of the table.

    Args:
        prepared: the run.
        move: or home.
        at_home: agents that were trained at home; filled in when one is needed.
    """
    from experiments import adaptation_methods as moved
    from experiments import methods
    from llm.training.programs import PROGRAMS

    config, place, box = prepared.config, place_of(move), prepared.box
    same = {"adapt_s": 0.0, "adapt_samples": 0, "retrained": 0}
    nothing = {**same, "lines_changed": 0}

    def program(name: str, family: str) -> "Method":
        return moved.with_columns(moved.from_program(name, PROGRAMS[family], box), **same)

    def best() -> "Method":
        family = moved.best_family(box, place, seed=config.seed)
        return moved.from_program(moved.BEST, PROGRAMS[family], box)

    def evolution() -> "Method":
        return methods.from_solver(methods.EVOLUTION, lsa.solvers.evolution)

    def local_search() -> "Method":
        return methods.from_anytime(methods.LOCAL_SEARCH, lsa.solvers.local_search)

    found: dict[str, Callable[[], Method]] = {
        methods.LLM: lambda: moved.with_columns(
            _language_model(prepared), **nothing, prompt_lines=_prompt_lines(prepared, place)
        )
    }
    for name, family in moved.SOURCES.items():
        found[name] = functools.partial(program, name, family)
    found[moved.BEST] = best
    found[methods.EVOLUTION] = lambda: moved.with_columns(evolution(), **nothing)
    found[methods.LOCAL_SEARCH] = lambda: moved.with_columns(local_search(), **nothing)
    found[methods.RANDOM] = lambda: methods.from_solver(methods.RANDOM, lsa.solvers.random)
    for algorithm, head in _AGENTS if config.train_s else ():
        own = moved.Agents(
            algorithm, head, config.train_s, config.seed, prepared.folder.path / "agents"
        )
        found[own.name] = functools.partial(_from_home, own, at_home)
        if move != HOME:
            found[own.name + moved.RETRAINED] = functools.partial(_retrained, own, place)
    return found


def _from_home(own: "Agents", at_home: dict[str, Any]) -> "Method":
    from experiments import adaptation_methods

    if own.name not in at_home:
        at_home[own.name] = own.trained(place_of(HOME))
    return adaptation_methods.from_home(own, at_home[own.name])


def _retrained(own: "Agents", place: "Place") -> "Method":
    from experiments import adaptation_methods

    return adaptation_methods.retrained(own, own.trained(place))


def _language_model(prepared: Prepared) -> "Method":
    from experiments import language_model

    return language_model.from_language_model(
        prepared.model, prepared.box, temperature=prepared.config.temperature
    )


def _prompt_lines(prepared: Prepared, place: "Place") -> int:
    from experiments import adaptation_methods, study

    seed = prepared.config.seed
    _, at_home = study.instance(seed, place_of(HOME).scenario, 0)
    _, there = study.instance(seed, place.scenario, 0)
    return adaptation_methods.prompt_lines(prepared.model, at_home, there)


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

"""Methods that are moved to another size, setting or objective (Table VII), in numbers.

All are made for one place, home, and decide at others: as they are, and adapted. A language model
gets another prompt, a program is replaced by the right one, an agent is trained again, a search is
run again. Each move costs seconds, samples and lines, and loses value where nothing is adapted.
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.adaptation_methods import Place
    from experiments.methods import Method
    from experiments.study import Cell, Study
    from llm.models import Model
    from llm.sandbox import Sandbox

TIME = "a quarter of an hour on 2 cores"

HOME = "home"
RIGHT_WITHIN = 1.0
"""What a program may lose that is right as it came [%]."""
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
_COSTS = ("adapt_s", "adapt_samples", "lines_changed", "prompt_lines", "retrained")


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
        table=lambda rows: table(study, rows),
        figure=figure,
        show=lambda summary, rows: print_table(config, summary),
    )


def cells(prepared: Prepared) -> "list[Cell]":
    """The study's cells with their methods; nothing is made for rows that are on disk."""
    from experiments import adaptation_methods as moved
    from experiments.study import is_done

    config = prepared.config
    agents = [
        moved.Agents(algorithm, head, config.train_s, config.seed, prepared.folder.path / "agents")
        for algorithm, head in _AGENTS
        if config.train_s
    ]
    at_home: dict[str, Any] = {}
    found = []
    for cell in prepared.study.cells:
        move = str(cell.axes["move"])
        whole = _with(cell, _stubs(move, [own.name for own in agents]))
        if not is_done(prepared.folder, whole, config.realizations):
            compared = without_agents(prepared, place_of(move))
            for own in agents:
                if own.name not in at_home:
                    at_home[own.name] = own.trained(place_of(HOME))
                compared.append(moved.from_home(own, at_home[own.name]))
                if move != HOME:
                    compared.append(moved.retrained(own, own.trained(place_of(move))))
            whole = _with(cell, compared)
        found.append(whole)
    return found


def _stubs(move: str, agents: list[str]) -> "list[Method]":
    """What has the names of a cell's methods, and decides nothing."""
    from experiments import adaptation_methods as moved
    from experiments import methods

    ends = ("",) if move == HOME else ("", moved.RETRAINED)
    names = [methods.LLM, *moved.SOURCES, moved.RIGHT, methods.EVOLUTION, methods.LOCAL_SEARCH]
    names += [methods.RANDOM, *(name + end for name in agents for end in ends)]
    stubs = [moved.not_applicable(name, "its row is on disk") for name in names]
    return [dataclasses.replace(stubs[0], raw_name=methods.LLM_RAW), *stubs[1:]]


def _with(cell: "Cell", compared: "list[Method]") -> "Cell":
    return dataclasses.replace(cell, methods={method.name: method for method in compared})


def without_agents(prepared: Prepared, place: "Place") -> "list[Method]":
    """Language model, programs and searches at a place, with what adapting them costs."""
    from experiments import adaptation_methods as moved
    from experiments import language_model, methods, study
    from llm.training.programs import PROGRAMS

    seed, model, box = prepared.config.seed, prepared.model, prepared.box
    _, at_home = study.instance(seed, place_of(HOME).scenario, 0)
    _, there = study.instance(seed, place.scenario, 0)
    asked = language_model.from_language_model(model, box, temperature=prepared.config.temperature)
    nothing = {"adapt_s": 0.0, "adapt_samples": 0, "lines_changed": 0, "retrained": 0}
    right = PROGRAMS[moved.right_family(box, place, seed=seed)]
    programs = [
        moved.with_columns(
            moved.from_program(name, PROGRAMS[family], box),
            **{**nothing, "lines_changed": moved.lines_changed(PROGRAMS[family], right)},
        )
        for name, family in moved.SOURCES.items()
    ]
    searches = [
        methods.from_solver(methods.EVOLUTION, lsa.solvers.evolution),
        methods.from_anytime(methods.LOCAL_SEARCH, lsa.solvers.local_search),
    ]
    lines = moved.prompt_lines(model, at_home, there)
    return [
        moved.with_columns(asked, **nothing, prompt_lines=lines),
        *programs,
        moved.from_program(moved.RIGHT, right, box),
        *(moved.with_columns(search, **nothing) for search in searches),
        methods.from_solver(methods.RANDOM, lsa.solvers.random),
    ]


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per move and method, as it came from home: what it loses, and what adapting it costs.

    `home_gap_percent` is that before the move; `made_gap_percent` that of the method once it is
    adapted: of a program and of a language model the right program, of an agent the one that was
    trained there, of a search itself. `lost_percent` is the paired difference of the two, in
    percent of the exact optimum or bound.
    """
    import pandas as pd

    from experiments import methods
    from experiments.adaptation_methods import RETRAINED, RIGHT, SOURCES
    from experiments.summary import mean_interval, summarise

    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    share = rows.set_index(["move", "method", "realization"]).eval("100 * value / bound")
    share = share.sort_index()
    by_method = rows.groupby(["move", "method"])
    costs = {name: by_method[name].first() for name in _COSTS if name in rows}
    gaps = summary.set_index(["move", "method"])["gap_percent"]
    why = summary.set_index(["move", "method"])["skipped"]
    own_way = {methods.LLM, methods.LLM_RAW, *SOURCES}
    made = []
    for row in summary.to_dict("records"):
        move, method = row["move"], row["method"]
        if method.endswith(RETRAINED):
            continue  # it stands beside the one from home
        retrained = f"{method}{RETRAINED}"
        adapted = RIGHT if method in own_way else method
        adapted = retrained if (move, retrained) in gaps else adapted
        lost = (share[move, adapted] - share[move, method]).dropna()
        found = {name: values.get((move, method)) for name, values in costs.items()}
        if adapted == retrained:
            found = {name: values.get((move, retrained)) for name, values in costs.items()}
            if why[move, retrained] and row["skipped"]:
                row["skipped"] = f"{row['skipped']}; trained there: {why[move, retrained]}"
        mean, half = mean_interval(lost) if len(lost) else (math.nan, math.nan)
        if method in SOURCES and mean < RIGHT_WITHIN:
            found["lines_changed"] = 0.0  # several programs may be right
        row |= {
            "home_gap_percent": gaps.get((HOME, method), math.nan),
            "made_gap_percent": gaps[move, adapted],
            "lost_percent": mean,
            "lost_half_percent": half,
        }
        made.append(row | found)
    return pd.DataFrame(made).drop(columns=["difference", "difference_half", "paper_mean"])


def print_table(config: Config, summary: "pd.DataFrame") -> None:
    """Gaps at home, moved and adapted, and what adapting cost."""
    from experiments import tables
    from experiments.tables import Column

    for name in _COSTS:
        if name not in summary:
            summary = summary.assign(**{name: math.nan})
    shown = summary.assign(
        mean=summary["gap_percent"],  # where N/A stands for a method that was skipped
        mean_half=summary["gap_half_percent"],
        ms=1e3 * summary["seconds"],
        lines_changed=summary["lines_changed"].astype(float),
        prompt_lines=summary["prompt_lines"].astype(float),
        adapt_samples=summary["adapt_samples"].astype(float),
    )
    tables.print_columns(
        shown,
        axes=["move"],
        title=f"Moved from home, {config.model}, seed {config.seed}",
        columns=[
            Column("Home,\n%", "home_gap_percent", None, ".1f", ".2f"),
            Column("Moved, %", "mean", "mean_half", ".1f", ".2f"),
            Column("Adapted,\n%", "made_gap_percent", None, ".1f", ".2f"),
            Column("Lost, %", "lost_percent", "lost_half_percent", "+.1f", "+.2f"),
            Column("Lines", "lines_changed", None, ".0f", ".0f"),
            Column("Prompt\nlines", "prompt_lines", None, ".0f", ".0f"),
            Column("Train,\ns", "adapt_s", None, ".0f", ".1f"),
            Column("Samples", "adapt_samples", None, ".0f", ".0f"),
            Column("ms", "ms", None, ".0f", ".2g"),
        ],
        caption="gaps to the exact optimum, in coupled to an upper bound; ± half width of the "
        f"95 % t interval, n = {int(summary['realizations'].max())}",
        notes=_notes(),
    )


def _notes() -> Iterator[str]:
    yield (
        "Home: before the move. Moved: as it came from home. Adapted: a program replaced by the "
        "simplest that is right there, an agent trained there; beside the language model, whose "
        "prompt alone is another, stands that program too. Lost: adapted minus moved."
    )
    yield (
        f"Lines: of a program that loses {RIGHT_WITHIN:.0f} % or more, in a diff to the right one. "
        "Prompt lines: in which the prompt differs from home's; the program that writes prompts "
        "knew every objective beforehand."
    )


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Gap as it came and gap once adapted, by move."""
    from experiments import methods, plotting

    own = summary[(summary["method"] != methods.RANDOM) & (summary["move"] != HOME)]
    names = list(own["method"].unique())
    with plotting.figure(stem, columns=2) as axes:
        for ax, value, half, title in (
            (axes[0], "gap_percent", "gap_half_percent", "Gap as it came from home [%]"),
            (axes[1], "made_gap_percent", None, "Gap once adapted [%]"),
        ):
            halves = own[half] if half else math.nan
            shown = own.assign(mean=own[value].clip(lower=0), half=halves)
            plotting.points_panel(ax, shown[shown["mean"].notna()], "move", title, order=names)
            ax.set_yscale("symlog", linthresh=0.01)
            ax.set_ylim(bottom=-0.002)
            ax.tick_params(axis="x", rotation=40)


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

"""The small-scale study (Table III): every method on the paper's eight triples, paired.

Triples (N, M, K) are registered users, channels and requesting users. Where a method cannot run,
its row says N/A, and a note says what it would take.
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import lsajax as lsa
from experiments import config as options
from experiments import own_agent
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.methods import Method
    from experiments.study import Cell, Study

TIME = "a quarter of an hour on 2 cores"

TRIPLES = {f"({N},{M},{K})": (N, M, K) for N, M, K in lsa.SMALL_SCALES}
_PAPER = {
    "LLM (code)": (120.98, 248.36, 405.96, 532.81, 239.23, 500.25, 785.02, 1008.33),
    "Random": (110.63, 221.66, 355.97, 468.10, 224.93, 464.85, 724.92, 940.30),
    "Exhaustive": (126.77, 281.62, 451.34, 582.43, 244.15, 538.26, None, None),
    "Exact optimum": (118.42, 249.75, 419.89, 528.71, 231.61, 489.14, 746.99, 1044.25),
    "Differential evolution": (92.58, 193.46, 320.70, 406.48, 184.39, 383.52, 585.50, 789.58),
    "DQN, joint": (127.29, 250.26, 402.83, 499.56, 249.93, 481.40, None, None),
    "PPO, joint": (108.87, 239.58, 380.04, 479.58, 234.12, 467.53, None, None),
}
PAPER_MBPS = {
    (triple, method): value
    for method, values in _PAPER.items()
    for triple, value in zip(TRIPLES, values, strict=True)
    if value is not None
}
"""Table III of the paper [Mbit/s]; its Kuhn-Munkres row stands at our exact optimum."""

_EXACT = ("Exact optimum", "Exhaustive")
_LEARNED = ("LLM (code)", "DQN, joint", "PPO, joint")
_IN_THE_PAPER = {
    "LLM (code)": "the LLM",
    "Exact optimum": "Kuhn-Munkres",
    "DQN, joint": "DQN",
    "PPO, joint": "PPO",
}


class Above(NamedTuple):
    """Where one row of the paper is above another.

    Attributes:
        method: the higher row, as it is named here.
        other: the lower row.
        triples: where it is above.
        compared: triples where both have a number.
        percent: the most that it is above.
    """

    method: str
    other: str
    triples: tuple[str, ...]
    compared: int
    percent: float

    def text(self) -> str:
        """Such as "DQN at 2 of 6 triples ((5,5,1), (5,5,2)), by up to 2.4 %"."""
        name, count = _IN_THE_PAPER.get(self.method, self.method), len(self.triples)
        where = "" if count == self.compared else f" ({', '.join(self.triples)})"
        return f"{name} at {count} of {self.compared} triples{where}, by up to {self.percent:.1f} %"


def above(method: str, other: str, paper: Mapping[tuple[str, str], float] = PAPER_MBPS) -> Above:
    """Where `method` is above `other` in the paper's Table III."""
    ratios = {
        triple: paper[triple, method] / paper[triple, other]
        for triple in TRIPLES
        if (triple, method) in paper and (triple, other) in paper
    }
    there = tuple(triple for triple, ratio in ratios.items() if ratio > 1)
    most = max((100 * (ratios[triple] - 1) for triple in there), default=0.0)
    return Above(method, other, there, len(ratios), most)


def impossible(paper: Mapping[tuple[str, str], float] = PAPER_MBPS) -> list[Above]:
    """Rows of the paper's Table III above an exact one, which on common instances cannot be."""
    methods = dict.fromkeys(method for _, method in paper)
    found = [above(m, exact, paper) for exact in _EXACT for m in methods if m != exact]
    return [row for row in found if row.triples]


def contradictions(paper: Mapping[tuple[str, str], float] = PAPER_MBPS) -> str:
    """What in the paper's Table III cannot be of the same instances, in sentences."""
    found = impossible(paper)
    if not found:
        return "In the paper's Table III no row is above an exact one."
    parts = [
        f"above {_IN_THE_PAPER.get(exact, exact)} are {'; '.join(shown)}"
        for exact in _EXACT
        if (shown := [row.text() for row in found if row.other == exact])
    ]
    said = (
        "Kuhn-Munkres and Exhaustive are exact: on common instances they are one value, which "
        f"nothing exceeds. In the paper's Table III {', and '.join(parts)}. So its rows cannot be "
        "of the same instances."
    )
    low = [above("Random", method, paper) for method in _LEARNED]
    below = "; ".join(
        f"{_IN_THE_PAPER[row.other]} is below Random at {', '.join(row.triples)}"
        for row in low
        if row.triples
    )
    return said + (below and f" {below[0].upper()}{below[1:]}, which can be.")


@dataclasses.dataclass(frozen=True)
class Config(own_agent.Config):
    """The small-scale study.

    Args:
        triples: which of the paper's triples, such as "(5,5,1)"; all if not given.
        realizations: instances of each triple; every method sees the same ones.
        max_assignments: largest count of assignments that are enumerated.
        train_s: seconds of training of PPO and of DQN with a joint head for each triple, as in the
            paper; 0 leaves them out.
    """

    triples: tuple[str, ...] = tuple(TRIPLES)
    realizations: int = 64
    max_assignments: int = 10_000_000
    train_s: float = 60.0


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check(config)
    options.check_names("--triples", config.triples, TRIPLES)
    own_agent.check(config)
    if config.max_assignments < 1:
        raise ValueError(f"--max-assignments must be at least 1, got {config.max_assignments}")
    if not 0 <= config.train_s < math.inf:
        raise ValueError(f"--train-s must be at least 0 seconds, finite, got {config.train_s}")


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    small = ("(5,5,1)", "(10,15,3)", "(15,20,8)")
    config = options.quickened(config, triples=small, realizations=8, train_s=5.0)
    config = options.resolved(config)
    record = options.record("small_scale", config, without=("realizations", "triples", "agent"))
    folder = RunFolder(
        own_agent.out_folder(config, options.out_folder("small_scale", config)),
        record | own_agent.record(config),
        identity=("triple", "method", "realization"),
        resume=config.resume,
    )
    from experiments import language_model, methods
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    others = compared_methods(str(config.objective), config.max_assignments)
    others += own_agent.methods(config, folder.metadata)
    compared = language_model.with_model(others, config, resources, folder.metadata)
    study = Study(
        cells=cells(config, {method.name: method for method in compared}),
        seed=config.seed,
        reference=methods.RANDOM,
        budget_s=config.budget_s,
        budget_from=methods.LLM,
        paper=PAPER_MBPS if _as_in_the_paper(config) else {},
    )
    return options.Prepared(config, study, folder, resources)


def compared_methods(objective: str, max_assignments: int) -> "list[Method]":
    """The methods without a language model: the scaling study's, and what small sizes allow."""
    import jax

    from experiments import methods

    enumerate_all = functools.partial(lsa.solvers.exhaustive, max_assignments=max_assignments)

    def too_many(inst: lsa.Instance) -> str | None:
        try:
            jax.eval_shape(enumerate_all, jax.random.key(0), inst)
        except ValueError as error:
            return str(error)
        return None

    return [
        *methods.classical(objective),
        *methods.agents(objective),
        methods.from_solver(methods.EXHAUSTIVE, enumerate_all, too_many),
        methods.from_solver(methods.EVOLUTION, lsa.solvers.evolution),
    ]


def cells(config: Config, compared: "dict[str, Method]") -> "list[Cell]":
    """A cell per triple."""
    from experiments.study import Cell

    switches = {**lsa.SETTINGS[config.setting], "objective": config.objective}
    return [
        Cell(
            {"triple": triple},
            lsa.SMALL_SCALES[TRIPLES[triple]].replace(**switches),
            compared,
            config.setting,
        )
        for triple in config.triples
    ]


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import joint_agents, outputs, tables

    config, study = prepared.config, prepared.study
    study = joint_agents.added(config, study, prepared.folder.path)
    outputs.report(
        dataclasses.replace(prepared, study=study),
        "small_scale",
        table=lambda rows: table(study, rows),
        figure=lambda summary, stem: figure(config, summary, stem),
        show=lambda summary, rows: tables.print_table(
            summary,
            axes=study.axes,
            title=f"Small scales, setting {config.setting}, model {config.model}, "
            f"seed {config.seed}",
            reference=study.reference,
            best="bound" if config.objective == "coupled" else "optimum",
            notes=_notes(config),
        ),
    )


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per triple and method."""
    from experiments.summary import summarise

    return summarise(rows, axes=study.axes, reference=study.reference, paper=study.paper)


def figure(config: Config, summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Value by triple beside the paper's points, and gap against time per decision."""
    from experiments import plotting

    best = "an upper bound" if config.objective == "coupled" else "the exact optimum"
    with plotting.figure(stem, columns=2) as (left, right):
        plotting.value_panel(left, summary, "triple", "Objective")
        left.tick_params(axis="x", rotation=40)
        plotting.gap_panel(right, summary, best)


def _as_in_the_paper(config: Config) -> bool:
    return (config.setting, config.objective) == ("plain", "throughput")


def _notes(config: Config) -> Iterator[str]:
    if not _as_in_the_paper(config):
        return
    yield contradictions()


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

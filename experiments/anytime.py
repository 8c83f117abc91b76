"""What each method has by when: gap over wall time, and who is ahead at what time.

A search that can be stopped is run anew with each of several budgets, and what it answers is valued
as everything else is. A method that ends once has nothing until then, and the same from then on. On
the same instances stand Grouped-KM, local search, the exact optimum of the separable part, sorting,
greedy, and a language model with the time of its prompt, its completion and its program.
"""

import contextlib
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import jax
    import pandas as pd

    from experiments.methods import Method, Outcome
    from experiments.study import Cell, Study

TIME = "five minutes on 2 cores"

AXES = ("setting", "objective", "scale")
SHORTEST_S = 1e-3
"""The first budget of a search [s]."""
SHOWN_S = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Times in the printed table [s]."""
_TIE = 1e-5
"""Means that differ by less than this share are as good."""


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Gap over wall time.

    Args:
        settings: what rates depend on, see `python -m experiments.scaling --help`.
        objectives: what an assignment is worth: throughput, fair or coupled.
        scales: scales of Table V: I (1000,1000,200), II (1500,1500,300), III (2000,2000,400).
        budget_s: longest budget of the searches [s]; there are two shorter ones per decade, from a
            millisecond on.
        model: as of `python -m experiments.scaling`; none for the classical methods alone.
        temperature: of the model's sampling; 0 is greedy.
        realizations: instances of each cell; all methods see the same ones.
    """

    settings: tuple[options.Setting, ...] = ("plain", "fading", "multipath")
    objectives: tuple[options.Objective, ...] = ("throughput", "coupled")
    scales: tuple[str, ...] = ("III",)
    budget_s: float = 3.0
    model: str = options.EMBEDDED
    temperature: float = 0.0
    realizations: int = 4


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    settings = [name for name in get_args(options.Setting) if name != "fair"]
    options.check_names("--settings", config.settings, settings)
    options.check_names("--objectives", config.objectives, get_args(options.Objective))
    options.check_names("--scales", config.scales, lsa.SCALES)
    if not SHORTEST_S <= config.budget_s <= 1000:
        raise ValueError(f"--budget-s must be within {SHORTEST_S}..1000, got {config.budget_s}")
    options.check(_slot_config(config))


def _slot_config(config: Config) -> options.SlotConfig:
    return options.SlotConfig(
        realizations=config.realizations,
        seed=config.seed,
        model=config.model,
        temperature=config.temperature,
    )


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    small = {"settings": ("fading",), "scales": ("I",), "budget_s": 1.0}
    config = options.quickened(config, **small)
    more = ("realizations", "settings", "objectives", "scales")
    folder = RunFolder(
        config.out or options.folder_of("anytime", config),
        options.record("anytime", config, without=more),
        identity=(*AXES, "method", "realization"),
        resume=config.resume,
    )
    from experiments import language_model
    from experiments.methods import SORTED
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    model = language_model.with_model([], _slot_config(config), resources, folder.metadata)
    study = Study(
        cells=cells(config, model),
        seed=config.seed,
        reference=SORTED,
        budget_s=config.budget_s,
    )
    return options.Prepared(config, study, folder, resources)


def budgets(longest_s: float) -> np.ndarray:
    """Seconds: two per decade up to the longest."""
    shorter = SHORTEST_S * 10.0 ** (np.arange(20) / 2)
    return np.append(shorter[shorter < longest_s * 0.999], longest_s)


def classical(objective: str) -> "list[Method]":
    """The methods without a language model; of 'coupled' the optimum is that of the rates alone."""
    from experiments import methods

    def grouped(key: "jax.Array", inst: lsa.Instance, **options: Any) -> lsa.solvers.Solution:
        return lsa.solvers.grouped(key, inst.without_coupling(), **options)

    def local_search(key: "jax.Array", inst: lsa.Instance, **options: Any) -> lsa.solvers.Solution:
        if inst.objective == "coupled":
            return lsa.solvers.local_search(key, inst, **options)
        # Left to itself it takes the exact optimum where that is all there is to find.
        sort = lsa.solvers.sorted_matching(key, inst).assignment
        return lsa.solvers.local_search(key, inst, initial=sort, **options)

    exact = methods.from_solver(methods.OPTIMUM, lsa.solvers.hungarian)
    if objective == "coupled":
        exact = methods.from_solver(methods.OPTIMUM_OF_RATES, methods.optimum_of_rates)
    return [
        methods.from_solver(methods.SORTED, lsa.solvers.sorted_matching),
        methods.from_solver(methods.GREEDY, lsa.solvers.greedy),
        _search(methods.from_anytime(methods.GROUPED, grouped)),
        _search(methods.from_anytime(methods.LOCAL_SEARCH, local_search)),
        exact,
    ]


def _search(method: "Method") -> "Method":
    """The same with a run for each budget up to the given one; their answers are in its columns."""
    from experiments import rows

    def run(key: "jax.Array", inst: lsa.Instance, budget_s: float) -> "Outcome":
        seconds, values = [], []
        for longest in budgets(budget_s):
            # The solver's own clock begins after what it starts from.
            start = time.perf_counter()
            outcome = method.run(key, inst, float(longest))
            seconds.append(time.perf_counter() - start)
            values.append(rows.evaluate(inst, outcome.assignment)["value"])
        curve = {"curve_s": seconds, "curve_value": values}
        return dataclasses.replace(
            outcome, seconds=seconds[-1], columns={**outcome.columns, **curve}
        )

    return dataclasses.replace(method, run=run)


def cells(config: Config, model: "list[Method]") -> "list[Cell]":
    """A cell per setting, objective and scale."""
    from experiments.study import Cell

    return [
        Cell(
            dict(zip(AXES, (setting, objective, scale), strict=True)),
            lsa.SCALES[scale].replace(**lsa.SETTINGS[setting], objective=objective),
            {method.name: method for method in [*model, *classical(objective)]},
            setting,
        )
        for setting in config.settings
        for objective in config.objectives
        for scale in config.scales
    ]


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs

    outputs.report(
        prepared,
        "anytime",
        table=lambda rows: table(prepared.study, rows),
        figure=figure,
        show=lambda summary, rows: print_table(summary),
    )


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per cell, time and method, of `experiments.summary.summarise`, with `ahead`.

    `by_s` are the times at which a method has something new, on the slowest of the instances.
    Ahead is the best in the mean, of those that have an answer by then on each instance; of equals
    the one that was there first.
    """
    import pandas as pd

    from experiments.summary import summarise

    blocks = []
    for _, cell in rows.groupby(list(AXES), sort=False):
        own = cell[cell["value"].notna()]
        points = [_points(row) for row in own.to_dict("records")]
        for by_s in _news(own["method"], [at_s for at_s, _ in points]):
            values = [_value_by(by_s, *place) for place in points]
            blocks.append(own.assign(value=values, by_s=by_s))
    summary = summarise(
        pd.concat(blocks), axes=[*AXES, "by_s"], reference=study.reference, paper={}
    )
    count = rows["realization"].nunique()
    summary = summary[summary["realizations"] == count].reset_index(drop=True)
    summary["ahead"] = False
    for _, cell in summary.groupby(list(AXES), sort=False):
        leader = None
        for _, own in cell.groupby("by_s"):
            mean = own.set_index("method")["mean"]
            if leader is None or mean.max() > mean[leader] + _TIE * abs(mean[leader]):
                leader = mean.idxmax()
            summary.loc[own.index[own["method"] == leader], "ahead"] = True
    return summary


def _points(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """When a method answered on an instance, and the values of its answers."""
    if isinstance(row.get("curve_s"), list | np.ndarray):
        order = np.argsort(row["curve_s"])
        return np.asarray(row["curve_s"])[order], np.asarray(row["curve_value"])[order]
    return np.array([row["seconds"]]), np.array([row["value"]])


def _value_by(by_s: float, at_s: np.ndarray, values: np.ndarray) -> float:
    """The best of the answers so far; NaN before the first."""
    return float(values[at_s <= by_s].max(initial=-np.inf)) if at_s[0] <= by_s else np.nan


def _news(names: "pd.Series", points: list[np.ndarray]) -> np.ndarray:
    """Times at which some method has answered once more on all of its instances."""
    found: set[float] = set()
    for name in names.unique():
        own = [at_s for at_s, other in zip(points, names, strict=True) if other == name]
        found |= set(np.max(np.stack(own), axis=0))
    return np.array(sorted(found))


def print_table(summary: "pd.DataFrame") -> None:
    """The gap of each method by a few times, then who is ahead from when on."""
    import pandas as pd

    from experiments import tables

    blocks = []
    for by_s in SHOWN_S:
        due = summary[summary["by_s"] <= by_s]
        # What was known last by then, of each cell.
        last = due.groupby(list(AXES))["by_s"].transform("max") == due["by_s"]
        blocks.append(due[last].assign(by=f"{by_s:g} s", due_s=by_s))
    order = summary[[*AXES]].drop_duplicates().assign(place=lambda own: range(len(own)))
    shown = pd.concat(blocks).merge(order).sort_values(["place", "due_s"], kind="stable")
    tables.print_grid(
        shown,
        axes={"setting": "Setting", "objective": "Objective", "scale": "Scale", "by": "By"},
        title="Gap in %, * ahead in the mean",
        text=lambda row: f"{row['gap_percent']:.3f}{'*' if row['ahead'] else ''}",
        notes=[
            "Gaps are to the exact optimum; with coupled to an upper bound, which nothing reaches. "
            "Of methods that are as good the one that was there first is marked.",
            *leads(summary),
        ],
    )


def leaders(summary: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of `table` at which another method goes ahead."""
    ahead = summary[summary["ahead"]]
    before = ahead.groupby(list(AXES), sort=False)["method"].shift()
    return ahead[ahead["method"] != before]


def leads(summary: "pd.DataFrame") -> list[str]:
    """A sentence per cell: which method is ahead, and from when on."""
    found = []
    for place, own in leaders(summary).groupby(list(AXES), sort=False):
        steps = [f"{row.method} from {1e3 * row.by_s:.3g} ms" for row in own.itertuples()]
        found.append(f"{', '.join(map(str, place))}: {', '.join(steps)}.")
    return found


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Gap over time at the last scale: a row of panels per objective, a column per setting."""
    from experiments import plotting

    scale = summary["scale"].iloc[-1]
    summary = summary[summary["scale"] == scale]
    objectives, settings = (list(summary[name].unique()) for name in ("objective", "setting"))
    with plotting.figure(stem, columns=len(settings), rows=len(objectives)) as panels:
        places = [(objective, setting) for objective in objectives for setting in settings]
        for axes, (objective, setting) in zip(panels, places, strict=True):
            own = summary[(summary["objective"] == objective) & (summary["setting"] == setting)]
            best = "an upper bound" if objective == "coupled" else "the exact optimum"
            plotting.time_panel(axes, own, best)
            axes.set_title(f"{setting}, {objective}, {scale}")


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

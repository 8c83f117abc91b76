"""What to choose: the best method by setting, goal and time, on the same instances.

A user of a network states what it is like, what is wanted and when the answer is due; which
algorithm is right depends on all three. Random, sorting, greedy, the linear assignment problem
(LAP) on rates and on the objective's own values, and local search run on each instance. A method
that does not end in time counts as not there.
"""

import contextlib
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any, Literal, get_args

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import jax
    import pandas as pd

    from experiments.methods import Method
    from experiments.study import Cell, Study

TIME = "three minutes on 2 cores"

Goal = Literal["throughput", "priorities", "fair", "coupled"]

LAP_ON_RATES, LAP_ON_VALUES = "LAP on rates", "LAP on values"
AXES = ("setting", "goal", "deadline_s")
GOALS: dict[str, dict[str, Any]] = {
    "throughput": {"objective": "throughput"},
    "priorities": {"objective": "throughput", "weight_max": 10.0},
    "fair": {"objective": "fair"},
    "coupled": {"objective": "coupled"},
}
"""Name -> what it changes in a scenario."""
TIE = 1e-5
"""Means within this share of the best one are as good: the first method in their order is best."""
_SHARE = 0.9  # of the deadline is an anytime method's budget: it ends a chunk of steps later


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Which method is best where.

    Args:
        settings: what rates depend on, see `python -m experiments.scaling --help`.
        goals: what an assignment is worth. The objectives throughput, fair and coupled, and
            priorities: throughput with weights of the users between 1 and 10.
        deadlines_s: seconds until the answer is due.
        num_users: registered users N.
        num_channels: channels M.
        num_active: requesting users K.
        realizations: instances of each setting and goal; all methods see the same ones.
    """

    settings: tuple[options.Setting, ...] = ("plain", "fading", "multipath", "interference")
    goals: tuple[Goal, ...] = get_args(Goal)
    deadlines_s: tuple[float, ...] = (0.005, 0.05, 1.0)
    num_users: int = 1000
    num_channels: int = 1000
    num_active: int = 800
    realizations: int = 3


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_run(config)
    settings = [name for name in get_args(options.Setting) if name != "fair"]
    options.check_names("--settings", config.settings, settings)
    options.check_names("--goals", config.goals, GOALS)
    times = config.deadlines_s
    if not times or len(set(times)) < len(times) or not all(0 < t < 1e6 for t in times):
        raise ValueError(f"--deadlines-s must be seconds above 0, each once, got {times}")
    scenario(config, "plain", "throughput")  # raises where the sizes do not fit together


def scenario(config: Config, setting: str, goal: str) -> lsa.Scenario:
    """What the instances of a setting and a goal are drawn from.

    Raises:
        ValueError: the sizes do not fit together.
    """
    base = lsa.Scenario(
        num_users=config.num_users,
        num_channels=config.num_channels,
        num_active=config.num_active,
    )
    return base.replace(**{**lsa.SETTINGS[setting], **GOALS[goal]})


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    config = options.quickened(config, settings=("plain", "fading"), realizations=2)
    more = ("realizations", "settings", "goals", "deadlines_s")
    record = options.record("choice", config, without=more)
    out = config.out or options.folder_of("choice", config)
    folder = RunFolder(out, record, identity=(*AXES, "method", "realization"), resume=config.resume)
    from experiments.methods import RANDOM
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    study = Study(cells=cells(config), seed=config.seed, reference=RANDOM)
    return options.Prepared(config, study, folder, resources)


def compared() -> "list[Method]":
    """The methods, the simplest first."""
    from experiments import methods

    def lap_on_values(key: "jax.Array", inst: lsa.Instance) -> lsa.solvers.Solution:
        return lsa.solvers.hungarian(key, inst.without_coupling())

    def separable(inst: lsa.Instance) -> str | None:
        if inst.objective == "coupled":
            return None
        return f"of a separable objective it would be {LAP_ON_VALUES}, which is exact"

    local_search = methods.from_anytime(methods.LOCAL_SEARCH, lsa.solvers.local_search)
    return [
        methods.from_solver(methods.RANDOM, lsa.solvers.random),
        methods.from_solver(methods.SORTED, lsa.solvers.sorted_matching),
        methods.from_solver(methods.GREEDY, lsa.solvers.greedy),
        methods.from_solver(LAP_ON_RATES, methods.optimum_of_rates),
        methods.from_solver(LAP_ON_VALUES, lap_on_values),
        dataclasses.replace(local_search, skip=separable),
    ]


def cells(config: Config) -> "list[Cell]":
    """A cell per setting, goal and deadline."""
    from experiments.study import Cell

    methods = {method.name: method for method in compared()}
    return [
        Cell(
            dict(zip(AXES, (setting, goal, deadline), strict=True)),
            scenario(config, setting, goal),
            methods,
            setting=setting,
            budget_s=_SHARE * deadline,
        )
        for setting in config.settings
        for goal in config.goals
        for deadline in config.deadlines_s
    ]


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs

    outputs.report(
        prepared,
        "choice",
        table=lambda rows: table(prepared.study, rows),
        figure=figure,
        show=lambda summary, rows: print_table(prepared.config, summary),
    )


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per cell and method, of `experiments.summary.summarise`, with `in_time` and `best`.

    Gaps are to the exact optimum of a separable objective; of 'coupled', to the best that any
    method found on the instance by any deadline.
    """
    from experiments.summary import summarise

    # An instance is the same for all deadlines.
    found = rows.groupby(["setting", "goal", "realization"])["value"].transform("max")
    reachable = rows["bound"].where(rows["objective"] != "coupled", found)
    summary = summarise(
        rows.assign(bound=reachable), axes=study.axes, reference=study.reference, paper={}
    )
    summary["in_time"] = summary["seconds"] <= summary["deadline_s"]
    summary["best"] = False
    for _, own in summary[summary["in_time"]].groupby(list(AXES), sort=False):
        good = own["mean"] >= own["mean"].max() * (1 - TIE)
        summary.loc[own.index[good][:1], "best"] = True
    return summary


def print_table(config: Config, summary: "pd.DataFrame") -> None:
    """The gap of each method in percent by cell, the best one marked."""
    from experiments import tables

    sizes = f"N {config.num_users}, M {config.num_channels}, K {config.num_active}"
    tables.print_grid(
        summary.assign(due=summary["deadline_s"].map("{:g} s".format)),
        axes={"setting": "Setting", "goal": "Goal", "due": "Due in"},
        title=f"Gap in %, * best in time, – too late ({sizes})",
        text=cell_text,
        notes=[
            "Gaps are to the exact optimum; with coupled to the best that was found on the "
            "instance. Of methods that are as good the simplest is marked, which stands further "
            "left."
        ],
    )


def cell_text(row: dict[str, Any]) -> str:
    """A gap as it is shown: N/A where the method does not apply, a dash where it is late."""
    if isinstance(row["skipped"], str):
        return "N/A"
    if not row["in_time"]:
        return "–"
    gap = max(row["gap_percent"], 0.0)
    return f"{gap:.2f}{'*' if row['best'] else ''}" if gap >= 0.005 or row["best"] else "0.00"


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """A heat map of gaps per deadline: settings and goals by methods, the best one framed."""
    from experiments import plotting

    deadlines = list(summary["deadline_s"].unique())
    with plotting.heat_maps(stem, columns=len(deadlines)) as panels:
        for axes, deadline in zip(panels, deadlines, strict=True):
            own = summary[summary["deadline_s"] == deadline]
            own = own.assign(
                place=own["goal"] + ", " + own["setting"],
                text=[cell_text(row).rstrip("*") for row in own.to_dict("records")],
                shown=own["gap_percent"].where(own["in_time"]),
            )
            by_goal = own.sort_values(
                "goal", key=lambda goal: goal.map(list(GOALS).index), kind="stable"
            )
            plotting.heat_map(
                axes, by_goal, f"Due in {deadline:g} s", names_places=axes is panels[0]
            )


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

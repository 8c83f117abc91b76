"""Transmit powers under a total budget: gradients against water-filling, alone and jointly.

The paper gives each user the same power. Here the users of a slot share K times that, and methods
differ in how: gradient ascent through the rate model, water-filling's closed form, and both
together with the assignment. Two problems have no closed form: users that share a channel and
interfere there, and a fair utility.
"""

import contextlib
import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal, get_args

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.study import Cell, Study

TIME = "eight minutes on 2 cores"

Problem = Literal["alone", "shared", "fair"]
SIZES = {
    **{f"({N},{M},{K})": lsa.SMALL_SCALES[N, M, K] for N, M, K in lsa.SMALL_SCALES},
    **lsa.SCALES,
}
"""Triples of Table III and scales of Table V by name."""

AXES = ("problem", "setting", "size", "tx_power_dbm")


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Powers under a total budget.

    Args:
        problems: alone: a channel for each user, where water-filling is exact for a given
            assignment; shared: two users on a channel interfere with each other; fair: the sum of
            log(1 + rate in Mbit/s). The last two have no closed form.
        settings: what rates depend on, see `python -m experiments.scaling --help`.
        sizes: triples (N,M,K) of Table III, of more than one request, and scales of Table V.
        tx_power_dbm: power per requesting user in the mean [dBm]; the paper's is 23.
        realizations: instances of each cell; all methods see the same ones.
    """

    problems: tuple[Problem, ...] = get_args(Problem)
    settings: tuple[options.Setting, ...] = ("plain", "fading")
    sizes: tuple[str, ...] = ("(10,15,3)", "(15,20,8)", "I", "III")
    tx_power_dbm: tuple[float, ...] = (23.0, 3.0, -7.0)
    realizations: int = 16


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_run(config)
    settings = [name for name in get_args(options.Setting) if name not in ("fair", "poisson")]
    sizes = [name for name, scenario in SIZES.items() if scenario.num_active > 1]
    options.check_names("--problems", config.problems, get_args(Problem))
    options.check_names("--settings", config.settings, settings)
    options.check_names("--sizes", config.sizes, sizes)
    powers = config.tx_power_dbm
    if not powers or len(set(powers)) < len(powers) or not all(-60 <= p <= 60 for p in powers):
        raise ValueError(f"--tx-power-dbm must be within -60..60 dBm, each once, got {powers}")


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    small = {"sizes": ("(15,20,8)",), "settings": ("fading",), "realizations": 4}
    config = options.quickened(config, **small)
    more = ("realizations", "problems", "settings", "sizes", "tx_power_dbm")
    folder = RunFolder(
        config.out or options.folder_of("power_control", config),
        options.record("power_control", config, without=more),
        identity=(*AXES, "method", "realization"),
        resume=config.resume,
    )
    from experiments.power_methods import EQUAL
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    study = Study(cells=cells(config), seed=config.seed, reference=EQUAL)
    return options.Prepared(config, study, folder, resources)


def cells(config: Config) -> "list[Cell]":
    """A cell per problem, setting, size and power."""
    from experiments import power_methods
    from experiments.study import Cell

    found = []
    for problem in config.problems:
        compared = {method.name: method for method in power_methods.compared(problem)}
        objective = "fair" if problem == "fair" else "throughput"
        for setting in config.settings:
            for size in config.sizes:
                for power_dbm in config.tx_power_dbm:
                    switches = {**lsa.SETTINGS[setting], "objective": objective}
                    found.append(
                        Cell(
                            dict(zip(AXES, (problem, setting, size, power_dbm), strict=True)),
                            SIZES[size].replace(**switches, tx_power_dbm=power_dbm),
                            compared,
                            setting,
                            bound=power_methods.bound
                            if problem == "alone"
                            else power_methods.no_bound,
                            shares_channels=problem == "shared",
                        )
                    )
    return found


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs

    outputs.report(
        prepared,
        "power_control",
        table=lambda rows: table(prepared.study, rows),
        figure=figure,
        show=lambda summary, rows: print_tables(summary),
    )


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per cell and method, of `summarise`, with paired gains in percent and median steps."""
    from experiments.power_methods import EQUAL
    from experiments.summary import mean_interval, summarise

    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    base = rows[rows["method"] == EQUAL].set_index([*AXES, "realization"])["value"]
    rows = rows.set_index([*AXES, "realization"])
    gain = 100 * (rows["value"] / base.reindex(rows.index) - 1)
    by_cell = rows.assign(gain=gain).groupby([*AXES, "method"])
    places = summary.set_index([*AXES, "method"]).index
    halves = by_cell["gain"].apply(mean_interval).loc[places]
    summary["gain_percent"] = [mean for mean, _ in halves]
    summary["gain_half_percent"] = [half for _, half in halves]
    summary["steps"] = by_cell["steps"].median().loc[places].to_numpy()
    return summary


def print_tables(summary: "pd.DataFrame") -> None:
    """Gains over equal power by problem, then what they took."""
    from experiments import tables

    for problem, of_problem in summary.groupby("problem", sort=False):
        unit = "Mbit/s" if problem != "fair" else "utility"
        for setting, own in of_problem.groupby("setting", sort=False):
            tables.print_grid(
                own,
                axes={"size": "Size", "tx_power_dbm": "dBm"},
                title=f"Gain over equal power [%], {problem}, {setting}; equal power in {unit}",
                text=_gain_text,
            )
        by_size = of_problem.groupby(["size", "method"], sort=False)[["seconds", "steps"]]
        tables.print_grid(
            by_size.median().reset_index(),
            axes={"size": "Size"},
            title=f"Milliseconds (steps), {problem}",
            text=lambda row: f"{1e3 * row['seconds']:.2g} ({row['steps']:.0f})",
            notes=_notes(str(problem), of_problem),
        )


def _gain_text(row: dict[str, Any]) -> str:
    from experiments import power_methods

    if row["method"] == power_methods.EQUAL:
        return f"{row['mean']:.0f}"
    gain, half = row["gain_percent"], row["gain_half_percent"]
    places = 3 if abs(gain) < 1 else 2
    return f"{gain:+.{places}f}" + ("" if math.isnan(half) else f" ±{half:.{places}f}")


def _notes(problem: str, own: "pd.DataFrame") -> list[str]:
    if problem != "alone":
        return []
    from experiments.power_methods import EQUAL, PRICED, WATER_FILLING

    gaps = own.groupby("method")["gap_percent"].max()
    return [
        "No assignment and powers are worth more than the bound by prices. Largest mean gap to it: "
        + ", ".join(f"{name} {gaps[name]:.3f} %" for name in (EQUAL, WATER_FILLING, PRICED))
        + "."
    ]


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """How far methods are behind the best one, by power, in the last setting and size."""
    from experiments import plotting

    setting, size = summary[["setting", "size"]].iloc[-1]
    shown = summary[(summary["setting"] == setting) & (summary["size"] == size)]
    best = shown.groupby(["problem", "tx_power_dbm"])["mean"].transform("max")
    shown = shown.assign(mean=100 * (1 - shown["mean"] / best), half=math.nan)
    names = list(summary["method"].unique())
    problems = list(shown["problem"].unique())
    with plotting.figure(stem, columns=len(problems)) as panels:
        for axes, problem in zip(panels, problems, strict=True):
            own = shown[shown["problem"] == problem]
            plotting.sweep_panel(axes, own, "tx_power_dbm", "Behind the best [%]", order=names)
            # What is 0.001 % behind can be told from 0.1 %, and the best has a place.
            axes.set_yscale("symlog", linthresh=1e-3)
            axes.set_ylim(bottom=-3e-4)
            axes.set(
                title=f"{problem}, {setting}, {size}", xlabel="Power per user in the mean [dBm]"
            )


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

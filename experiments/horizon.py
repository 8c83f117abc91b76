"""The discounted objective, Eq. (4), over slots with traffic and primary users; fairness too.

Users ask in bursts and primary users come and go, so that a scheduler may do justice over time: who
had little gets more. Beside proportional fair, round robin and max rate (the exact optimum of each
slot, from scratch and from the duals of the slot before) stand greedy, random and a language
model, which look at one slot alone.
"""

import contextlib
import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.horizon_policies import Policy, Slot
    from experiments.study import Cell, Study

TIME = "four minutes on 2 cores"

SIZES = {
    "(15,20,8)": lsa.SMALL_SCALES[15, 20, 8].replace(num_active_min=2),
    "crowded": lsa.Scenario(num_users=100, num_channels=40, num_active=60, num_active_min=20),
    **{
        name: scale.replace(num_active_min=scale.num_active // 2)
        for name, scale in lsa.SCALES.items()
    },
}
"""Networks by name; in `crowded` more users may ask than there are channels."""


@dataclasses.dataclass(frozen=True)
class Config(options.SlotConfig):
    """Scheduling over slots.

    Args:
        sizes: (15,20,8) of Table III, I, II and III of Table V, and crowded: 20 to 60 of 100 users
            ask for 40 channels. The number of requests varies, from half of K on at the scales.
        setting: what rates depend on, see `python -m experiments.scaling --help`. With multipath,
            the default, a slot's fading is much like the last one's; with fading it is drawn anew.
        slots: of a realisation.
        discount: gamma of Eq. (4), within 0..1.
        realizations: networks, each with its traffic; the same ones for every method.
    """

    sizes: tuple[str, ...] = ("crowded", "I")
    setting: options.Setting = "multipath"
    slots: int = 32
    discount: float = 0.95
    realizations: int = 8


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check(config)
    options.check_names("--sizes", config.sizes, SIZES)
    if options.resolved(config).objective != "throughput":
        raise ValueError("--objective must be throughput: what is fair here is over time")
    if config.slots < 1:
        raise ValueError(f"--slots must be at least 1, got {config.slots}")
    if not 0 <= config.discount <= 1:
        raise ValueError(f"--discount must be within 0..1, got {config.discount}")
    if config.setting == "poisson":
        raise ValueError(
            "--setting must not be poisson: traffic over slots needs a fixed number of users"
        )


def scenarios(config: Config) -> dict[str, lsa.Scenario]:
    """What slots are drawn from, by size."""
    return {size: SIZES[size].replace(**lsa.SETTINGS[config.setting]) for size in config.sizes}


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first slot, cheap checks first."""
    check(config)
    config = options.quickened(config, sizes=("crowded",), realizations=3)
    config = options.resolved(config)
    folder = RunFolder(
        options.out_folder("horizon", config),
        options.record("horizon", config, without=("realizations", "sizes")),
        identity=("size", "method", "realization"),
        resume=config.resume,
    )
    from experiments import horizon_policies, language_model, methods
    from experiments.study import Cell, Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    others = [
        methods.from_solver(methods.RANDOM, lsa.solvers.random),
        methods.from_solver(methods.GREEDY, lsa.solvers.greedy),
        methods.from_solver(horizon_policies.MAX_RATE, lsa.solvers.hungarian),
    ]
    by_slot = language_model.with_model(others, config, resources, folder.metadata, cold=True)
    compared = [*map(horizon_policies.of_one_slot, by_slot), *horizon_policies.over_slots()]
    policies = {policy.name: policy for policy in compared}
    study = Study(
        cells=[
            Cell({"size": size}, scenario, policies, config.setting)
            for size, scenario in scenarios(config).items()
        ],
        seed=config.seed,
        reference=horizon_policies.MAX_RATE,
    )
    return options.Prepared(config, study, folder, resources)


def run(prepared: options.Prepared[Config]) -> None:
    """All networks that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs

    config = prepared.config
    outputs.report(
        prepared,
        "horizon",
        table=lambda rows: table(prepared.study, rows),
        figure=figure,
        show=lambda summary, rows: print_table(config, summary),
        measure=functools.partial(measure, config),
        warm_up=functools.partial(warm_up, config),
    )


def warm_up(config: Config, study: "Study", cell: "Cell") -> None:
    """Compiles each policy for the cell, with a first slot and with a later one."""
    from experiments import horizon_policies

    slots = _slots(study, cell, 0, 2)
    for policy in cell.methods.values():
        if policy.skip(slots[0].inst) is None:
            horizon_policies.history(policy, _scenario(cell), slots)


def measure(config: Config, study: "Study", cell: "Cell", realization: int) -> list[dict[str, Any]]:
    """A row per policy: its discounted sum over the slots, and what users had of them."""
    from experiments import rows
    from experiments import study as loop

    slots = _slots(study, cell, realization, config.slots)
    bounds = np.array([slot.bound for slot in slots])
    common = loop.about(study, cell) | {
        **cell.axes,
        "realization": realization,
        "slots": config.slots,
        "num_active": sum(int(slot.inst.user_mask.sum()) for slot in slots) / len(slots),
        "bound": float(lsa.discounted_utility(bounds, config.discount)),
    }
    found = []
    for name, policy in cell.methods.items():
        reason = policy.skip(slots[0].inst)
        if reason is not None:
            found.append({**common, "method": name, "status": rows.SKIPPED, "detail": reason})
            continue
        found.append({**common, "method": name, **_columns(config, policy, cell, slots)})
    return found


def _columns(config: Config, policy: "Policy", cell: "Cell", slots: "list[Slot]") -> dict[str, Any]:
    from experiments import horizon_policies

    found = horizon_policies.history(policy, _scenario(cell), slots)
    unserved, asked = int(found.unserved.sum()), int(found.num_requests.sum())
    return {
        "value": float(lsa.discounted_utility(found.value, config.discount)),
        "value_bps": float(found.value.mean()),
        "jain_index": float(lsa.jain_index(found.total_bps, found.num_requests > 0)),
        "unserved": unserved,
        "served_share": 1 - unserved / max(asked, 1),
        "seconds": float(np.median(found.seconds)),
        "status": "ok",
        "detail": "",
        **found.columns,
    }


def _slots(study: "Study", cell: "Cell", realization: int, count: int) -> "list[Slot]":
    from experiments import horizon_policies
    from experiments import study as loop

    key = loop.instance_key(study.seed, cell.source, realization)
    return horizon_policies.slots_of(key, _scenario(cell), count)


def _scenario(cell: "Cell") -> lsa.Scenario:
    assert isinstance(cell.source, lsa.Scenario)
    return cell.source


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per size and method: of `summarise`, with throughput, fairness and shares served."""
    from experiments.horizon_policies import BESIDE
    from experiments.summary import mean_interval, summarise

    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    rows = rows.assign(throughput_mbps=rows["value_bps"] / 1e6)
    by_cell = rows.groupby(["size", "method"])
    places = summary.set_index(["size", "method"]).index
    for name in [name for name in BESIDE if name in rows]:
        summary[name] = by_cell[name].median().loc[places].to_numpy()
    for name in ("throughput_mbps", "jain_index", "served_share"):
        found = by_cell[name].apply(lambda own: mean_interval(own.dropna())).loc[places]
        summary[name] = [mean for mean, _ in found]
        summary[f"{name}_half"] = [half for _, half in found]
    return summary


def print_table(config: Config, summary: "pd.DataFrame") -> None:
    """The discounted sum, what it was per slot, fairness over the users, time per slot."""
    from experiments import tables
    from experiments.horizon_policies import MAX_RATE
    from experiments.tables import Column

    shown = summary.assign(
        served=100 * summary["served_share"],
        throughput=summary["throughput_mbps"] / 1e3,
        throughput_half=summary["throughput_mbps_half"] / 1e3,
    )
    tables.print_table(
        shown,
        axes=["size"],
        title=f"Discounted sum over {config.slots} slots, discount {config.discount}, setting "
        f"{config.setting}, model {config.model}",
        reference=MAX_RATE,
        more=[
            Column("Gbit/s\na slot", "throughput", None, ".1f", ".2f"),
            Column("Jain", "jain_index", "jain_index_half", ".3f", ".3f"),
            Column("Served,\n%", "served", None, ".1f", ".1f"),
        ],
        notes=_notes(summary),
    )


def _notes(summary: "pd.DataFrame") -> list[str]:
    from experiments.horizon_policies import WARM_START
    from experiments.methods import LLM, LLM_COLD

    by_method = {name: own.set_index("size") for name, own in summary.groupby("method")}
    own = by_method[WARM_START]
    notes = [
        "What is assigned now changes nothing later, so that the exact optimum of each slot is the "
        "optimum of Eq. (4), whatever the discount. Jain: of the users' rates over all slots.",
        "The assignment problem alone, its rates being there, from the duals of the slot before: "
        f"{_instead(own['warm_s'], own['cold_s'])} from scratch.",
    ]
    if LLM_COLD in by_method and by_method[LLM_COLD]["prefill_s"].notna().any():
        seconds = [by_method[name]["prefill_s"] for name in (LLM, LLM_COLD)]
        notes.append(
            "The model's prompt up to its answer, what it shares with the slot before being kept: "
            f"{_instead(*seconds)} without."
        )
    return notes


def _instead(kept: "pd.Series[float]", fresh: "pd.Series[float]") -> str:
    """Seconds of a slot that takes from the one before, and of one that does not, by size."""
    from experiments.report_numbers import number

    return ", ".join(
        f"{size} {number(1e3 * seconds, 2)} ms instead of {number(1e3 * fresh[size], 2)} ms"
        for size, seconds in kept.items()
    )


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Fairness against throughput, a panel for each size."""
    from experiments import plotting

    sizes = list(summary["size"].unique())
    names = list(summary["method"].unique())
    with plotting.figure(stem, columns=len(sizes)) as panels:
        for axes, size in zip(panels, sizes, strict=True):
            own = summary[summary["size"] == size].assign(
                x=lambda own: own["throughput_mbps"] / 1e3,
                x_half=lambda own: own["throughput_mbps_half"] / 1e3,
                y=lambda own: own["jain_index"],
                y_half=lambda own: own["jain_index_half"],
            )
            plotting.trade_panel(axes, own, "Throughput a slot [Gbit/s]", order=names)
            axes.set(title=size, ylabel="Jain's index of the users' rates")


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

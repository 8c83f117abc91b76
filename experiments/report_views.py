"""What the report says of each study: title, a sentence from the numbers, figures, table."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments import anytime, shares
from experiments import report_charts as charts
from experiments import report_leads as leads
from experiments.report_charts import Figure
from experiments.report_numbers import number
from experiments.report_tables import SPELLED, axes_of, of_axis


@dataclasses.dataclass(frozen=True)
class View:
    """How a study is shown.

    Attributes:
        title: of its section; setting and objective are added.
        about: what it is, in a sentence.
        lead: table -> what to see, in a sentence made of its numbers.
        figures: table -> its figures.
        table: table -> the rows that are shown.
    """

    title: str
    about: str
    lead: Callable[[pd.DataFrame], str]
    figures: Callable[[pd.DataFrame], Sequence[Figure]]
    table: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table


def _values_and_time(table: pd.DataFrame) -> list[Figure]:
    axis = axes_of(table)[0]
    unit = table["unit"].iloc[0]
    found = [
        charts.dots(
            table,
            title="Value and the paper's number"
            if table["paper_mean"].notna().any()
            else "Value by method",
            what=f"Mean [{unit}]",
            value="mean",
            low="mean_low",
            high="mean_high",
            label="mean_label",
            where=axis.capitalize(),
            paper="paper_mean",
        )
    ]
    if table["gap_percent"].notna().any():
        shown = table.assign(gap_label=table["gap_percent_label"])
        found.append(charts.against_time(shown, best=leads.best(table), where=axis.capitalize()))
    return found


def _choice_figures(table: pd.DataFrame) -> list[Figure]:
    table = table.copy()
    in_time = table["in_time"].astype(bool) & table["skipped"].isna()
    gap = table["gap_percent"].clip(lower=0)
    late = table["skipped"].notna().map({True: "N/A", False: "late"})
    table["text"] = gap.map(lambda g: f"{g:.2f}" if g < 10 else f"{g:.0f}").where(in_time, late)
    table["gap"] = gap.where(in_time)
    table["line"] = table["goal"] + ", " + table["setting"]
    table["place"] = table["deadline_s"].map("{:g} s".format)
    ordered = table.sort_values(
        "goal", key=lambda g: g.map(_order_of(table["goal"])), kind="stable"
    )
    return [charts.grid(ordered, title="Gap by goal and setting", where="Due in")]


def _order_of(column: pd.Series) -> Mapping[Any, int]:
    return {name: i for i, name in enumerate(column.unique())}


def _agents_figures(table: pd.DataFrame) -> list[Figure]:
    own = leads.over_seeds(table)
    shown = own[~own["method"].isin(("Random", "Sorted matching", "Exact optimum"))]
    return [
        charts.dots(
            shown,
            title="Gap by method",
            what=f"Gap to {leads.best(table)} [%]",
            value="gap_percent",
            low="gap_percent_low",
            high="gap_percent_high",
            label="gap_percent_label",
            where="Size",
        )
    ]


def _latency_figures(table: pd.DataFrame) -> list[Figure]:
    high = table["p95_s"] if "p95_s" in table else table["seconds"]
    shown = table.assign(high=high, label=[f"{number(s, 3)} s" for s in table["seconds"]])
    return [
        charts.dots(
            shown,
            title="Seconds per decision",
            what="Median, up to the 95 % quantile [s]",
            value="seconds",
            low="seconds",
            high="high",
            label="label",
            where="Size",
            paper="paper_s",
            log=True,
        )
    ]


def _sweep(
    x: str, x_title: str, what: str, value: str, half: str, *, over_time: bool = False
) -> Callable[..., list[Figure]]:
    """Figures of a study whose last axis is a number."""

    def figures(table: pd.DataFrame) -> list[Figure]:
        rest = [name for name in axes_of(table) if name != x]
        place = [", ".join(of_axis(a, row[a]) for a in rest) for row in table.to_dict("records")]
        return [
            charts.lines(
                table.assign(place=place),
                title=what,
                x=x,
                x_title=x_title,
                what=what,
                value=value,
                half=half,
                label=f"{value}_label",
                where=", ".join(SPELLED.get(a, a) for a in rest).capitalize() or "All",
                over_time=over_time,
            )
        ]

    return figures


def _adaptation_figures(table: pd.DataFrame) -> list[Figure]:
    moved = table[(table["move"] != "home") & (table["method"] != "Random")]
    return [
        charts.dots(
            moved,
            title="Gap as it came from home",
            what="Gap to the optimum or, in coupled, an upper bound [%]",
            value="gap_percent",
            low="gap_percent_low",
            high="gap_percent_high",
            label="gap_percent_label",
            where="Move",
        ),
        charts.dots(
            moved,
            title="Lost without being adapted",
            what="Gap as it came minus gap once adapted [%]",
            value="lost_percent",
            low="lost_percent_low",
            high="lost_percent_high",
            label="lost_percent_label",
            where="Move",
        ),
    ]


def _ablation_figures(table: pd.DataFrame) -> list[Figure]:
    own = leads.over_seeds(table)
    found = [shares.valid(row) for row in own.to_dict("records")]
    own = own.assign(
        raw_valid_percent_low=[share.low for share in found],
        raw_valid_percent_high=[share.high for share in found],
        raw_valid_percent_label=[f"{share.text()}, {share.counted}" for share in found],
    )
    return [
        charts.dots(
            own,
            title=title,
            what=what,
            value=name,
            low=f"{name}_low",
            high=f"{name}_high",
            label=f"{name}_label",
            where="Setting, size",
            paper=paper,
        )
        for title, what, name, paper in (
            ("Validity", "Valid answers [%]", "raw_valid_percent", "paper_valid_percent"),
            ("Value, repair off", "Gap to the exact optimum [%]", "gap_percent", None),
        )
    ]


def _ahead(table: pd.DataFrame) -> pd.DataFrame:
    found = anytime.leaders(table)
    return found.assign(by_s=found["by_s"].map("{:.3g}".format).astype(float))


def _last_step(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["step"] == table["step"].max()]


def _horizon_figures(table: pd.DataFrame) -> list[Figure]:
    return [
        charts.dots(
            table,
            title=title,
            what=what,
            value=name,
            low=f"{name}_low",
            high=f"{name}_high",
            label=f"{name}_label",
            where="Size",
        )
        for title, what, name in (
            ("Throughput", "Throughput a slot [Mbit/s]", "throughput_mbps"),
            ("Fairness", "Jain's index of the users' rates", "jain_index"),
        )
    ]


def _rewards_table(table: pd.DataFrame) -> pd.DataFrame:
    mean = table.pivot_table(index="program", columns="form", values="total", sort=False)
    return mean.round(3).reset_index()


def _generic(table: pd.DataFrame) -> list[Figure]:
    known = "method" in table and "mean_label" in table and axes_of(table)
    return _values_and_time(table) if known else []


def _nothing(table: pd.DataFrame) -> list[Figure]:
    return []


def _without_slot(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="slot", errors="ignore")


VIEWS: dict[str, View] = {
    "scaling": View(
        "Scaling",
        "Table V: up to 2000 users and 2000 channels, every method on the same instances.",
        leads.of_values,
        _values_and_time,
    ),
    "small_scale": View(
        "Small scales",
        "Table III: the paper's eight triples (N, M, K), every method on the same instances.",
        leads.of_small,
        _values_and_time,
    ),
    "choice": View(
        "Which method to choose",
        "The best method by goal, setting and the time there is.",
        leads.of_choice,
        _choice_figures,
    ),
    "anytime": View(
        "What there is by when",
        "Each method's gap over wall time, and which is ahead from when on.",
        leads.of_anytime,
        _sweep("by_s", "Time [s]", "Gap [%]", "gap_percent", "gap_half_percent", over_time=True),
        _ahead,
    ),
    "agents": View(
        "Agents",
        "Deep reinforcement learning, trained with several seeds, on held-out instances.",
        leads.of_agents,
        _agents_figures,
        leads.over_seeds,
    ),
    "latency": View(
        "Seconds per decision",
        "Table IV: warm, one instance at a time; compilation apart.",
        leads.of_latency,
        _latency_figures,
    ),
    "context": View(
        "Prompt budgets",
        "Table VI: what tokens of the prompt are worth, and what they cost.",
        leads.of_context,
        _sweep(
            "prompt_budget", "Prompt budget [tokens]", "Gap [%]", "gap_percent", "gap_half_percent"
        ),
    ),
    "adaptation": View(
        "Adaptation",
        "Table VII in numbers: methods that are made for one place and moved to others, as they "
        "are and adapted.",
        leads.of_adaptation,
        _adaptation_figures,
    ),
    "ablation": View(
        "Terms of the reward",
        "Table VIII: the small model trained with and without them, its own answers on common "
        "instances.",
        leads.of_ablation,
        _ablation_figures,
        leads.over_seeds,
    ),
    "dynamics": View(
        "Weightings over the steps",
        "Figure 2: GRPO of the small model under five weightings; parts are without their weights.",
        leads.of_dynamics,
        _sweep("step", "Step of GRPO", "Mean over seeds", "mean", "mean_half"),
        _last_step,
    ),
    "horizon": View(
        "Over many slots",
        "The discounted objective, Eq. (4), with traffic and primary users.",
        leads.of_horizon,
        _horizon_figures,
    ),
    "power_control": View(
        "Powers under a total budget",
        "Gradient ascent through the rates beside water-filling, and jointly with channels.",
        leads.of_power,
        _sweep(
            "tx_power_dbm",
            "Power per user in the mean [dBm]",
            "Gain over equal power [%]",
            "gain_percent",
            "gain_half_percent",
        ),
    ),
    "repair_ratio": View(
        "What the repair may lose",
        "Theorem 1: the repaired answer over the best that keeps as many suggestions.",
        leads.of_repair,
        _nothing,
        _without_slot,
    ),
    "rewards_forms": View(
        "Rewards of programs",
        "Honest and degenerate programs in both forms of the reward; means over all cells.",
        leads.of_rewards,
        _nothing,
        _rewards_table,
    ),
}
"""Study -> how it is shown; any other with a summary is shown as well as it can be."""

OTHER = View("", "", leads.of_any, _generic)


def view_of(study: str) -> View:
    """The view of a study, or of a training."""
    return VIEWS.get({"train_agent": "agents"}.get(study, study), OTHER)

"""What the report says of each study: title, a sentence from the numbers, figures, table."""

import pandas as pd

from experiments import anytime, choice, context, power_control, shares
from experiments import report_charts as charts
from experiments import report_figures as figures
from experiments import report_leads as leads
from experiments.report_learned import LEARNED
from experiments.report_parts import Figure, View
from experiments.report_tables import axes_of


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
    return figures.values_and_time(table) if known else []


def _nothing(table: pd.DataFrame) -> list[Figure]:
    return []


def _without_slot(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="slot", errors="ignore")


_VALUED = ("unit", "mean", "mean_half", "gap_percent", "gap_half_percent", "seconds", "paper_mean")
"""Of summaries whose values are shown beside the paper's."""

VIEWS: dict[str, View] = {
    "scaling": View(
        "Scaling",
        "Table V: up to 2000 users and 2000 channels, every method on the same instances.",
        leads.of_values,
        figures.values_and_time,
        axes=("scale",),
        own=_VALUED,
    ),
    "small_scale": View(
        "Small scales",
        "Table III: the paper's eight triples (N, M, K), every method on the same instances.",
        leads.of_small,
        figures.values_and_time,
        axes=("triple",),
        own=_VALUED,
    ),
    "choice": View(
        "Which method to choose",
        "The best method by goal, setting and the time there is.",
        leads.of_choice,
        figures.choice_figures,
        axes=choice.AXES,
        own=("mean", "gap_percent", "skipped", "in_time", "best"),
    ),
    "anytime": View(
        "What there is by when",
        "Each method's gap over wall time, and which is ahead from when on.",
        leads.of_anytime,
        figures.sweep(
            "by_s", "Time [s]", "Gap [%]", "gap_percent", "gap_half_percent", over_time=True
        ),
        _ahead,
        axes=(*anytime.AXES, "by_s"),
        own=("gap_percent", "gap_half_percent", "ahead"),
    ),
    "agents": View(
        "Agents",
        "Deep reinforcement learning, trained with several seeds, on held-out instances.",
        leads.of_agents,
        figures.agents_figures,
        leads.over_seeds,
        axes=("size",),
        own=(*_VALUED, "agent_seed"),
    ),
    "latency": View(
        "Seconds per decision",
        "Table IV: warm, one instance at a time; compilation apart.",
        leads.of_latency,
        figures.latency_figures,
        axes=("size",),
        own=("seconds", "skipped", "p95_s", "compile_s", "paper_s"),
    ),
    "context": View(
        "Prompt budgets",
        "Table VI: what tokens and levels of the prompt are worth, and what they cost.",
        leads.of_context,
        figures.context_figures,
        axes=context.AXES,
        own=(*_VALUED, "prompt_tokens", "detail_percent", "level_percent", "paper_s"),
    ),
    "adaptation": View(
        "Adaptation",
        "Table VII in numbers: methods that are made for one place and moved to others, as they "
        "are and adapted.",
        leads.of_adaptation,
        _adaptation_figures,
        axes=("move",),
        own=("gap_percent", "lost_percent", "home_gap_percent", "made_gap_percent"),
    ),
    "ablation": View(
        "Terms of the reward",
        "Table VIII: the small model trained with and without them, its own answers on common "
        "instances.",
        leads.of_ablation,
        _ablation_figures,
        leads.over_seeds,
        axes=("setting", "size"),
        own=("gap_percent", "raw_valid_percent", "paper_valid_percent", "agent_seed"),
    ),
    "dynamics": View(
        "Weightings over the steps",
        "Figure 2: GRPO of the small model under five weightings; parts are without their weights.",
        leads.of_dynamics,
        figures.sweep("step", "Step of GRPO", "Mean over seeds", "mean", "mean_half"),
        _last_step,
        axes=("part", "step"),
        own=("mean", "mean_half", "seeds"),
    ),
    **LEARNED,
    "horizon": View(
        "Over many slots",
        "The discounted objective, Eq. (4), with traffic and primary users.",
        leads.of_horizon,
        _horizon_figures,
        axes=("size",),
        own=("throughput_mbps", "jain_index", "served_share"),
    ),
    "power_control": View(
        "Powers under a total budget",
        "Gradient ascent through the rates beside water-filling, and jointly with channels.",
        leads.of_power,
        figures.sweep(
            "tx_power_dbm",
            "Power per user in the mean [dBm]",
            "Gain over equal power [%]",
            "gain_percent",
            "gain_half_percent",
        ),
        axes=power_control.AXES,
        own=("gain_percent", "gain_half_percent", "steps"),
    ),
    "repair_ratio": View(
        "What the repair may lose",
        "Theorem 1: the repaired answer over the best that keeps as many suggestions.",
        leads.of_repair,
        _nothing,
        _without_slot,
        axes=(),
        own=("what", "model", "rule", "worst_ratio", "mean_ratio"),
    ),
    "rewards_forms": View(
        "Rewards of programs",
        "Honest and degenerate programs in both forms of the reward; means over all cells.",
        leads.of_rewards,
        _nothing,
        _rewards_table,
        axes=(),
        own=("program", "honest", "form", "total"),
    ),
}
"""Study -> how it is shown; any other with a summary is shown as well as it can be."""

OTHER = View("", "", leads.of_any, _generic)


def view_of(study: str) -> View:
    """The view of a study, or of a training."""
    return VIEWS.get({"train_agent": "agents"}.get(study, study), OTHER)

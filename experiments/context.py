"""Prompt budgets (Table VI): what more tokens, and more detail in them, are worth and cost.

The budget is the most tokens that a prompt may take, the detail the share of it for numbers of
users and channels: what else the prompt says is the same for every slot of a setting, and stays in
a prefix cache. A program sees all of the numbers as arrays, however few of them the prompt shows.
"""

import contextlib
import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING, Literal

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.study import Cell, Study
    from llm.models import Model
    from llm.sandbox import Sandbox

TIME = "a minute on 2 cores"

AXES = ("prompt_budget", "prompt_detail")
PAPER_MBPS = {1024: 36254.0, 2048: 41891.0, 4096: 37158.0}
PAPER_S = {1024: 4.63, 2048: 7.46, 4096: 16.32}
"""Table VI of the paper, by budget; its prompts use all of it, as detail 1 does here."""


@dataclasses.dataclass(frozen=True)
class Config(options.SlotConfig):
    """Prompt budgets and details.

    Args:
        scale: of Table V.
        budgets: the most tokens of a prompt.
        details: shares of the budget for numbers of users and channels, 0 to 1; --prompt-tokens
            and --prompt-detail have no effect beside these.
        realizations: instances of each budget and detail; the same ones for all.
    """

    scale: Literal["I", "II", "III"] = "II"
    budgets: tuple[int, ...] = (512, 1024, 2048, 4096)
    details: tuple[float, ...] = (0.0, 1 / 32, 0.25, 1.0)
    realizations: int = 16


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check(config)
    if config.scale not in lsa.SCALES:
        raise ValueError(f"--scale must be one of {', '.join(lsa.SCALES)}, got {config.scale!r}")
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


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    config = options.resolved(options.quickened(config, realizations=4))
    folder = RunFolder(
        options.out_folder("context", config),
        options.record("context", config, without=("realizations", "budgets", "details")),
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


def cells(config: Config, model: "Model", box: "Sandbox | None") -> "list[Cell]":
    """A cell per budget and detail, all with the same instances."""
    from experiments import language_model, methods
    from experiments.study import Cell

    switches = {**lsa.SETTINGS[config.setting], "objective": config.objective}
    scenario = lsa.SCALES[config.scale].replace(**switches)
    found = []
    for budget in config.budgets:
        for detail in config.details:
            asked = language_model.from_language_model(
                model,
                box,
                prompt_tokens=budget,
                prompt_detail=detail,
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
            axes = dict(zip(AXES, (budget, detail), strict=True))
            named = {method.name: method for method in compared}
            found.append(Cell(axes, scenario, named, config.setting))
    return found


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs

    outputs.report(
        prepared,
        "context",
        table=lambda rows: table(prepared.config, prepared.study, rows),
        figure=figure,
        show=lambda summary, rows: print_table(prepared.config, summary),
    )


def table(config: Config, study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per cell and method: of `summarise`, with the prompt's tokens and what detail adds.

    `detail_percent` is the paired difference to the least detail of the same budget, in percent of
    the exact optimum or bound.
    """
    from experiments import methods
    from experiments.summary import mean_interval, summarise

    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    prompts = rows[rows["method"] == methods.LLM].groupby(list(AXES))
    about = (
        prompts[["prompt_tokens", "static_tokens"]].median() if "prompt_tokens" in rows else None
    )
    share = rows.set_index([*AXES, "method", "realization"]).eval("100 * value / bound")
    least = min(config.details)
    largest = (config.setting, config.objective, config.scale) == ("plain", "throughput", "II")
    more = []
    for row in summary.to_dict("records"):
        budget, detail, method = (row[name] for name in (*AXES, "method"))
        found = {"prompt_tokens": math.nan, "shared_percent": math.nan}
        if method in (methods.LLM, methods.LLM_RAW) and about is not None:
            tokens, static = about.loc[(budget, detail)]
            found = {"prompt_tokens": tokens, "shared_percent": 100 * static / tokens}
        own, base = (share.get((budget, d, method)) for d in (detail, least))
        worth = (math.nan, math.nan)
        if detail != least and own is not None and base is not None and row["realizations"]:
            worth = mean_interval((own - base).dropna())
        paper = largest and detail == max(config.details) and method == methods.LLM
        found |= {"detail_percent": worth[0], "detail_half_percent": worth[1]}
        found["paper_mean"] = PAPER_MBPS.get(budget, math.nan) if paper else math.nan
        found["paper_s"] = PAPER_S.get(budget, math.nan) if paper else math.nan
        more.append(found)
    return summary.assign(**{name: [found[name] for found in more] for name in more[0]})


def print_table(config: Config, summary: "pd.DataFrame") -> None:
    """Value, gap, latency and tokens by budget and detail."""
    from experiments import methods, tables
    from experiments.tables import Column

    best = "bound" if config.objective == "coupled" else "optimum"
    raw = summary[summary["method"] == methods.LLM_RAW].reset_index(drop=True)
    own = summary[summary["method"] == methods.LLM].reset_index(drop=True)
    others = summary[~summary["method"].isin([methods.LLM, methods.LLM_RAW])]
    gaps = others.groupby("method", sort=False)["gap_percent"].first()
    shown = own.assign(
        method=own["prompt_detail"].map("detail {:.3g}".format),
        raw_gap=raw["gap_percent"],
        raw_gap_half=raw["gap_half_percent"],
        adds=raw["detail_percent"],
        adds_half=raw["detail_half_percent"],
        ms=1e3 * own["seconds"],
        paper_ms=1e3 * own["paper_s"],
    )
    places = 2 if config.objective == "fair" else 0
    tables.print_columns(
        shown,
        axes=AXES[:1],
        title=f"Prompts at scale {config.scale}, setting {config.setting}, model {config.model}",
        columns=[
            Column("Mean", "mean", None, f".{places}f", f".{places or 1}f"),
            Column(f"Gap to\n{best}, %", "gap_percent", None, ".1f", ".2f"),
            Column("Repair\noff, %", "raw_gap", "raw_gap_half", ".1f", ".2f"),
            Column("Detail\nadds, %", "adds", "adds_half", "+.1f", "+.2f"),
            Column("Valid,\n%", "raw_valid_percent", None, ".0f", ".0f"),
            Column("ms", "ms", None, ".0f", ".2g"),
            Column("Tokens", "prompt_tokens", None, ".0f", ".0f"),
            Column("Shared,\n%", "shared_percent", None, ".0f", ".0f"),
            Column("Paper", "paper_mean", None, ".0f", ".0f"),
            Column("Paper,\nms", "paper_ms", None, ".0f", ".0f"),
        ],
        notes=[
            "Repair off: the gap of the model's own answers, where one that fails is worth "
            "nothing. Detail adds: what it adds to their value beside the least detail of the same "
            f"budget, in percent of the {best}, on the same instances. Shared: of the prompt's "
            "tokens, by all slots of the setting.",
            "Gaps without a model: "
            + ", ".join(f"{name} {gap:.2f} %" for name, gap in gaps.items())
            + ".",
        ],
    )


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Gap of the model's own answers, and seconds per decision, by budget, a line per detail."""
    from experiments import methods, plotting

    own = summary[(summary["method"] == methods.LLM_RAW) & summary["skipped"].isna()]
    own = own.assign(method=own["prompt_detail"].map("detail {:.3g}".format))
    names = list(own["method"].unique())
    with plotting.figure(stem, columns=2) as (left, right):
        shown = own.assign(mean=own["gap_percent"], half=own["gap_half_percent"])
        plotting.sweep_panel(left, shown, "prompt_budget", "Gap, repair off [%]", order=names)
        shown = own.assign(mean=own["seconds"], half=float("nan"))
        plotting.sweep_panel(
            right, shown, "prompt_budget", "Seconds per decision (median)", order=names
        )
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            budgets = list(summary["prompt_budget"].unique())
            axes.set_xticks(budgets, budgets)
            axes.set_xlabel("Prompt budget [tokens]")
            axes.set_ylim(bottom=0)
        left.set_ylim(top=105)


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

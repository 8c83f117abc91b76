"""The scaling study (Table V): a language model's programs against every baseline, paired.

On each instance a language model writes an allocation program, the program is executed in the
sandbox and its answer repaired; the baselines see the same instance. Grouped-KM is anytime and gets
the wall time that the model took.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import lsajax as lsa
from experiments import cli, methods, plotting, report
from experiments.results import RunFolder, config_of
from experiments.summary import summarise
from llm.decision.serialize import serialize
from llm.models import load_model
from llm.sandbox import Limits, Sandbox

PAPER_MBPS = {
    (scale, method): value
    for method, values in {
        methods.LLM: (26545, 41891, 55099),
        methods.GROUPED: (27703, 38540, 53096),
        methods.RANDOM: (20713, 32702, 43159),
    }.items()
    for scale, value in zip(("I", "II", "III"), values, strict=True)
}
"""Table V of the paper [Mbit/s]."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The scaling study.

    Args:
        scales: scales of Table V: I (1000,1000,200), II (1500,1500,300), III (2000,2000,400).
        realizations: instances per scale; every method sees the same ones.
        setting: what rates depend on. plain: distance and bandwidth; fading: Rayleigh fading per
            user and channel; wideband: a carrier per channel; interference: I_m > 0 on some
            channels; coupled: the objective of Eq. (8), where neighbouring channels leak.
        model: "embedded" (the stand-in shipped here), a folder or hub name of a transformers
            checkpoint, or the URL of an OpenAI-compatible server.
        temperature: of the sampling; 0 is greedy.
        prompt_tokens: prompt budget; the model's own if not given.
        budget_s: seconds for the anytime methods; the model's own time per decision if not given.
        seed: realisation i of a seed is the same instance whatever else is asked for.
        out: folder for rows.parquet, run.json, summary.csv and the figure.
        resume: go on with the rows that are in the folder.
    """

    scales: tuple[Literal["I", "II", "III"], ...] = ("I", "II", "III")
    realizations: int = 8
    setting: Literal["plain", "fading", "wideband", "interference", "coupled"] = "plain"
    model: str = "embedded"
    temperature: float = 1.0
    prompt_tokens: int | None = None
    budget_s: float | None = None
    seed: int = 0
    out: pathlib.Path = pathlib.Path("results/scaling")
    resume: bool = False

    @property
    def coupled(self) -> bool:
        """Whether Eq. (8) is the objective."""
        return self.setting == "coupled"

    @property
    def method_names(self) -> list[str]:
        """Rows of the table, in order."""
        names = [methods.LLM, methods.LLM_RAW, methods.RANDOM, methods.GREEDY]
        names += [methods.SORTED, methods.GROUPED]
        if self.coupled:
            return [*names, methods.OPTIMUM_UNCOUPLED, methods.LOCAL_SEARCH]
        return [*names, methods.OPTIMUM]


@dataclasses.dataclass
class Study:
    """What a run needs, all of it checked."""

    options: Options
    folder: RunFolder
    model: Any
    box: Sandbox


def prepare(options: Options) -> Study:
    """Checks everything that can be checked before the first completion is asked for."""
    _check(options)
    # Rows of a smaller run are rows of a larger one too: neither size makes it another run.
    config = config_of(options, without=("out", "resume", "realizations", "scales"))
    folder = RunFolder(options.out, config, resume=options.resume)
    model = load_model(options.model)
    budget = model.prompt_budget if options.prompt_tokens is None else options.prompt_tokens
    context = getattr(model, "context", None)
    if context is not None and budget + model.max_new_tokens > context:
        raise ValueError(
            f"--prompt-tokens must be at most {context - model.max_new_tokens}, the model's "
            f"context of {context} less {model.max_new_tokens} for its answer, got {budget}"
        )
    for scale in options.scales:
        _, inst = instance(options, scale, 0)
        serialize(inst, model.count_tokens, budget)
    # The program's own CPU limit is loose beside the milliseconds that an exact solver takes.
    box = Sandbox(workers=1, limits=Limits(wall_s=10.0, cpu_s=5.0, memory_mb=1024))
    folder.metadata = {"model": model.name, "sandbox": box.metadata}
    return Study(options, folder, model, box)


def _check(options: Options) -> None:
    if options.realizations < 1:
        raise ValueError(f"--realizations must be at least 1, got {options.realizations}")
    if not options.scales or len(set(options.scales)) < len(options.scales):
        raise ValueError(
            f"--scales must name one or more of I, II, III, each once, got {options.scales}"
        )
    if options.budget_s is not None and not 0 < options.budget_s < float("inf"):
        raise ValueError(f"--budget-s must be above 0 seconds, finite, got {options.budget_s}")
    if not 0 <= options.temperature < float("inf"):
        raise ValueError(f"--temperature must be at least 0, finite, got {options.temperature}")
    if not 0 <= options.seed < 2**31:
        raise ValueError(f"--seed must be within 0..2^31 - 1, got {options.seed}")
    if options.prompt_tokens is not None and options.prompt_tokens < 1:
        raise ValueError(f"--prompt-tokens must be at least 1, got {options.prompt_tokens}")


def instance(options: Options, scale: str, realization: int) -> tuple[jax.Array, lsa.Instance]:
    """Key and instance of one realisation; a function of (seed, scale, setting, realisation)."""
    scenario = lsa.SCALES[scale].replace(**lsa.SETTINGS.get(options.setting, {}))
    key = jax.random.fold_in(jax.random.key(options.seed), scenario.num_users)
    key = jax.random.fold_in(key, realization)
    return key, _sample(key, scenario)


_sample = jax.jit(lsa.sample_instance)


def run_instance(study: Study, scale: str, realization: int) -> list[dict[str, Any]]:
    """One row per method on one instance."""
    options = study.options
    key, inst = instance(options, scale, realization)
    # Leakage only takes away: the optimum of Eq. (4) bounds Eq. (8), and is the optimum without it.
    optimum = methods.solve(methods.OPTIMUM, key, inst)
    bound_bps = methods.evaluate(inst, optimum.assignment, coupled=False)["value_bps"]
    rows: list[dict[str, Any]] = []

    def add(method: str, outcome: methods.Outcome, assignment: np.ndarray, **record: Any) -> None:
        scenario = lsa.SCALES[scale]
        raw = method == methods.LLM_RAW
        rows.append(
            {
                "scale": scale,
                "num_users": scenario.num_users,
                "num_channels": scenario.num_channels,
                "num_active": inst.num_rows,
                "setting": options.setting,
                "method": method,
                "realization": realization,
                "seed": options.seed,
                **methods.evaluate(inst, assignment, coupled=options.coupled, raw=raw),
                "bound_bps": bound_bps,
                "seconds": outcome.seconds,
                "status": outcome.status,
                "raw_valid": None,
                **record,
            }
        )

    for index, method in enumerate(options.method_names):
        method_key = jax.random.fold_in(key, index)
        if method == methods.LLM:
            llm = methods.ask(
                study.model,
                study.box,
                inst,
                budget=options.prompt_tokens,
                temperature=options.temperature,
                seed=options.seed + 1000 * realization,
            )
            add(method, llm, llm.assignment, **llm.record)
        elif method == methods.LLM_RAW:
            add(method, llm, llm.raw, raw_valid=llm.record["raw_valid"])
        elif method in (methods.GROUPED, methods.LOCAL_SEARCH):
            budget_s = options.budget_s or llm.seconds
            outcome = methods.solve_within(method, method_key, inst, budget_s)
            add(method, outcome, outcome.assignment, **outcome.record)
        else:
            outcome = methods.solve(method, method_key, inst)
            add(method, outcome, outcome.assignment)
    return rows


def run(study: Study) -> None:
    """All instances that are not on disk yet, then the table and the figure."""
    options = study.options
    todo = [
        (scale, realization)
        for scale in options.scales
        for realization in range(options.realizations)
        if not study.folder.has(scale=scale, realization=realization)
    ]
    with study.box, _progress() as progress:
        task = progress.add_task("", total=len(todo))
        warm = set()
        for scale, realization in todo:
            if scale not in warm:
                progress.update(task, description=f"scale {scale}: compiling")
                warm_up(options, scale)
                warm.add(scale)
            progress.update(task, description=f"scale {scale}, realisation {realization}")
            study.folder.append(run_instance(study, scale, realization))
            progress.advance(task)
    finish(study)


def warm_up(options: Options, scale: str) -> None:
    """Compiles every method for this scale, so that no row's seconds hold a compilation."""
    key, inst = instance(options, scale, 0)
    for method in options.method_names:
        if method in (methods.GROUPED, methods.LOCAL_SEARCH):
            outcome = methods.solve_within(method, key, inst, 1e-3)
        elif method not in (methods.LLM, methods.LLM_RAW):
            outcome = methods.solve(method, key, inst)
    methods.solve(methods.OPTIMUM, key, inst)
    for coupled in {False, options.coupled}:
        methods.evaluate(inst, outcome.assignment, coupled=coupled)


def finish(study: Study) -> None:
    """summary.csv, the printed table, the figure."""
    options, folder = study.options, study.folder
    rows = folder.rows
    rows = rows[rows["scale"].isin(options.scales) & (rows["realization"] < options.realizations)]
    paper = PAPER_MBPS if options.setting == "plain" else {}
    order = {name: i for i, name in enumerate(options.scales)}
    rows = rows.sort_values("scale", key=lambda s: s.map(order), kind="stable")
    table = summarise(rows, reference=methods.LLM, paper=paper)
    table.to_csv(folder.path / "summary.csv", index=False)
    report.print_table(
        table,
        title=_title(options, study.model.name),
        best="bound" if options.coupled else "optimum",
        notes=_notes(options, table, rows),
    )
    files = plotting.scaling_figure(table, folder.path / "scaling", coupled=options.coupled)
    folder.write_run()
    names = ["rows.parquet", "run.json", "summary.csv", *(f.name for f in files)]
    print(f"wrote {', '.join(names)} in {folder.path}/")


def _title(options: Options, model: str) -> str:
    kind = "Eq. (8)" if options.coupled else "Throughput"
    return f"{kind} in Mbit/s, setting {options.setting}, model {model}, seed {options.seed}"


def _notes(options: Options, table: pd.DataFrame, rows: pd.DataFrame) -> Iterator[str]:
    llm = rows[rows["method"] == methods.LLM]
    placed = llm["raw_served"].sum() / llm["num_active"].sum()
    yield (
        f"The models' own answers place {100 * placed:.0f} % of the users; the repair places the "
        "rest by sorting, which alone is optimal in the plain setting: a program that fails is "
        f"flattered in the row {methods.LLM}, and worth 0 in {methods.LLM_RAW}."
    )
    share = (llm["static_tokens"] / llm["prompt_tokens"]).mean()
    yield f"Static share of the prompt, which a prefix cache keeps: {100 * share:.0f} %."
    if options.coupled:
        yield (
            "Objective of Eq. (8), leakage counted in every row. Gaps are to an upper bound, the "
            "optimum of Eq. (4) with its leakage forgiven: nobody knows the optimum itself."
        )
    if options.setting != "plain":
        return
    value = table.set_index(["scale", "method"])["mean_mbps"]
    for name, ours, theirs in (
        ("Random against the paper's Random", methods.RANDOM, methods.RANDOM),
        ("exact optimum against the paper's LLM", methods.OPTIMUM, methods.LLM),
    ):
        ratios = [
            f"{scale} {100 * (value[scale, ours] / PAPER_MBPS[scale, theirs] - 1):+.1f} %"
            for scale in table["scale"].unique()
        ]
        yield f"{name}: {', '.join(ratios)}"
    llm, best = (value.xs(m, level="method") for m in (methods.LLM, methods.SORTED))
    if np.all(best >= llm * (1 - 1e-6)):
        yield "Sorting both sides is exactly optimal here: no program can beat that row."


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


if __name__ == "__main__":
    cli.main(Options, prepare, run, description=__doc__)

"""Seconds per decision (Table IV): every method, warm, one instance at a time and 64 at once.

Compilation is measured apart. A language model's seconds are those of its stages: writing the
prompt, reading it (prefill), the completion (decode), reading and running the program, and the
repair; with and without the cache of what prompts share. The anytime methods take the time that
they are given, which is the model's.
"""

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from experiments import config as options
from experiments import small_scale
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.study import Cell, Study

TIME = "eight minutes on 2 cores"

SIZES = {
    **{triple: lsa.SMALL_SCALES[sizes] for triple, sizes in small_scale.TRIPLES.items()},
    **lsa.SCALES,
}
_TRIPLES = ("(5,5,1)", "(10,15,3)", "(15,20,4)", "(15,20,8)")
_PAPER = {
    "LLM (code)": (7.83, 7.26, 7.58, 7.21),
    "Exhaustive": (0.0001, 0.054, 2.785, None),
    "Exact optimum": (0.0002, 0.0017, 0.0047, 0.0155),
    "DQN, joint": (0.0012, 0.0108, 0.018, None),
    "PPO, joint": (0.0007, 0.0008, 0.0015, None),
}
PAPER_S = {
    (triple, method): value
    for method, values in _PAPER.items()
    for triple, value in zip(_TRIPLES, values, strict=True)
    if value is not None
}
"""Table IV of the paper [s]; its Kuhn-Munkres row stands at our exact optimum, and its DQN and PPO
at ours with an output per joint action."""
STAGES = ("serialize", "prefill", "decode", "parse", "execute", "repair")
_REPEATS = 3  # of a batch, of which the median counts


@dataclasses.dataclass(frozen=True)
class Config(options.SlotConfig):
    """Seconds per decision.

    Args:
        sizes: triples (N,M,K) of Table III, and scales of Table V.
        realizations: instances of each size, decided one by one.
        batch: instances that are decided at once; 0 leaves that out.
        slowest_s: solvers whose decision takes longer than this are not run on a batch [s].
        max_assignments: largest count of assignments that are enumerated.
        train_s: seconds of training of PPO and of DQN with a joint head for each size where they
            fit, as in the paper; what they decide matters little here, and 0 leaves them out.
    """

    sizes: tuple[str, ...] = (*_TRIPLES, *lsa.SCALES)
    realizations: int = 20
    batch: int = 64
    slowest_s: float = 0.25
    max_assignments: int = 10_000_000
    train_s: float = 5.0


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check(config)
    options.check_names("--sizes", config.sizes, SIZES)
    if config.batch < 0:
        raise ValueError(f"--batch must be at least 0, got {config.batch}")
    if not config.slowest_s > 0:
        raise ValueError(f"--slowest-s must be above 0 seconds, got {config.slowest_s}")
    if config.max_assignments < 1:
        raise ValueError(f"--max-assignments must be at least 1, got {config.max_assignments}")
    if not 0 <= config.train_s < math.inf:
        raise ValueError(f"--train-s must be at least 0 seconds, finite, got {config.train_s}")


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    small = ("(5,5,1)", "(15,20,8)", "III")
    config = options.resolved(options.quickened(config, sizes=small, realizations=5))
    folder = RunFolder(
        options.out_folder("latency", config),
        options.record("latency", config, without=("realizations", "sizes")),
        identity=("size", "method", "realization"),
        resume=config.resume,
    )
    from experiments import language_model, methods
    from experiments.study import Cell, Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    others = small_scale.compared_methods(str(config.objective), config.max_assignments)
    compared = language_model.with_model(others, config, resources, folder.metadata, cold=True)
    # What it costs is the same without the repair.
    named = {m.name: dataclasses.replace(m, raw_name=None) for m in compared}
    switches = {**lsa.SETTINGS[config.setting], "objective": config.objective}
    study = Study(
        cells=[
            Cell({"size": size}, SIZES[size].replace(**switches), named, config.setting)
            for size in config.sizes
        ],
        seed=config.seed,
        reference=methods.OPTIMUM if config.objective != "coupled" else methods.LOCAL_SEARCH,
        budget_s=config.budget_s,
        budget_from=methods.LLM,
    )
    return options.Prepared(config, study, folder, resources)


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import joint_agents, outputs

    config, clock = prepared.config, Clock(prepared.config)
    study = joint_agents.added(config, prepared.study, prepared.folder.path)
    outputs.report(
        dataclasses.replace(prepared, study=study),
        "latency",
        table=lambda rows: table(study, rows, config),
        figure=figure,
        show=lambda summary, rows: print_tables(config, summary),
        measure=clock.measure,
        warm_up=clock.warm_up,
    )


class Clock:
    """Measures a cell: compilation before its rows, a batch with the first of them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.compile_s: dict[str, float] = {}

    def warm_up(self, study: "Study", cell: "Cell") -> None:
        """Compiles each method; the seconds of the first call are what that takes.

        A language model compiles nothing: there is no such time to note.
        """
        from experiments import methods
        from experiments import study as loop

        _, inst = loop.instance(study.seed, cell.source, 0)
        cell.bound(inst)
        self.compile_s = {}
        for name, method in cell.methods.items():
            if method.skip(inst) is None:
                start = time.perf_counter()
                method.prepare(inst)
                if name not in (methods.LLM, methods.LLM_COLD):
                    self.compile_s[name] = time.perf_counter() - start

    def measure(self, study: "Study", cell: "Cell", realization: int) -> list[dict[str, Any]]:
        """The rows of one instance, with the compilation; the first ones with a batch."""
        from experiments import methods
        from experiments import study as loop

        rows = loop.run_instance(study, cell, realization)
        for row in rows:
            row["compile_s"] = self.compile_s.get(row["method"])
            asked = row["method"] in (methods.LLM, methods.LLM_COLD)
            slow = not asked and row.get("seconds", 0.0) > self.config.slowest_s
            if realization == 0 and self.config.batch and "seconds" in row and not slow:
                row["batch_per_s"] = self._per_s(study, cell, row["method"])
        return rows

    def _per_s(self, study: "Study", cell: "Cell", name: str) -> float | None:
        """Decisions per second of a whole batch; None where the method takes one at a time."""
        import jax
        import jax.numpy as jnp

        from experiments import methods
        from experiments import study as loop

        decide = cell.methods[name].batch
        if decide is None:
            return None
        drawn = [loop.instance(study.seed, cell.source, r) for r in range(self.config.batch)]
        keys = jnp.stack([key for key, _ in drawn])
        instances = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(inst for _, inst in drawn))
        repeats = 1
        if name not in (methods.LLM, methods.LLM_COLD):  # which compile nothing
            decide(keys, instances)
            repeats = _REPEATS
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            decide(keys, instances)
            seconds.append(time.perf_counter() - start)
        return len(drawn) / sorted(seconds)[repeats // 2]


def table(study: "Study", rows: "pd.DataFrame", config: Config) -> "pd.DataFrame":
    """A row per size and method: of `summarise`, with quantiles, compilation, batch and stages."""
    from experiments.summary import summarise

    if "generate_s" in rows:
        # A server says nothing of the prompt's share, which its decode has then.
        prefill = rows["prefill_s"].astype(float) if "prefill_s" in rows else math.nan
        rows = rows.assign(prefill_s=prefill)
        rows["decode_s"] = rows["generate_s"] - rows["prefill_s"].fillna(0.0)
    summary = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    by_cell = rows.groupby(["size", "method"])
    places = summary.set_index(["size", "method"]).index
    found = {
        "p95_s": by_cell["seconds"].quantile(0.95),
        "compile_s": by_cell["compile_s"].median(),
    }
    if "batch_per_s" in rows:
        found["batch_per_s"] = by_cell["batch_per_s"].first()
    stages = [f"{stage}_s" for stage in STAGES if f"{stage}_s" in rows]
    found |= {stage: by_cell[stage].median() for stage in stages}
    for name, column in found.items():
        summary[name] = column.reindex(places).to_numpy(float)
    as_in_the_paper = (config.setting, config.objective) == ("plain", "throughput")
    paper = PAPER_S if as_in_the_paper else {}
    summary["paper_s"] = [paper.get(place, float("nan")) for place in places]
    return summary


def print_tables(config: Config, summary: "pd.DataFrame") -> None:
    """Seconds by size and method, then the language model's stages."""
    from experiments import methods, tables
    from experiments.tables import Column

    in_ms = {
        name: 1e3 * summary[f"{source}"]
        for name, source in (
            ("median_ms", "seconds"),
            ("p95_ms", "p95_s"),
            ("paper_ms", "paper_s"),
            *((f"{stage}_ms", f"{stage}_s") for stage in STAGES if f"{stage}_s" in summary),
        )
    }
    shown = summary.assign(**in_ms)
    shown["mean"] = shown["median_ms"]  # where N/A stands for a method that was skipped
    if "batch_per_s" not in shown:
        shown["batch_per_s"] = float("nan")
    where = f"setting {config.setting}, {config.objective}, model {config.model}"
    count = int(summary["realizations"].max())
    tables.print_columns(
        shown,
        axes=["size"],
        title=f"Milliseconds per decision\n{where}",
        columns=[
            Column("Median", "mean", None, ".0f", ".2g"),
            Column("95 %", "p95_ms", None, ".0f", ".2g"),
            Column("Compile,\ns", "compile_s", None, ".0f", ".2f"),
            Column(f"Per s,\n{config.batch} at once", "batch_per_s", None, ".0f", ".2g"),
            Column("Paper", "paper_ms", None, ".0f", ".2g"),
        ],
        caption=f"warm, n = {count}",
        notes=_notes(),
    )
    llm = shown[shown["method"].isin((methods.LLM, methods.LLM_COLD)) & shown["skipped"].isna()]
    if len(llm) and "decode_ms" in llm:
        columns = [Column(s.capitalize(), f"{s}_ms", None, ".0f", ".2g") for s in STAGES]
        tables.print_columns(
            llm,
            axes=["size"],
            title="Stages of the language model, median milliseconds",
            columns=columns,
            caption="",
        )


def _notes() -> Iterator[str]:
    yield (
        "Compile: the first call, with tracing, compilation and one decision; from a persistent "
        "compilation cache it takes less. Grouped-KM and local search take what time they are "
        "given. A dash under the batch: one at a time, or too slow for a batch. Of a server, which "
        "does not say when it had read the prompt, decode is both."
    )


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Median by size with the 95 % quantile as a whisker; the language model's stages."""
    from experiments import methods, plotting

    llm = summary[(summary["method"] == methods.LLM) & summary["skipped"].isna()]
    stages = [f"{stage}_s" for stage in STAGES if f"{stage}_s" in summary] if len(llm) else []
    with plotting.figure(stem, columns=2 if stages else 1) as panels:
        plotting.seconds_panel(panels[0], summary, "size")
        if stages:
            plotting.stack_panel(
                panels[1], llm, "size", stages, "Seconds of the language model (median)"
            )


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

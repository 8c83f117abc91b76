"""The scaling study (Table V): a language model's programs against every baseline, paired.

On each instance a language model writes an allocation program, the program is executed in the
sandbox and its answer repaired; the baselines see the same instance. Grouped-KM is anytime and gets
the wall time that the model took.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import lsajax as lsa
from experiments import config as options
from experiments import own_agent
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.methods import Method
    from experiments.study import Cell, Study

TIME = "two minutes on 2 cores"

_PAPER = {
    "LLM (code)": (26545, 41891, 55099),
    "Grouped-KM": (27703, 38540, 53096),
    "Random": (20713, 32702, 43159),
}
PAPER_MBPS = {
    (scale, method): float(value)
    for method, values in _PAPER.items()
    for scale, value in zip(("I", "II", "III"), values, strict=True)
}
PAPER_MBPS["I", "LLM (text)"] = 22893.0
"""Table V of the paper [Mbit/s]; its text paradigm is N/A at scales II and III."""


@dataclasses.dataclass(frozen=True)
class Config(own_agent.Config):
    """The scaling study.

    Args:
        scales: scales of Table V: I (1000,1000,200), II (1500,1500,300), III (2000,2000,400).
        network: a file (.npz, .mat, .parquet) with a network of one's own in place of the scales
            and the setting; its first slots are the realisations, and assignments.parquet has what
            was answered in the file's ids. Its fields are in the manual, "One's own networks".
    """

    scales: tuple[Literal["I", "II", "III"], ...] = ("I", "II", "III")
    network: pathlib.Path | None = None


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check(config)
    options.check_names("--scales", config.scales, lsa.SCALES)
    own_agent.check(config)
    if config.network is None:
        return
    for name in ("scales", "setting"):
        value, default = getattr(config, name), getattr(Config, name)
        if value != default:
            raise ValueError(f"--{name} has no effect beside --network, got {value}")


def prepare(config: Config) -> options.Prepared[Config]:
    """Checks everything that can be checked before the first instance, cheap checks first."""
    check(config)
    # A network from a file has no scales.
    small = {} if config.network is not None else {"scales": ("I", "III")}
    config = options.resolved(options.quickened(config, realizations=3, **small))
    # Rows of a smaller run are rows of a larger one too: neither size makes it another run.
    without = ("realizations", "scales", "network", "agent")
    record = options.record("scaling", config, without=without) | own_agent.record(config)
    folder_path = own_agent.out_folder(config, options.out_folder("scaling", config))
    if config.network is not None:
        content = hashlib.sha256(config.network.read_bytes()).hexdigest()
        record |= {"network": str(config.network), "network_sha256": content}
        if config.out is None:
            folder_path = folder_path.with_name(f"{folder_path.name}-{config.network.stem}")
    folder = RunFolder(
        folder_path,
        record,
        identity=("scale", "method", "realization"),
        resume=config.resume,
    )
    # Here and not above: what these import takes seconds, and the options are good now.
    from experiments import language_model, methods
    from experiments.study import Study

    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    objective = str(config.objective)
    others = [*methods.classical(objective), *methods.agents(objective)]
    others += own_agent.methods(config, folder.metadata)
    compared = language_model.with_model(others, config, resources, folder.metadata, text=True)
    study = Study(
        cells=cells(config, {method.name: method for method in compared}),
        seed=config.seed,
        reference=methods.LLM if methods.LLM in (m.name for m in compared) else methods.RANDOM,
        budget_s=config.budget_s,
        budget_from=methods.LLM,
        paper=PAPER_MBPS if _as_in_the_paper(config) else {},
    )
    return options.Prepared(config, study, folder, resources)


def cells(config: Config, methods: "dict[str, Method]") -> "list[Cell]":
    """A cell per scale, or the one of a network from a file."""
    from experiments import networks
    from experiments.study import Cell

    if config.network is not None:
        network = networks.read(config.network, objective=str(config.objective))
        return [Cell({"scale": config.network.stem}, network, methods, setting="file")]
    switches = {**lsa.SETTINGS[config.setting], "objective": config.objective}
    return [
        Cell({"scale": scale}, lsa.SCALES[scale].replace(**switches), methods, config.setting)
        for scale in config.scales
    ]


def run(prepared: options.Prepared[Config]) -> None:
    """All instances that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs, tables

    config, study = prepared.config, prepared.study
    outputs.report(
        prepared,
        "scaling",
        table=lambda rows: table(study, rows),
        figure=lambda summary, stem: figure(config, summary, stem),
        show=lambda summary, rows: tables.print_table(
            summary,
            axes=study.axes,
            title=_title(config),
            reference=study.reference,
            best="bound" if config.objective == "coupled" else "optimum",
            notes=_notes(config, summary, rows),
        ),
        more=lambda rows: _assignments(prepared, rows),
    )


def _assignments(prepared: options.Prepared[Config], rows: "pd.DataFrame") -> list[str]:
    """Writes what was answered for a network from a file; names the file."""
    from experiments import study

    if prepared.config.network is None:
        return []
    found = study.assignments(prepared.study, rows)
    found.to_parquet(prepared.folder.path / "assignments.parquet", index=False)
    return ["assignments.parquet"]


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per scale and method."""
    from experiments.summary import summarise

    return summarise(rows, axes=study.axes, reference=study.reference, paper=study.paper)


def figure(config: Config, summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """Value by scale beside the paper's points, and gap against time per decision."""
    from experiments import plotting

    coupled = config.objective == "coupled"
    with plotting.figure(stem, columns=2) as (left, right):
        quantity = _QUANTITY[str(config.objective)]
        plotting.value_panel(left, summary, "scale", quantity)
        plotting.gap_panel(right, summary, "an upper bound" if coupled else "the exact optimum")


def _as_in_the_paper(config: Config) -> bool:
    return (config.setting, config.objective, config.network) == ("plain", "throughput", None)


_QUANTITY = {"throughput": "Throughput", "fair": "Fair utility", "coupled": "Objective of Eq. (8)"}


def _title(config: Config) -> str:
    where = f"network {config.network.name}" if config.network else f"setting {config.setting}"
    quantity = _QUANTITY[str(config.objective)]
    return f"{quantity}, {where}, model {config.model}, seed {config.seed}"


def _notes(config: Config, summary: "pd.DataFrame", rows: "pd.DataFrame") -> Iterator[str]:
    from experiments import methods

    llm = rows[rows["method"] == methods.LLM]
    if "raw_served" in llm and llm["raw_served"].notna().any():
        placed = llm["raw_served"].sum() / llm["num_active"].sum()
        yield (
            f"The model's own answers place {100 * placed:.0f} % of the users. The repair places "
            f"the rest by sorting, so a program that fails still earns what sorting earns in the "
            f'row "{methods.LLM}"; in the row "{methods.LLM_RAW}" it earns 0.'
        )
        share = (llm["static_tokens"] / llm["prompt_tokens"]).mean()
        yield (
            f"{100 * share:.0f} % of the prompt is the same for every instance, and stays in a "
            "prefix cache."
        )
    if config.objective == "coupled":
        yield (
            "Eq. (8) counts leakage in every row. Gaps are to an upper bound, in which users lose "
            "the least leakage that they could: the optimum of Eq. (8) itself is not known."
        )
    if config.objective == "fair":
        yield (
            "The utility of a user is log(1 + rate in Mbit/s), so that a percent of it is much in "
            "terms of rates."
        )
    if not _as_in_the_paper(config):
        return
    value = summary.set_index(["scale", "method"])["mean"]
    for name, ours, theirs in (
        ("Random against the paper's Random", methods.RANDOM, methods.RANDOM),
        ("Exact optimum against the paper's LLM", methods.OPTIMUM, methods.LLM),
    ):
        ratios = [
            f"{scale} {100 * (value[scale, ours] / PAPER_MBPS[scale, theirs] - 1):+.1f} %"
            for scale in summary["scale"].unique()
        ]
        yield f"{name}: {', '.join(ratios)}."
    yield "Sorting both sides is exactly optimal in this setting: no program can do better."


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

"""GRPO under five weightings of the reward (Figure 2): every part of it, step by step.

Baseline, a smaller group, and structure, performance or depth weighted up, each with several seeds.
The parts are shown without their weights, so that weightings can be compared.
"""

import contextlib
import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal

from experiments import config as options
from experiments import trainings
from experiments.trainings import Training
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

TIME = "an hour on 2 cores"

BASELINE = "(a) baseline"
SMALLER = "(b) smaller group"
RAISED = {"structure": "(c) structure up", "performance": "(d) performance up"}
RAISED["depth"] = "(e) depth up"
WEIGHTINGS = (BASELINE, SMALLER, *RAISED.values())

PARTS = {
    "reward": "reward",
    "structure": "rewards/structure_reward/mean",
    "performance": "rewards/performance_reward/mean",
    "depth": "rewards/depth_reward/mean",
    "valid": "raw/valid",
    "gain": "raw/gain",
    "entropy": "entropy",
    "tokens": "completions/mean_length",
}
"""Column of the rows -> metric of the training."""
_SHOWN = {
    "reward": "Reward, as it is weighted",
    "structure": "Structure",
    "performance": "Performance",
    "depth": "Depth",
    "valid": "Valid answers, share",
}
"""Parts of the summary and the figure."""
_POINTS = 30  # of a curve, at most
_STRETCH = 5  # steps of a point, at least: one alone is mostly noise

TERMS = {"structure": 1.0, "performance": 1.0, "depth": 0.5}
"""Weights of the baseline, those of `llm.training.terms.Terms`."""


@dataclasses.dataclass(frozen=True)
class Config(trainings.Config):
    """Weightings over the steps of GRPO.

    Args:
        factor: by which a weight is raised; the smaller group has half of --group completions, and
            twice as many prompts a step.
        weightings: which of a, b, c, d, e.
    """

    factor: float = 3.0
    weightings: tuple[Literal["a", "b", "c", "d", "e"], ...] = ("a", "b", "c", "d", "e")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run with all of it checked, and its folder, locked."""

    config: Config
    compared: list[Training]
    folder: RunFolder
    resources: contextlib.ExitStack


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    trainings.check(config)
    if not 1 < config.factor < math.inf:
        raise ValueError(f"--factor must be above 1, finite, got {config.factor}")
    options.check_names("--weightings", config.weightings, [name[1] for name in WEIGHTINGS])
    if "b" in config.weightings and config.group < 4:
        raise ValueError(
            f"--group must be at least 4, of which the smaller group is half, got {config.group}"
        )


def compared(config: Config) -> list[Training]:
    """A training for each weighting and seed."""
    common = trainings.common(config)
    changes: dict[str, dict[str, Any]] = {
        BASELINE: {},
        SMALLER: {"num_generations": config.group // 2},
    }
    for part, name in RAISED.items():
        changes[name] = {"terms": {part: config.factor * TERMS[part]}}
    return [
        Training(name, seed, {**common, **changes[name]})
        for name in WEIGHTINGS
        if name[1] in config.weightings
        for seed in range(config.seed, config.seed + config.seeds)
    ]


def prepare(config: Config) -> Prepared:
    """Checks everything that can be checked before the first training, cheap checks first."""
    check(config)
    config = options.quickened(config, steps=6, seeds=2, weightings=("a", "b", "d"))
    out = config.out or options.folder_of("dynamics", config)
    without = ("seeds", "weightings")
    folder = RunFolder(
        out,
        options.record("dynamics", config, without=without),
        identity=("method", "agent_seed", "step"),
        resume=config.resume,
    )
    found = compared(config)
    with contextlib.ExitStack() as resources:
        resources.enter_context(folder)
        trainings.check_all(found, out / trainings.FOLDER, resume=config.resume)
        return Prepared(config, found, folder, resources.pop_all())


def run(prepared: Prepared) -> None:
    """All trainings that are not on disk yet, then summary.csv, the printed table, the figure."""
    from experiments import outputs, rows

    config, folder = prepared.config, prepared.folder
    root = folder.path / trainings.FOLDER
    with prepared.resources:
        trainings.run_all(prepared.compared, root)
        folder.metadata["columns"] = rows.COLUMNS
        for training in prepared.compared:
            found = rows_of(training, root, config.steps)
            folder.append([row for row in found if not folder.has(row)])
        folder.finish()
        outputs.leave(
            folder,
            "dynamics",
            _selected(prepared.compared, folder.rows()),
            table=table,
            figure=figure,
            show=lambda summary, found: print_table(config, summary),
        )


def rows_of(training: Training, root: pathlib.Path, steps: int) -> list[dict[str, Any]]:
    """A row per step of a finished training."""
    found = trainings.rows(root / training.folder, steps)
    columns = {name: metric for name, metric in PARTS.items() if metric in found}
    about = {"method": training.name, "agent_seed": training.seed}
    return [
        about
        | {"step": int(row["step"])}
        | {name: float(row[metric]) for name, metric in columns.items()}
        for row in found.to_dict("records")
    ]


def _selected(asked: list[Training], found: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of the trainings that are asked for, in their order."""
    import pandas as pd

    own = [
        found[(found["method"] == t.name) & (found["agent_seed"] == t.seed)].sort_values("step")
        for t in asked
    ]
    return pd.concat(own, ignore_index=True)


def table(rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per part, stretch of steps and weighting: mean and 95 % interval over seeds.

    `step` is the last of the stretch; `seed_low` and `seed_high` are the seeds' least and most.
    """
    import pandas as pd

    from experiments.summary import mean_interval

    last = rows["step"].max()
    width = max(_STRETCH, math.ceil(last / _POINTS))
    stretch = ((rows["step"] - 1) // width + 1) * width
    rows = rows.assign(step=stretch.clip(upper=last))
    made = []
    for part in _SHOWN:
        means = rows.groupby(["method", "step", "agent_seed"], sort=False)[part].mean()
        for (method, step), own in means.groupby(["method", "step"], sort=False):
            mean, half = mean_interval(own)
            ends = {"seed_low": own.min(), "seed_high": own.max(), "seeds": len(own)}
            row = {"part": part, "step": step, "method": method, "mean": mean, "mean_half": half}
            made.append(row | ends)
    return pd.DataFrame(made)


def ends(summary: "pd.DataFrame", part: str) -> "pd.DataFrame":
    """First and last stretch of a part by weighting: `first`, `last`, their halves, and the seeds'.

    Args:
        summary: of `table`.
        part: of the reward.
    """
    import pandas as pd

    own = summary[summary["part"] == part]
    first, last = (own[own["step"] == s].set_index("method") for s in _ends_of(own))
    names = {"mean": "", "mean_half": "_half", "seed_low": "_low", "seed_high": "_high"}
    return pd.concat(
        [
            stretch[list(names)].rename(columns={k: f"{word}{end}" for k, end in names.items()})
            for word, stretch in (("first", first), ("last", last))
        ],
        axis=1,
    )


def _ends_of(own: "pd.DataFrame") -> tuple[int, int]:
    return int(own["step"].min()), int(own["step"].max())


def print_table(config: Config, summary: "pd.DataFrame") -> None:
    """Each part over the last stretch of steps, and validity at the start."""
    from experiments import tables
    from experiments.tables import Column

    last = summary[summary["step"] == summary["step"].max()]
    shown = last.pivot(index="method", columns="part", values=["mean", "mean_half"])
    shown.columns = [f"{part}{name.removeprefix('mean')}" for name, part in shown.columns]
    valid = ends(summary, "valid")
    shown = shown.assign(
        before=100 * valid["first"],
        valid=100 * valid["last"],
        valid_half=100 * valid["last_half"],
        lowest=100 * valid["last_low"],
    )
    shown = shown.loc[list(last["method"].unique())].reset_index()
    shown = shown.assign(steps=config.steps, skipped=None)
    columns = [
        Column(part.capitalize(), part, f"{part}_half", ".1f", ".2f")
        for part in ("reward", "structure", "performance", "depth")
    ]
    tables.print_columns(
        shown,
        axes=["steps"],
        title=f"Weightings, {config.model}, the last of {config.steps} steps",
        columns=[
            *columns,
            Column("Valid,\n%", "valid", "valid_half", ".0f", ".1f"),
            Column("Worst\nseed, %", "lowest", None, ".0f", ".1f"),
            Column("At the\nstart, %", "before", None, ".0f", ".1f"),
        ],
        caption=f"± half width of the 95 % t interval over {config.seeds} seeds",
        notes=["Parts are without their weights; the reward is weighted as it was in training."],
    )


def figure(summary: "pd.DataFrame", stem: pathlib.Path) -> None:
    """A panel per part, a line with a band for each weighting."""
    from experiments import plotting

    names = list(summary["method"].unique())
    with plotting.figure(stem, columns=len(_SHOWN), width_in=3.2) as panels:
        for axes, (part, title) in zip(panels, _SHOWN.items(), strict=True):
            own = summary[summary["part"] == part].rename(columns={"mean_half": "half"})
            plotting.sweep_panel(axes, own, "step", title, order=names)
            axes.set_xlabel("Step of GRPO")
            if part == "valid":
                axes.set_ylim(top=1.02)  # a t interval knows no bound, a share does


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

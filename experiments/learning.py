"""What GRPO taught the embedded model: before and after, by cell, with the curves.

Runs of `python -m llm.grpo --config configs/embedded.yaml` and the model that they started from
answer on the same held-out instances, greedily and sampled, repair off: in the cells that were
trained, at sizes that were not, and in combinations of setting and objective that neither the
pretraining nor the runs had.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import BadRun

if TYPE_CHECKING:
    import pandas as pd

    from llm.training.prompts import Cell

BASE = "base"
GROUPS = ("trained", "other size", "other combination")
MOST = {"valid": 100.0, "right": 100.0, "gap": None}
"""What is measured -> the most that it can be [%]."""
_SIZE, _LARGE, _SHORT_S, _AMPLE_S = "100,100,40", "1500,1500,1200", 0.03, 5.0
_SEARCH_S = 1.0
_AT_OTHER_SIZES = (
    ("plain", "throughput"),
    ("fading", "throughput"),
    ("multipath", "throughput"),
    ("plain", "fair"),
    ("plain", "coupled"),
    ("fading", "coupled"),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Before and after GRPO.

    Args:
        runs: folders of `python -m llm.grpo`, one per seed.
        base: the model that they started from.
        realizations: held-out instances of each cell.
        samples: answers at temperature 1 of each, beside the greedy one.
        seed: of instances and samples.
        out: file of the table; `python -m experiments.pages` then puts it into docs.
        figure: of the curves.
    """

    runs: tuple[pathlib.Path, ...]
    base: str = "embedded-base"
    realizations: int = 6
    samples: int = 8
    seed: int = 1
    out: pathlib.Path = pathlib.Path("docs/results/learning_embedded.csv")
    figure: pathlib.Path = pathlib.Path("docs/learning.png")


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    for run in config.runs:
        if not (run / "model" / "config.json").is_file():
            raise ValueError(f"--runs must be finished runs of python -m llm.grpo, got {run}")
    if not config.runs:
        raise ValueError("--runs must name a run")
    if config.realizations < 1 or config.samples < 1:
        raise ValueError(
            "--realizations and --samples must be at least 1, "
            f"got {config.realizations} and {config.samples}"
        )
    options.check_files(config, "out", "figure")
    return config


def cells(trained: "list[Cell]") -> "dict[Cell, str]":
    """Cell -> group, of `GROUPS`."""
    from llm.embedded.corpus import HELD_OUT
    from llm.training.prompts import Cell

    found = dict.fromkeys(trained, GROUPS[0])
    for place in _AT_OTHER_SIZES:
        found.setdefault(Cell(*place, "III", _AMPLE_S), GROUPS[1])
    for kind in HELD_OUT:
        setting, objective = kind.split(", ")
        found[Cell(setting, objective, _SIZE, 1.0)] = GROUPS[2]
        if objective != "coupled":
            found[Cell(setting, objective, _LARGE, _SHORT_S)] = GROUPS[2]
    return found


def trained_cells(run: pathlib.Path) -> "list[Cell]":
    """What a run was trained on, each once."""
    import json

    from llm.training.prompts import cell_named

    config = json.loads((run / "run.json").read_text())["config"]
    return list(dict.fromkeys(cell_named(text) for text in config["cells"]))


def search_gap(cell: "Cell", realizations: int, seed: int) -> float:
    """What `lsajax.solvers.local_search`, given a second, lacks to the bound of `coupled` [1]."""
    import jax
    import numpy as np

    import lsajax as lsa
    from llm.training.evaluation import held_out
    from llm.training.evaluator import best_values

    instances = held_out(cell, realizations, seed)
    found = [
        lsa.solvers.local_search(jax.random.key(k), jax.device_put(inst), budget_s=_SEARCH_S).value
        for k, inst in enumerate(instances)
    ]
    return float(np.mean(1 - np.asarray(found) / best_values(instances)))


def rows(config: Config) -> "pd.DataFrame":
    """A row per model, cell and temperature."""
    import sys

    import pandas as pd

    from llm.models import load_model
    from llm.sandbox import Limits, Sandbox
    from llm.training.evaluation import evaluate, right_families, summarise

    group = cells(trained_cells(config.runs[0]))
    models: dict[str, str] = {BASE: config.base}
    models |= {str(k): str(run / "model") for k, run in enumerate(config.runs)}
    found = []
    with Sandbox(workers=2, limits=Limits(wall_s=60.0, cpu_s=5.0)) as box:
        count, seed = config.realizations, config.seed
        right = right_families(box, list(group), realizations=count, seed=seed)
        searched = {
            cell: search_gap(cell, count, seed) for cell in group if cell.objective == "coupled"
        }
        for name, spec in models.items():
            print(f"model {name}", file=sys.stderr)
            table = evaluate(
                load_model(spec, batch_size=64),
                box,
                list(group),
                num_samples=config.samples,
                right=right,
                realizations=count,
                seed=seed,
            )
            summary = summarise(table)
            own = [_cell(row) for row in summary.to_dict("records")]
            summary.insert(0, "run", name)
            summary.insert(0, "group", [group[cell] for cell in own])
            summary["right_families"] = [" ".join(right[cell]) for cell in own]
            summary["search_gap"] = [searched.get(cell) for cell in own]
            found.append(summary)
    return pd.concat(found)


def _cell(row: dict[str, Any]) -> "Cell":
    from llm.training.prompts import Cell

    return Cell(*(row[name] for name in Cell._fields))


def markdown(table: "pd.DataFrame") -> str:
    """A row per cell: greedy and sampled answers before and after, the runs' mean and range."""
    head = ["setting, objective", "N, M, K", "s", "right", "gap, %", "search, %", "family"]
    head += ["valid", "right", "gap, %", "programs"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for _, own in table.groupby(
        ["group", "setting", "objective", "size", "time_budget_s"], sort=False
    ):
        before, after = own[own["run"] == BASE], own[own["run"] != BASE]
        first = before.iloc[0]
        greedy = [part[part["temperature"] == 0] for part in (before, after)]
        sampled = [part[part["temperature"] > 0] for part in (before, after)]
        searched = float(first["search_gap"])
        cells_of_row = [
            f"{first['setting']}, {first['objective']}",
            str(first["size"]).replace(",", ", "),
            f"{first['time_budget_s']:g}",
            *(_before_after(greedy, name) for name in ("right", "gap")),
            "" if math.isnan(searched) else f"{100 * searched:.2f}",
            " → ".join("/".join(dict.fromkeys(part["family"])) for part in greedy),
            *(_before_after(sampled, name) for name in ("valid", "right", "gap", "programs")),
        ]
        lines.append(f"| {' | '.join(cells_of_row)} |")
    return "\n".join(lines) + "\n"


def group_markdown(table: "pd.DataFrame", ways: Sequence[str] = ("greedy", "sampled")) -> str:
    """A row per group of cells and way to answer: before, and after with 95 % over the runs."""
    head = ["cells", "answers", "valid, %", "right, %", "gap of valid, %"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for cells_of_group, way, means in by_group(table, ways):
        row = [cells_of_group, way]
        row += [change(means[n].loc[BASE], means[n].drop(BASE), most) for n, most in MOST.items()]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def by_group(
    table: "pd.DataFrame",
    ways: Sequence[str] = ("greedy", "sampled"),
    columns: Sequence[str] = tuple(MOST),
) -> "Iterator[tuple[str, str, pd.DataFrame]]":
    """Groups with their count of cells, ways to answer, and the means there of each run [%]."""
    for group in GROUPS:
        own = table[table["group"] == group]
        count = len(own.groupby(["setting", "objective", "size", "time_budget_s"]))
        for way in ways if count else ():
            part = own[(own["temperature"] > 0) == (way == "sampled")]
            yield f"{group} ({count})", way, 100 * part.groupby("run")[[*columns]].mean()


def change(before: float, after: "pd.Series[float]", most: float | None = None) -> str:
    """What was → the runs' mean, with their t interval cut at 0 and `most` where they differ."""
    from experiments.summary import span

    digits = 1 if max(before, after.max()) < 20 else 0
    text = f"{max(before, 0.0):.{digits}f} → {max(after.mean(), 0.0):.{digits}f}"
    if (ends := span(after, most)) is not None:
        text += f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    return text


def _before_after(parts: "list[pd.DataFrame]", name: str) -> str:
    digits = 2 if name == "gap" else 0
    scale = 1 if name == "programs" else 100
    shown = []
    for part in parts:
        values = scale * part[name].dropna().clip(lower=0)  # an optimum but for rounding
        text = "–" if values.empty else f"{values.mean() + 0.0:.{digits}f}"
        if len(values) > 1 and values.max() - values.min() >= 0.5 * 10**-digits:
            text += f" ({values.min():.{digits}f}–{values.max():.{digits}f})"
        shown.append(text)
    return " → ".join(shown)


PANELS = {"reward": "Reward", "raw/valid": "Share of valid answers", "entropy": "Entropy, nat"}
"""Columns of a run's rows that are drawn, and what they are called."""


def steps(run: pathlib.Path) -> "pd.DataFrame":
    """The rows of a run by step, of one that is not finished too."""
    import pandas as pd

    files = [*run.glob("rows.parquet"), *sorted(run.glob("parts/*.parquet"))]
    if not files:
        raise BadRun(f"--runs must be runs of python -m llm.grpo, got {run} without rows")
    table = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    return table.drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)


def curves(
    runs: "Mapping[str, pd.DataFrame]",
    file: pathlib.Path,
    panels: Mapping[str, str] = PANELS,
    *,
    window: int = 10,
) -> None:
    """Running means, with what they are of in thin lines; a panel per column, a line per run.

    Args:
        runs: name -> rows by step.
        file: PNG.
        panels: column -> title.
        window: steps of a mean.
    """
    import tempfile

    from experiments import plotting

    with tempfile.TemporaryDirectory() as folder:
        stem = pathlib.Path(folder) / "curves"
        with plotting.figure(stem, columns=len(panels)) as axes:
            for k, (label, rows_of_run) in enumerate(runs.items()):
                for axis, (name, title) in zip(axes, panels.items(), strict=True):
                    at, values, color = rows_of_run["step"], rows_of_run[name], f"C{k}"
                    smooth = values.rolling(window, min_periods=1).mean()
                    axis.plot(at, values, color=color, alpha=0.3, linewidth=0.8)
                    axis.plot(at, smooth, color=color, label=label)
                    axis.set(title=title, xlabel="Step")
        file.write_bytes(stem.with_suffix(".png").read_bytes())


def run(config: Config) -> None:
    """All models, one after the other, then the CSV and the figure."""
    rows(config).to_csv(config.out, index=False, float_format="%.5g")
    curves({f"run {k}": steps(run) for k, run in enumerate(config.runs)}, config.figure)
    print(f"wrote {config.out} and {config.figure}")


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start again: nothing was written")

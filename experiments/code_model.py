"""A real code model before and after training, on held-out instances, repair off.

Each model answers the same instances, greedily and sampled. Models are asked one after the other
and their rows written as they come: started again, it goes on with the models that are missing.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from experiments import config as options
from lsajax.runs import cli

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
"""In place of a setting, an objective and a size: the cells taken together."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Which models, on what.

    Args:
        models: NAME=MODEL each; a model is a name, a folder of a checkpoint or of an adapter, or a
            hub name.
        cells: setting/objective/size/seconds of what is asked.
        realizations: held-out instances of each cell.
        samples: answers at `temperature` of each, beside the greedy one.
        temperature: of the samples.
        max_new_tokens: of an answer.
        dtype: of the weights.
        batch_size: answers at a time.
        seed: of instances and samples.
        out: file of the table; `python -m experiments.pages` then puts it into docs.
        answers: folder for all answers with what became of them, a Parquet file per model.
    """

    models: tuple[str, ...]
    cells: tuple[str, ...] = ("plain/throughput/15,20,8/1", "fading/throughput/15,20,8/1")
    realizations: int = 8
    samples: int = 4
    temperature: float = 0.8
    max_new_tokens: int = 192
    dtype: str = "bfloat16"
    batch_size: int = 32
    seed: int = 1
    out: pathlib.Path = pathlib.Path("docs/results/code_model.csv")
    answers: pathlib.Path | None = None


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    from llm.training.prompts import cell_named

    for named in config.models:
        if not all(named.partition("=")):
            raise ValueError(f"--models must be NAME=MODEL each, got {named!r}")
    if not config.models:
        raise ValueError("--models must name a model")
    if len({named.partition("=")[0] for named in config.models}) < len(config.models):
        raise ValueError(f"--models must have each NAME once, got {', '.join(config.models)}")
    for text in config.cells:
        cell_named(text)
    if not config.cells or config.realizations < 1 or config.samples < 1:
        raise ValueError(
            "--cells, --realizations and --samples must be at least 1, got "
            f"{len(config.cells)}, {config.realizations} and {config.samples}"
        )
    if not config.temperature > 0:
        raise ValueError(f"--temperature must be above 0, got {config.temperature:g}")
    options.check_files(config, "out")
    if config.out.is_file():
        _check_same(config)
    return config


def _check_same(config: Config) -> None:
    """Raises ValueError where the table has answers to something else: rows would not compare."""
    import pandas as pd

    from llm.training.evaluation import CELL
    from llm.training.prompts import cell_named

    own = pd.read_csv(config.out)
    own = own[own["setting"] != ALL].astype({"time_budget_s": float})
    cells = {tuple(getattr(cell_named(text), name) for name in CELL) for text in config.cells}
    sampled = own[own["temperature"] > 0]
    same = (
        {tuple(row) for row in own[list(CELL)].itertuples(index=False)} == cells
        and set(own["instances"]) == {config.realizations}
        and set(sampled["samples"]) == {config.realizations * config.samples}
        and set(sampled["temperature"]) == {config.temperature}
    )
    if not same:
        raise ValueError(
            f"--out {config.out} has rows of other cells, realisations, samples or temperature: "
            "give those, or another file"
        )


def run(config: Config) -> None:
    """Asks the models that are not in the table yet, and adds their rows."""
    import pandas as pd

    from llm.models import ModelUnavailable, load_model
    from llm.sandbox import Limits, Sandbox
    from llm.training.evaluation import evaluate, right_families
    from llm.training.prompts import cell_named

    table = pd.read_csv(config.out) if config.out.is_file() else pd.DataFrame({"model": []})
    cells = [cell_named(text) for text in config.cells]
    count, seed = config.realizations, config.seed
    with Sandbox(workers=1, limits=Limits(wall_s=60.0, cpu_s=5.0)) as box:
        right = right_families(box, cells, realizations=count, seed=seed)
        for named in config.models:
            label, _, spec = named.partition("=")
            if label in set(table["model"]):
                print(f"{label} is in {config.out} already")
                continue
            try:
                model = load_model(
                    spec,
                    dtype=config.dtype,
                    batch_size=config.batch_size,
                    max_new_tokens=config.max_new_tokens,
                )
            except ModelUnavailable as error:
                raise cli.Unavailable(str(error)) from error
            found = evaluate(
                model,
                box,
                cells,
                realizations=count,
                num_samples=config.samples,
                seed=seed,
                temperature=config.temperature,
                right=right,
            )
            if config.answers is not None:
                config.answers.mkdir(parents=True, exist_ok=True)
                found.to_parquet(config.answers / f"{label.replace(' ', '_')}.parquet")
            table = pd.concat([table, rows(label, found)], ignore_index=True)
            table.to_csv(config.out, index=False, float_format="%.5g")
            print(markdown(table[table["model"] == label]), end="", flush=True)
    print(f"wrote {config.out}")


def rows(label: str, found: "pd.DataFrame") -> "pd.DataFrame":
    """A row per cell and temperature of one model's answers, and one for the cells together."""
    import pandas as pd

    from llm.training.evaluation import CELL, summarise

    together = summarise(found, by=("temperature",))
    for name in CELL:
        together[name] = ALL
    summary = pd.concat([together, summarise(found)], ignore_index=True)
    summary["families"] = [_families(found, row) for row in summary.to_dict("records")]
    summary.insert(0, "model", label)
    return summary


def _families(found: "pd.DataFrame", row: dict[str, Any]) -> str:
    """How many of the valid answers of a row are of which family, the most frequent first."""
    from llm.training.evaluation import CELL

    own = found[found["valid"] & (found["temperature"] == row["temperature"])]
    for name in CELL:
        if row[name] != ALL:
            own = own[own[name] == row[name]]
    counts = own["family"].value_counts()
    return ", ".join(f"{family} {count}" for family, count in counts.items())


def markdown(table: "pd.DataFrame") -> str:
    """A row per model and temperature, over all cells, with 95 % intervals."""
    import pandas as pd

    head = ["model", "T", "answers", "valid, %", "gap of valid, %", "right, %", "cut off, %"]
    head.append("valid answers are")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in table[table["setting"] == ALL].to_dict("records"):
        shares = [
            f"{100 * row[name]:.0f} ({100 * row[f'{name}_low']:.0f} to "
            f"{100 * row[f'{name}_high']:.0f})"
            for name in ("valid", "right")
        ]
        gap = "–"
        if not pd.isna(row["gap"]):
            gap = f"{100 * row['gap']:.1f}"
            if not pd.isna(row["gap_half"]):
                gap += f" ± {100 * row['gap_half']:.1f}"
        families = row["families"]
        cells = [
            row["model"],
            f"{row['temperature']:g}",
            f"{row['samples']:.0f}",
            shares[0],
            gap,
            shares[1],
            f"{100 * row['truncated']:.0f}",
            "–" if pd.isna(families) or not families else str(families).replace("_", " "),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="started again it goes on with the next model")

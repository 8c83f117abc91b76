"""Recipes of GRPO beside each other: what runs of each wrote down of themselves, before and after.

Every run answers held-out instances before its first and after its last step, greedily and sampled,
repair off. Runs of one recipe differ in their seed.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from experiments import config as options
from experiments import learning
from lsajax.runs import cli

if TYPE_CHECKING:
    import pandas as pd

WAYS = ("greedy", "sampled")
_MEANS = ["valid", "right", "gap"]
PANELS = {
    "raw/valid": "Share of valid answers",
    "completions/mean_length": "Tokens of an answer",
    "entropy": "Entropy, nat",
}
"""Of the figure; rewards of two forms are no numbers to compare."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Which runs.

    Args:
        runs: RECIPE=FOLDER each, of finished runs of `python -m llm.grpo`; a recipe has as many as
            it has seeds.
        out: file of the evaluations; `python -m experiments.pages` then puts it into docs.
        figure: of the curves, the mean of a recipe's runs.
    """

    runs: tuple[str, ...]
    out: pathlib.Path = pathlib.Path("docs/results/recipes.csv")
    figure: pathlib.Path = pathlib.Path("docs/recipes.png")


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    if not config.runs:
        raise ValueError("--runs must name a run")
    for named in config.runs:
        recipe, _, path = named.partition("=")
        run = pathlib.Path(path)
        if not recipe or not path or not _finished(run):
            raise ValueError(
                "--runs must be RECIPE=FOLDER each, of finished runs of python -m llm.grpo with "
                f"held-out evaluations, got {named!r}"
            )
    options.check_files(config, "out", "figure")
    return config


def _finished(run: pathlib.Path) -> bool:
    """Whether a run has its model, and answers from before its first and after its last step."""
    files = _evaluations(run)
    if len(files) < 2 or not (run / "model" / "config.json").is_file():
        return False
    return _step(files[0]) == 0 and _step(files[-1]) == int(learning.steps(run)["step"].max())


def _step(evaluation: pathlib.Path) -> int:
    return int(evaluation.stem.removeprefix("step-"))


def _evaluations(run: pathlib.Path) -> list[pathlib.Path]:
    return sorted(run.glob("evaluation/step-*.parquet"))


def folders(config: Config) -> dict[str, list[pathlib.Path]]:
    """Recipe -> its runs."""
    found: dict[str, list[pathlib.Path]] = {}
    for named in config.runs:
        recipe, _, path = named.partition("=")
        found.setdefault(recipe, []).append(pathlib.Path(path))
    return found


def table(runs: dict[str, list[pathlib.Path]]) -> "pd.DataFrame":
    """A row per recipe, run, first or last step, and way to answer.

    `valid` and `right` are shares of the `count` answers, `gap` is what the valid ones lack to the
    exact optimum or bound, all within 0..1; `answers` is greedy or sampled; `family` is the most
    frequent one, of `family_share` of the answers.
    """
    import pandas as pd

    found = []
    for recipe, of_recipe in runs.items():
        for number, run in enumerate(of_recipe):
            files = _evaluations(run)
            for file in (files[0], files[-1]):
                answers = pd.read_parquet(file)
                sampled = answers["temperature"] > 0
                for way, own in zip(WAYS, (answers[~sampled], answers[sampled]), strict=True):
                    if own.empty:  # of a run without sampled evaluations
                        continue
                    row = {"recipe": recipe, "run": number, "step": _step(file)}
                    row |= {"answers": way, "count": len(own)}
                    row |= {name: own[name].astype(float).mean() for name in ("valid", "right")}
                    families = own["family"].value_counts()
                    row |= {"gap": own.loc[own["valid"], "gap"].mean(), "family": families.index[0]}
                    found.append(row | {"family_share": families.iloc[0] / len(own)})
    return pd.DataFrame(found)


def markdown(rows: "pd.DataFrame") -> str:
    """A row per recipe and way to answer: before → after, with 95 % t intervals over runs."""
    head = ["recipe", "answers", "runs", "steps", "valid, %", "right, %", "gap of valid, %"]
    head.append("family")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (recipe, way), own in rows.groupby(["recipe", "answers"], sort=False):
        first, last = own[own["step"] == 0], own[own["step"] > 0]
        steps = "/".join(str(step) for step in sorted(set(last["step"])))
        cells = [recipe, way, str(len(last)), steps]
        for name in _MEANS:
            most = None if name == "gap" else 100.0
            cells.append(learning.change(100 * first[name].mean(), 100 * last[name], most))
        cells.append(" → ".join(_families(part) for part in (first, last)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _families(rows: "pd.DataFrame") -> str:
    """The most frequent families of runs, with the mean share of the answers."""
    shares = rows.groupby("family", sort=False)["family_share"].mean()
    return "/".join(f"{family} {100 * share:.0f} %" for family, share in shares.items())


def run(config: Config) -> None:
    """Reads the runs, writes the CSV and the figure."""
    import pandas as pd

    runs = folders(config)
    table(runs).to_csv(config.out, index=False, float_format="%.5g")
    means = {
        f"{recipe} ({len(of)})": pd.concat([learning.steps(run) for run in of])
        .groupby("step", as_index=False)[list(PANELS)]
        .mean()
        for recipe, of in runs.items()
    }
    learning.curves(means, config.figure, PANELS)
    print(f"wrote {config.out} and {config.figure}")


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start it again: it only reads")

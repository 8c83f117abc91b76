"""What a code model learned on the way: curves of runs of GRPO, finished or not, and their answers.

The instances of each step are drawn for it and met once, so that the answers of a step are those of
the model as it was then to what it had not seen.
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any

from experiments import config as options
from lsajax.runs import cli

if TYPE_CHECKING:
    import pandas as pd

    from llm.inspect import Probe

PANELS = {
    "reward": "Reward",
    "raw/valid": "Share of valid answers",
    "gain of valid": "Gain of valid answers",
    "entropy": "Entropy, nat",
}
"""What is drawn; the gain is 0 for the mean of random answers and 1 for the best."""

_PROMPT = ["step", "setting", "objective", "size", "instance"]
"""Columns of the answers that tell prompts apart."""

_NUMBERS = ("completions/mean_length", "completions/clipped_ratio", "step_time", "train_s")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which runs.

    Args:
        runs: NAME=FOLDER each, of `python -m llm.grpo`.
        block: steps whose answers are a row.
        window: steps of the curves' running means.
        out: file of what the answers were; `python -m experiments.pages` then puts it into docs.
        steps: file of the curves' points.
        figure: of the curves.
    """

    runs: tuple[str, ...]
    block: int = 10
    window: int = 5
    out: pathlib.Path = pathlib.Path("docs/results/answers_code_model.csv")
    steps: pathlib.Path = pathlib.Path("docs/results/code_model_steps.csv")
    figure: pathlib.Path = pathlib.Path("docs/code_model.png")


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    if not config.runs:
        raise ValueError("--runs must name a run")
    for named in config.runs:
        label, _, path = named.partition("=")
        if not label or not list(pathlib.Path(path).glob("completions/*.parquet")):
            raise ValueError(f"--runs must be NAME=FOLDER of python -m llm.grpo, got {named!r}")
    if len({named.partition("=")[0] for named in config.runs}) < len(config.runs):
        raise ValueError(f"--runs must have each NAME once, got {', '.join(config.runs)}")
    for option in ("block", "window"):
        if getattr(config, option) < 1:
            raise ValueError(f"--{option} must be at least 1, got {getattr(config, option)}")
    options.check_files(config, "out", "steps", "figure")
    return config


def run(config: Config) -> None:
    """The runs' reward, validity, quality of valid answers and entropy, and their answers."""
    import pandas as pd

    from experiments import learning
    from llm.inspect import Probe
    from llm.sandbox import Sandbox

    parted = [named.partition("=") for named in config.runs]
    folders = {label: pathlib.Path(path) for label, _, path in parted}
    runs = {label: learning.steps(path) for label, path in folders.items()}
    blocks = []
    with Sandbox(workers=1) as box:
        probe = Probe(box)
        for label, path in folders.items():
            files = sorted(path.glob("completions/*.parquet"))
            own = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
            own = own[own["step"].isin(runs[label]["step"])]
            gain = own[own["valid"] == 1].groupby("step")["gain"].mean()
            runs[label]["gain of valid"] = runs[label]["step"].map(gain)
            runs[label]["train_s"] = runs[label]["step_time"].cumsum()
            blocks.append(by_blocks(own, probe, config.block).assign(model=label))
    learning.curves(runs, config.figure, PANELS, window=config.window)
    table = pd.concat([own.assign(model=label) for label, own in runs.items()])
    table[["model", "step", *PANELS, *_NUMBERS]].to_csv(
        config.steps, index=False, float_format="%.5g"
    )
    pd.concat(blocks).to_csv(config.out, index=False, float_format="%.5g")
    print(f"wrote {config.steps}, {config.out} and {config.figure}")


def by_blocks(answers: "pd.DataFrame", probe: "Probe", steps: int) -> "pd.DataFrame":
    """A row per block of steps: valid answers, their gain and their families.

    Every step has prompts of its own, which are met once: these are the answers of the model as it
    was then to what it had not seen. Intervals of 95 % take the prompts as trials, since the
    answers of one are not independent.

    Args:
        answers: as TRL logs completions, with the columns that `TrlRewards` adds.
        probe: names the families.
        steps: of a block.
    """
    import pandas as pd

    from experiments.summary import mean_interval
    from llm.decision import parse
    from llm.training.evaluation import wilson

    found = []
    for block, own in answers.groupby((answers["step"] - 1) // steps):
        valid = own[own["valid"] == 1]
        codes = [parse.code_block(_text(text)).text or "" for text in valid["completion"]]
        counts = pd.Series(probe.families(codes), dtype=object).value_counts()
        prompts = own.groupby(_PROMPT).ngroups
        low, high = wilson(len(valid) / len(own), prompts)
        gain, gain_half = mean_interval(valid.groupby(_PROMPT)["gain"].mean())
        row = {"first": block * steps + 1, "last": int(own["step"].max()), "answers": len(own)}
        row |= {"prompts": prompts, "programs": len(set(codes))}
        row |= {"valid": len(valid) / len(own), "valid_low": low, "valid_high": high}
        row |= {"gain": gain, "gain_half": gain_half}
        row["families"] = ", ".join(f"{family} {count}" for family, count in counts.items())
        found.append(row)
    return pd.DataFrame(found)


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[-1]["content"]


def markdown(table: "pd.DataFrame") -> str:
    """A row per run and block of steps."""
    import pandas as pd

    head = [
        "run",
        "steps",
        "prompts",
        "answers",
        "valid, %",
        "gain of valid",
        "programs",
        "valid answers are",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in table.to_dict("records"):
        gain = "–" if pd.isna(row["gain"]) else f"{row['gain']:.2f}"
        if not pd.isna(row["gain_half"]):
            gain += f" ± {row['gain_half']:.2f}"
        cells = [
            row["model"],
            f"{row['first']} to {row['last']}",
            str(row["prompts"]),
            str(row["answers"]),
            f"{100 * row['valid']:.0f} ({100 * row['valid_low']:.0f} to "
            f"{100 * row['valid_high']:.0f})",
            gain,
            str(row["programs"]),
            "–" if pd.isna(row["families"]) else str(row["families"]).replace("_", " "),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start it again")

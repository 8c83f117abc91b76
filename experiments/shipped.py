"""Makes the tables of studies that ship anew: each at the size that docs/results has.

Each study runs in a process and a folder of its own, and goes on where it was stopped; its summary,
rows, record and figure are then put into docs. One that is asked for anew needs its folder removed.
"""

import dataclasses
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

from lsajax.runs import cli, provenance

TIME = "four hours and a half on 2 cores"


class Run(NamedTuple):
    """A table of docs/results.

    Attributes:
        command: study and options.
        figure: file in docs that its figure becomes; none where docs show no figure of it.
    """

    command: str
    figure: str | None = None


RUNS = {
    "scaling_plain": Run("scaling", "scaling.png"),
    "scaling_fading": Run("scaling --setting fading"),
    "scaling_multipath": Run("scaling --setting multipath"),
    "scaling_fair": Run("scaling --objective fair"),
    "scaling_coupled": Run("scaling --objective coupled"),
    "scaling_wideband": Run("scaling --setting wideband"),
    "scaling_interference": Run("scaling --setting interference"),
    "scaling_poisson": Run("scaling --setting poisson"),
    "latency": Run("latency --realizations 10 --train-s 15"),
    "context": Run("context"),
    "context_fading": Run("context --size 10,15,3 --setting fading"),
    "anytime": Run("anytime", "anytime.png"),
    "choice": Run("choice", "choice.png"),
    "horizon": Run("horizon"),
    "power_control": Run("power_control"),
    "small_scale": Run("small_scale"),
    "adaptation": Run("adaptation --realizations 16"),
    "dynamics": Run("dynamics --max-completion-tokens 96", "dynamics.png"),
    "ablation": Run("ablation --max-completion-tokens 96"),
}
"""Table -> how it is made, the quick ones first."""

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@dataclasses.dataclass(frozen=True)
class Config:
    """What ships.

    Args:
        only: tables of docs/results, without .csv; all if none is given.
        out: folder of the runs, one in it for each table.
        docs: where the tables, records and figures go.
    """

    only: tuple[str, ...] = ()
    out: pathlib.Path = pathlib.Path("results/shipped")
    docs: pathlib.Path = DOCS


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    for name in config.only:
        if name not in RUNS:
            raise ValueError(f"--only must be of {', '.join(RUNS)}, got {name!r}")
    if not (config.docs / "results").is_dir():
        raise ValueError(f"--docs must be a folder that has results in it, got {config.docs}")
    return config


def run(config: Config) -> None:
    """Runs the studies, one after the other, each put into docs as soon as it has ended."""
    for name in config.only or RUNS:
        folder = config.out / name
        study, *options = shlex.split(RUNS[name].command)
        command = [f"experiments.{study}", *options, "--resume", "--out", str(folder)]
        print(f"{name}: python -m {shlex.join(command)}", file=sys.stderr)
        if subprocess.run([sys.executable, "-m", *command]).returncode:
            raise cli.Unavailable(f"{name} did not end, see above")
        put(name, folder, config.docs)
    print("now: python -m experiments.pages; python -m experiments.findings")


def put(name: str, folder: pathlib.Path, docs: pathlib.Path) -> None:
    """Copies what a run left into docs, its record without the folders of this machine."""
    shutil.copyfile(folder / "summary.csv", docs / "results" / f"{name}.csv")
    shutil.copyfile(folder / "rows.parquet", docs / "results" / f"{name}.rows.parquet")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    asked = f"python -m experiments.{RUNS[name].command}"
    record["command"] = asked
    record["sessions"] = [session | {"command": asked} for session in record["sessions"]]
    text = json.dumps(record, indent=2) + "\n"
    provenance.replace_file(docs / "results" / f"{name}.run.json", text.encode())
    figure = RUNS[name].figure
    if figure is not None:
        study = RUNS[name].command.split()[0]
        shutil.copyfile(folder / f"{study}.png", docs / figure)


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start it again: what was computed is on disk")

"""One page of every study whose rows are on disk: figures, tables, configuration, offline.

`python -m experiments.report [FOLDER ...]` takes folders of runs, or folders of such folders;
without any it takes what ships in docs/results. The page is one HTML file, which opens without a
network.
"""

import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lsajax.runs import cli
from lsajax.runs.folder import BadRun

if TYPE_CHECKING:
    import pandas as pd

TIME = "seconds; with --quick under twenty minutes on 2 cores"

SHIPPED = pathlib.Path(__file__).parents[1] / "docs" / "results"
QUICK = {
    "scaling-plain": "scaling",
    "scaling-fading": "scaling --setting fading",
    "scaling-multipath": "scaling --setting multipath --scales I",
    "scaling-fair": "scaling --objective fair",
    "scaling-coupled": "scaling --objective coupled",
    "small_scale": "small_scale",
    "choice": "choice",
    "anytime": "anytime",
    "latency": "latency",
    "context": "context",
    "adaptation": "adaptation",
    "ablation": "ablation",
    "dynamics": "dynamics",
    "horizon": "horizon",
    "power_control": "power_control",
    "train_agent": "train_agent --setting fading --triple 50 40 20 --evaluate-at I",
}
"""What `--quick` runs at that size: folder under results/quick -> command."""


def quick_calls() -> dict[pathlib.Path, list[str]]:
    """What `--quick` runs: folder of the run -> study, then its options."""
    found = {}
    for name, command in QUICK.items():
        folder = pathlib.Path("results") / "quick" / name
        found[folder] = [*command.split(), "--quick", "--resume", "--out", str(folder)]
    return found


@dataclasses.dataclass(frozen=True)
class Config:
    """The report.

    Args:
        folders: of runs, which hold run.json and summary.csv, or above such folders; what ships in
            docs/results if none is given.
        out: the HTML file.
        quick: run every study at its --quick size first, and report on those.
    """

    folders: Annotated[tuple[pathlib.Path, ...], tyro.conf.Positional] = ()
    out: pathlib.Path = pathlib.Path("report.html")
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of a study on disk.

    Attributes:
        study: its name.
        name: what tells it from other rows of the study.
        table: a row per cell and method.
        run: its run.json; empty for what ships without.
        path: of the file.
    """

    study: str
    name: str
    table: "pd.DataFrame"
    run: dict[str, Any]
    path: pathlib.Path


def prepare(config: Config) -> Config:
    """Checks what can be checked before studies run or files are read."""
    if config.out.is_dir() or config.out.suffix != ".html":
        raise ValueError(f"--out must be a file that ends in .html, got {config.out}")
    if not config.out.absolute().parent.is_dir():
        raise ValueError(f"--out must be in a folder that exists, got {config.out}")
    if config.quick and config.folders:
        raise ValueError("--quick makes its own folders: give no others beside it")
    for folder in config.folders:
        _runs(folder)
    return config


def _runs(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders of finished runs at or below a folder.

    Raises:
        ValueError: there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"a folder of runs is needed, got {folder}, which is not a folder")
    found = sorted(path.parent for path in folder.rglob("run.json"))
    if not found:
        raise ValueError(f"{folder} is not a run: neither it nor a folder in it has a run.json")
    done = [path for path in found if (path / "summary.csv").exists()]
    if not done:
        raise ValueError(
            f"{folder} holds no finished run: {found[0]} has no summary.csv; "
            "the study's own command with --resume ends it"
        )
    return done


def unfinished(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders of studies at or below a folder that have no summary yet.

    Trainings of language models, which lie in the folders of studies, never have one.
    """
    found = sorted(path.parent for path in folder.rglob("run.json"))
    there = [path for path in found if not (path / "summary.csv").exists()]
    return [path for path in there if "study" in _record(path).get("config", {})]


def _record(path: pathlib.Path) -> dict[str, Any]:
    """The run.json of a folder.

    Raises:
        BadRun: it is no record of a run.
    """
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return {**record, "config": {**record["config"]}}
    except (ValueError, KeyError, TypeError) as error:
        raise BadRun(f"{path / 'run.json'} cannot be read as a run: {error!r}") from None


def from_runs(folder: pathlib.Path) -> Iterator[Source]:
    """The runs at or below a folder.

    Raises:
        ValueError: there is none, or a file of one cannot be read.
    """
    from experiments import report_checks

    for path in _runs(folder):
        run, file = _record(path), path / "summary.csv"
        config = run["config"]
        if "study" not in config:
            raise BadRun(f"{path / 'run.json'} cannot be read as a run: it names no study")
        yield Source(str(config["study"]), _named(config), report_checks.read(file), run, file)


def _named(config: dict[str, Any]) -> str:
    """What tells runs of a study apart, in words."""
    parts = [config.get("setting"), config.get("objective")]
    shown = [str(part) for part in parts if part not in (None, "throughput")]
    model, seed = config.get("model"), config.get("seed")
    if model not in (None, "embedded"):
        shown.append(f"model {model}")
    if config.get("head"):
        shown.append(f"{config['algorithm']}, {config['head']} head")
    if seed:
        shown.append(f"seed {seed}")
    return ", ".join(shown)


def shipped(folder: pathlib.Path = SHIPPED) -> Iterator[Source]:
    """What ships with the repository: STUDY.csv, or STUDY_NAME.csv but for what is learned."""
    from experiments import report_checks
    from experiments.report_learned import LEARNED
    from experiments.report_tables import readable
    from experiments.report_views import VIEWS

    for study in VIEWS:
        for path in sorted(folder.glob(f"{study}*.csv")):
            rest = path.stem.removeprefix(study)
            record = path.with_suffix(".run.json")
            run = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
            if rest == "" or (rest.startswith("_") and study not in LEARNED):
                yield Source(study, readable(rest), report_checks.read(path), run, path)


def _quick() -> list[pathlib.Path]:
    """Runs every study at its --quick size; their folders.

    Raises:
        OSError: one failed.
    """
    from rich.console import Console

    from experiments.study import progress_bar

    calls = quick_calls()
    with progress_bar(Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(calls))
        for (study, *words), command in zip(calls.values(), QUICK.values(), strict=True):
            progress.update(task, description=command)
            call = [sys.executable, "-m", f"experiments.{study}", *words]
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise OSError(f"python -m experiments.{command} --quick failed: {last}")
            progress.advance(task)
    return [*calls]


def run(config: Config) -> None:
    """Reads the rows, writes the page.

    Raises:
        OSError: a study of `--quick` failed, or there are no rows.
    """
    folders = _quick() if config.quick else config.folders
    found = [source for folder in folders for source in from_runs(folder)] or [*shipped()]
    if not found:
        raise OSError(f"no rows found: {SHIPPED} holds none; give folders of runs")
    left_out = ""
    if names := [str(path) for folder in folders for path in unfinished(folder)]:
        left_out = f"Left out, since they have no summary.csv yet: {', '.join(names)}."
        print(f"{left_out} Each study's own command with --resume ends it.", file=sys.stderr)
    config.out.write_text(page(found, left_out), encoding="utf-8")
    size = config.out.stat().st_size / 1e6
    print(f"wrote {config.out}: {len(found)} sections, {size:.1f} MB, opens without a network")


def page(sources: list[Source], remark: str = "") -> str:
    """The HTML of all studies, in the order in which views are listed.

    Args:
        sources: what is shown.
        remark: what is said at its end of what is not.

    Raises:
        BadRun: a source is not what its study writes.
    """
    import jinja2
    import markupsafe
    import vl_convert

    import lsajax as lsa
    from experiments import report_verdicts
    from experiments.report_views import VIEWS

    order = [*VIEWS, *(s.study for s in sources)]
    first = ["", "plain", *lsa.SETTINGS, "fair", "coupled", *(s.name for s in sources)]
    sources = sorted(sources, key=lambda s: (order.index(s.study), first.index(s.name)))
    folder = pathlib.Path(__file__).parent
    env = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(folder))
    env.globals["numeric"] = lambda rows, i: bool(rows) and rows[0][i].key != rows[0][i].text
    # `</script` would end the element; within a string of JavaScript it means the same so.
    bundle = vl_convert.javascript_bundle().replace("</script", "<\\/script")  # type: ignore[call-arg]
    return env.get_template("report.html").render(
        title="Large-scale spectrum access: results",
        about="Every method on the same instances, with 95 % intervals, beside the numbers of the "
        "paper (arXiv 2604.13132), which were measured on other instances. Point at a mark for its "
        "interval, press a column's heading to sort.",
        verdicts=report_verdicts.section([source.path for source in sources]),
        sections=[_section(source, f"s{i}") for i, source in enumerate(sources)],
        bundle=markupsafe.Markup(bundle),
        footer=f"{remark} Written {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC by "
        "python -m experiments.report.",
    )


def _section(source: Source, anchor: str) -> dict[str, Any]:
    """What the template shows of a source.

    Raises:
        BadRun: it is not what its study writes.
    """
    from experiments import report_checks
    from experiments.report_tables import section
    from experiments.report_views import view_of

    view = view_of(source.study)
    report_checks.check(source.path, source.study, source.table, view)
    try:
        return section(source, view, anchor)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        reason = str(error)
        if isinstance(error, KeyError):
            reason = f"{error.args[0]} is missing"
        elif isinstance(error, IndexError):
            reason = "a cell of it has no values"
        raise report_checks.bad(source.path, source.study, reason) from error


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__, advice="nothing was written")

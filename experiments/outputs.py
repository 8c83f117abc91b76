"""What every study leaves behind: rows, summary and figure on disk, a table on the terminal."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from experiments import study
from experiments.config import Prepared
from lsajax.runs import provenance
from lsajax.runs.folder import RunFolder


def report(
    prepared: Prepared[Any],
    name: str,
    *,
    table: Callable[[pd.DataFrame], pd.DataFrame],
    figure: Callable[[pd.DataFrame, pathlib.Path], None],
    show: Callable[[pd.DataFrame, pd.DataFrame], None],
    more: Callable[[pd.DataFrame], Sequence[str]] = lambda found: (),
    measure: study.Measure | None = None,
    warm_up: Callable[[study.Study, study.Cell], None] | None = None,
) -> None:
    """What every study's `run` is: what is not on disk yet, then table and figure.

    Args:
        prepared: the run.
        name: of the study, and of its figure's file.
        table: rows -> summary, which becomes summary.csv.
        figure: draws a summary; its file without an ending.
        show: prints summary and rows.
        more: writes further files of the rows, and names them.
        measure: computes the rows of a realisation; `study.run_instance` if not given.
        warm_up: compiles a cell; `study.prepare` if not given.
    """
    with prepared.resources:
        found = study.run(
            prepared.study,
            prepared.folder,
            prepared.config.realizations,
            measure=measure,
            warm_up=warm_up,
        )
        leave(prepared.folder, name, found, table=table, figure=figure, show=show, more=more)


def leave(
    folder: RunFolder,
    name: str,
    found: pd.DataFrame,
    *,
    table: Callable[[pd.DataFrame], pd.DataFrame],
    figure: Callable[[pd.DataFrame, pathlib.Path], None],
    show: Callable[[pd.DataFrame, pd.DataFrame], None],
    more: Callable[[pd.DataFrame], Sequence[str]] = lambda found: (),
) -> None:
    """Summary, figure and printed table of rows that are all there.

    Args:
        folder: of the rows.
        name: see `report`, as for the others.
        found: the rows.
        table: see `report`.
        figure: see `report`.
        show: see `report`.
        more: see `report`.
    """
    summary = table(found)
    write_summary(folder, summary)
    figure(summary, folder.path / name)
    names = ["rows.parquet", "run.json", "summary.csv", f"{name}.png", f"{name}.pdf"]
    names += more(found)
    show(summary, found)
    print(f"wrote {', '.join(names)} in {folder.path}/")


def write_summary(folder: RunFolder, summary: pd.DataFrame) -> None:
    """Writes summary.csv into a run's folder, so that a kill leaves the old one or the new."""
    content = summary.to_csv(index=False).encode()
    provenance.replace_file(folder.path / "summary.csv", content)

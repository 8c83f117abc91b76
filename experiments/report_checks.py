"""Whether a summary on disk is whole and one of its study, before anything is made of it."""

import pathlib

import pandas as pd

from experiments.report_parts import View
from experiments.report_tables import HALVES, NUMBERS, axes_of
from lsajax.runs.folder import BadRun

_ANEW = "if another version made it, its study's command with --resume writes its summary anew"


def read(path: pathlib.Path) -> pd.DataFrame:
    """The rows of a summary.

    Raises:
        BadRun: it is no table, has no rows, or ends within a line, as what a kill left may.
    """
    try:
        if not path.read_bytes().endswith(b"\n"):
            raise BadRun(f"{path} ends within a line: {_ANEW}")
        table = pd.read_csv(path)
    except BadRun:
        raise
    except (OSError, ValueError) as error:
        raise BadRun(f"{path} cannot be read as a table: {error}") from None
    if table.empty:
        raise BadRun(f"{path} has no rows")
    return table


def check(path: pathlib.Path, study: str, table: pd.DataFrame, view: View) -> None:
    """Raises BadRun, naming the file, unless a table has the axes, columns and numbers of a study.

    Args:
        path: of the file.
        study: what it is to be one of.
        table: its rows.
        view: of the study.
    """
    axes = axes_of(table)
    if view.axes is not None and axes != list(view.axes):
        own, theirs = (", ".join(names) or "none" for names in (axes, view.axes))
        raise bad(path, study, f"the columns before 'method' are {own}, and its own are {theirs}")
    missing = [name for name in view.own if name not in table]
    if missing:
        raise bad(
            path, study, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    if "method" in table:
        for value in table["method"]:
            if not isinstance(value, str):
                raise bad(path, study, f"column 'method' has {value} where a name belongs")
    for name in (*NUMBERS, *HALVES):
        if name not in table:
            continue
        words = table[name][pd.to_numeric(table[name], errors="coerce").isna()].dropna()
        if len(words):
            raise bad(path, study, f"column {name!r} has {words.iloc[0]!r} where a number belongs")


def bad(path: pathlib.Path, study: str, reason: str) -> BadRun:
    """What is said of a file that is not rows of its study."""
    return BadRun(f"{path} cannot be shown as rows of {study}: {reason}; {_ANEW}")

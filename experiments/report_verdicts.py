"""What holds of the paper's claims, as the report's first table; docs/findings.md has the same."""

import pathlib
import re
from collections.abc import Sequence
from typing import Any

import markupsafe

from experiments import findings, findings_rows
from experiments.findings_rows import Finding
from experiments.report_tables import Cell

_ELSEWHERE = "They are of the tables that ship in docs/results, not of the runs on this page."


def section(files: Sequence[pathlib.Path]) -> dict[str, Any]:
    """What the template shows: a row per claim, its text opened by a key or a click.

    Args:
        files: whose rows the page shows.
    """
    about = "Each claim of the paper, in our words; open one for what was measured of it."
    shipped = findings_rows.RESULTS.resolve()
    if any(file.resolve().parent != shipped for file in files):
        about = f"{about} {_ELSEWHERE}"
    rows = []
    for name, found in findings.measured().items():
        claim, verdict = findings.CLAIMS[name], found.verdict.rstrip(".")
        rows.append(
            [
                Cell(claim.text, claim.text, more=_html(found)),
                Cell(claim.where, claim.where),
                Cell(verdict, verdict),
            ]
        )
    return {
        "title": "What holds",
        "about": about,
        "headings": ["Claim", "In the paper", "Verdict"],
        "rows": rows,
    }


def _html(found: Finding) -> markupsafe.Markup:
    """Its text with code as such, links as words alone, and the files of its rows."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", found.text)
    if found.files:
        text += f" Rows: {', '.join(found.files)}."
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))

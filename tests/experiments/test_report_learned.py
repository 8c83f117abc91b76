"""The report's verdicts, and its views of what is learned."""

import pathlib
import re

import markupsafe
import pandas as pd
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from experiments import (
    findings,
    findings_rows,
    learning,
    report,
    report_learned,
    report_tables,
    report_verdicts,
)
from experiments.findings_rows import FAILS, HOLDS, Finding
from lsajax.runs.folder import BadRun

ELSEWHERE = "not of the runs on this page"


def sources(*names):
    return [source for source in report.shipped() if source.path.stem in names]


def table_rows(text):
    """The rows of the verdicts in a page: claim, its text, where, verdict."""
    (part,) = re.findall(r'<section id="verdicts".*?</section>', text, re.DOTALL)
    shown = r"<summary>(.*?)</summary><p>(.*?)</p></details></td><td>(.*?)</td><td>(.*?)</td>"
    return [
        tuple(markupsafe.Markup(cell).unescape() for cell in row)
        for row in re.findall(shown, part, re.DOTALL)
    ]


def test_verdicts_are_those_of_the_findings():
    page = findings.PAGE.read_text(encoding="utf-8")
    text = report.page(sources("horizon"))
    rows = table_rows(text)
    assert [row[0] for row in rows] == [claim.text for claim in findings.CLAIMS.values()]
    for claim, words, where, verdict in rows:
        assert f"| {where} | {claim} | {verdict} |" in page
        assert len(words) > 80
    (words,) = [row[1] for row in rows if row[0].startswith("Optimal allocation")]
    assert "in <code>plain</code>, " in words and words.endswith("scaling_coupled.csv.")
    assert not any(re.search(r"\]\(|`", row[1]) for row in rows)
    assert text.index('id="verdicts"') < text.index('id="s0"')


def test_verdicts_of_other_rows_than_those_shown_say_so(tmp_path):
    assert ELSEWHERE not in report_verdicts.section([report.SHIPPED / "horizon.csv"])["about"]
    files = [report.SHIPPED / "horizon.csv", tmp_path / "summary.csv"]
    assert report_verdicts.section(files)["about"].count(ELSEWHERE) == 1


def test_verdicts_are_made_anew_and_escaped(monkeypatch):
    words = "`a < b` in [a page](page.md) & <b>more</b>."
    claims = {
        name: findings.Claim("Eq. (1)", f"It is {name}.", lambda v=verdict: Finding(v, words))
        for name, verdict in (("so", HOLDS), ("not so", FAILS))
    }
    monkeypatch.setattr(findings, "CLAIMS", claims)
    (so, not_so) = report_verdicts.section([])["rows"]
    assert [cell.text for cell in so] == ["It is so.", "Eq. (1)", "Holds"]
    assert not_so[2].text == "Does not hold"
    assert so[0].more == (
        "<code>a &lt; b</code> in a page &amp; &lt;b&gt;more&lt;/b&gt;."
    )  # no link: there is nothing beside the page


def test_verdicts_without_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(findings_rows, "RESULTS", tmp_path)
    findings_rows._read.cache_clear()
    rows = report_verdicts.section([])["rows"]
    findings_rows._read.cache_clear()
    assert len(rows) == len(findings.CLAIMS)
    assert {row[2].text for row in rows} >= {"Not yet measured"}


def shown(name):
    (source,) = sources(name)
    view = report_learned.LEARNED[source.study]
    return source.table, report_tables.section(source, view, "s0")


def test_what_is_learned_by_group():
    table, section = shown("learning_embedded")
    assert section["headings"][:3] == ["Cells", "Answers", "Method"]
    # The same numbers as in the table of docs/learning.md, which has fewer digits.
    lines = learning.group_markdown(table).splitlines()[2:]
    assert len(section["rows"]) == 2 * len(lines) == 12
    column = section["headings"].index("Right, %")
    for line, before, after in zip(lines, section["rows"][::2], section["rows"][1::2], strict=True):
        cells, way, _, right, _ = (part.strip() for part in line.strip("|").split("|"))
        assert [cell.text for cell in before[:3]] == [cells, way, "before GRPO"]
        first, last = (float(part.split()[0]) for part in right.split(" → "))
        assert before[column].key == pytest.approx(first, abs=0.5)
        assert after[column].key == pytest.approx(last, abs=0.5)
        assert ("(" in after[column].text) == ("(" in right)
    assert "trained (17) 16 → 44 (42 to 46) %" in section["lead"]


def test_intervals_of_shares_stay_within_them():
    table, _ = shown("learning_embedded")
    for name in ("valid_percent", "right_percent"):
        found = report_learned.of_groups(table)
        assert (found[f"{name}_low"] >= 0).all() and (found[f"{name}_high"] <= 100).all()
        assert (found[f"{name}_low"] < found[f"{name}_high"]).any()
    gap = report_learned.of_groups(table)
    assert (gap["valid_gap_percent_low"] >= 0).all()
    # One model before: a point, no interval of no width.
    before = gap[gap["method"] == "before GRPO"]
    assert not before["valid_percent_label"].str.contains("to").any()


def test_what_a_code_model_learned():
    table, section = shown("code_model")
    own = table[table["setting"] == "all"]
    assert len(section["rows"]) == len(own)
    names = section["headings"]
    for row in section["rows"]:
        values = dict(zip(names, row, strict=True))
        sampled = (own["temperature"] > 0) == (values["Answers"].text == "sampled")
        (found,) = own[sampled & (own["model"] == values["Method"].text)].to_dict("records")
        for what, heading in (("valid", "Valid, %"), ("right", "Right, %"), ("truncated", "Cut")):
            key = next(name for name in names if name.startswith(heading))
            assert values[key].key == pytest.approx(100 * found[what], abs=1e-3)
        low, high = 100 * found["valid_low"], 100 * found["valid_high"]
        assert values["Valid, %"].text.endswith(f"({low:.0f} to {high:.0f})")
    assert "zero-shot 30 (15 to 52) and 0 (0 to 16) %" in section["lead"]


@pytest.mark.parametrize("name", ["learning_embedded", "code_model"])
def test_figures_of_what_is_learned(name):
    (source,) = sources(name)
    figures = report_learned.LEARNED[name].figures(source.table)
    assert len(figures) == 3
    for figure in figures:
        assert "with 95 % intervals; at sampled from" in figure.alt
        drawn = figure.chart.to_dict()["data"]["values"]
        assert len(drawn) == len(figure.data) >= 9
        assert {row["place"] for row in drawn} == {"greedy", "sampled"}
        for row in drawn:
            ends = [row[key] for key in row if key.endswith(("_low", "_high"))]
            (value,) = [row[key] for key in row if key.endswith("_percent")]
            assert ends[0] <= value <= ends[1]
        tips = [tip["field"] for tip in figure.chart.to_dict()["layer"][1]["encoding"]["tooltip"]]
        assert tips[-1].endswith("_label")


def test_files_with_the_beginning_of_a_name_are_no_rows_of_it(tmp_path):
    for name in ("code_model", "code_model_steps", "scaling_plain"):
        data = (report.SHIPPED / f"{name}.csv").read_bytes()
        pathlib.Path(tmp_path / f"{name}.csv").write_bytes(data)
    assert [source.path.stem for source in report.shipped(tmp_path)] == [
        "scaling_plain",
        "code_model",
    ]


def test_another_table_under_the_name_of_what_is_learned():
    (source,) = sources("code_model")
    for changed, said in (
        (source.table.drop(columns="right_low"), "right_low is missing"),
        (pd.read_csv(report.SHIPPED / "latency.csv"), "the columns before 'method' are size"),
    ):
        with pytest.raises(BadRun, match=said):
            report.page([report.Source("code_model", "", changed, {}, source.path)])

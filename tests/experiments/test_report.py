"""The report: what the page holds, and how it looks in a browser, where there is one."""

import dataclasses
import html.parser
import importlib
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import tyro

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from experiments import __main__ as listing
from experiments import latency, outputs, report, report_tables, report_views
from experiments.report_numbers import interval, number
from experiments.report_parts import extremes
from lsajax.runs import provenance
from lsajax.runs.folder import BadRun

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ROOT = pathlib.Path(__file__).parents[2]


class Page(html.parser.HTMLParser):
    """Elements of a page, each with its attributes and the text directly in it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._open.append({"tag": tag, "text": "", **dict(attrs)})
        self.elements.append(self._open[-1])
        if tag in ("meta", "link", "br", "img", "input"):
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open[-1]["tag"] == tag, f"</{tag}> ends <{self._open[-1]['tag']}>"
        self._open.pop()

    def handle_data(self, data):
        if self._open:
            self._open[-1]["text"] += data

    def all(self, tag, **attrs):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and all(e.get(k.rstrip("_")) == v for k, v in attrs.items())
        ]


@pytest.fixture(scope="module")
def sources():
    return [*report.shipped()]


@pytest.fixture(scope="module")
def text(sources):
    return report.page(sources)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_every_shipped_study_has_a_section(page, sources):
    first, *sections = page.all("section")
    assert first["id"] == "verdicts"
    assert len(sections) == len(sources) >= 10
    assert {source.study for source in sources} <= set(report_views.VIEWS)
    links = [e["href"] for e in page.all("a")]
    assert [f"#{e['id']}" for e in (first, *sections)] == links[1:]


def test_one_bundle_and_no_request(page, text):
    assert len(page.all("script", id="bundle")) == 1
    assert text.count("window.vegaEmbed=") == 1
    for element in page.elements:
        for name in ("src", "srcset", "href", "data", "poster", "action"):
            assert not re.match(r"(https?:)?//", element.get(name) or "")
        if element["tag"] == "style":
            assert not re.search(r"@import|url\(", element["text"])
    for element in page.all("script", type="application/json"):
        spec = json.loads(element["text"])
        assert "url" not in json.dumps({**spec, "$schema": ""})


def test_each_figure_has_words_and_a_table(page):
    images = page.all("div", class_="chart") or [
        e for e in page.elements if e.get("class") == "chart"
    ]
    specs = [e["data-chart"] for e in page.all("script", type="application/json")]
    assert [e["id"] for e in images] == specs
    assert len(specs) >= 10
    for element in images:
        assert element["role"] == "img"
        assert len(element["aria-label"]) > 40
        assert re.search(r"\d", element["aria-label"])
    figures = len(page.all("figure"))
    assert figures == len(specs)
    summaries = [e["text"] for e in page.all("summary")]
    assert summaries.count("The figure as a table") == figures


def test_tables_have_headings_that_sort(page):
    sorted_by = page.all("th", **{"aria-sort": "none"})
    buttons = page.all("button")
    assert len(sorted_by) == len(buttons) > 50
    assert all(e["type"] == "button" and e["text"].strip() for e in buttons)
    assert all(e["scope"] == "col" for e in page.all("th"))
    boxes = [e for e in page.all("div") if e.get("class") == "scroll"]
    assert all(e["role"] == "region" and e["tabindex"] == "0" and e["aria-label"] for e in boxes)


def test_numbers_are_those_of_the_rows(text):
    table = pd.read_csv(report.SHIPPED / "scaling_plain.csv")
    for row in table.to_dict("records"):
        assert interval(row["mean"], row["mean_half"]) in text
    optimum = table[(table["method"] == "Exact optimum") & (table["scale"] == "III")]
    assert f"the best mean is {number(optimum['mean'].item())} Mbit/s" in text
    assert number(55099) in text  # the paper's


def test_interval_has_the_digits_that_it_leaves():
    assert interval(26717.26, 1748.4) == "26\u202f717 ± 1\u202f748"
    assert interval(4.1114, 6.3835) == "4.1 ± 6.4"
    assert interval(0.016086, 0.0011111) == "0.0161 ± 0.0011"
    assert interval(-4.6e-6, 6.4e-6) == "0"
    assert interval(3.0, float("nan")) == "3"


RUN = {
    "config": {"study": "scaling", "setting": "fading", "objective": "coupled", "seed": 3},
    "versions": {"jax": "0.0.1"},
    "command": "python -m experiments.scaling",
    "wall_s": 12.0,
}


def run_folder(path, table):
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(RUN))
    table.to_csv(path / "summary.csv", index=False)
    return path


def test_runs_on_disk(tmp_path):
    table = pd.read_csv(report.SHIPPED / "scaling_plain.csv")
    # A method that was skipped, a name that is markup, one instance without intervals.
    table["skipped"] = table["skipped"].astype(object)
    table.loc[0, ["mean", "mean_half", "gap_percent"]] = float("nan")
    table.loc[0, "skipped"] = "it needs 3 <GB>"
    table.loc[1, "method"] = "<b>bold</b></script>"
    run_folder(tmp_path / "results" / "a", table)
    (tmp_path / "results" / "b").mkdir()
    (source,) = report.from_runs(tmp_path / "results")
    assert (source.study, source.name) == ("scaling", "fading, coupled, seed 3")
    found = Page(report.page([source]))
    assert any(e.get("title") == "it needs 3 <GB>" and e["text"] == "N/A" for e in found.all("td"))
    assert any("it needs 3 <GB>" in e["text"] for e in found.all("li"))
    assert found.all("b") == []
    assert any("jax 0.0.1" in e["text"] for e in found.all("dd"))


def test_an_unknown_study_is_shown_too(tmp_path):
    table = pd.read_csv(report.SHIPPED / "scaling_plain.csv")
    (source,) = report.from_runs(run_folder(tmp_path / "x", table))
    found = Page(report.page([dataclasses.replace(source, study="some_new", name="")]))
    assert [e["text"] for e in found.all("h2")] == ["What holds", "some new"]
    assert len(found.all("figure")) == 2


def test_bad_folders(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        report.prepare(report.Config(folders=(tmp_path / "none",)))
    with pytest.raises(ValueError, match=r"is not a run: .* run\.json"):
        report.prepare(report.Config(folders=(tmp_path,)))
    table = pd.read_csv(report.SHIPPED / "scaling_plain.csv")
    path = run_folder(tmp_path / "a", table)
    (path / "summary.csv").unlink()
    with pytest.raises(ValueError, match=r"no finished run: .* no summary\.csv"):
        report.prepare(report.Config(folders=(tmp_path,)))
    table.head(0).to_csv(path / "summary.csv", index=False)
    with pytest.raises(BadRun, match="has no rows"):
        list(report.from_runs(path))
    table.drop(columns="gap_percent").to_csv(path / "summary.csv", index=False)
    with pytest.raises(BadRun, match="gap_percent is missing"):
        report.page([*report.from_runs(path)])
    (path / "run.json").write_text("{")
    with pytest.raises(BadRun, match="cannot be read as a run"):
        list(report.from_runs(path))
    with pytest.raises(ValueError, match=r"ends in \.html"):
        report.prepare(report.Config(out=tmp_path))


def declared(path, study, table):
    """A run's folder that says of a table that it is of a study."""
    run_folder(path, table)
    (path / "run.json").write_text(json.dumps({**RUN, "config": {"study": study}}))
    return path


def of_study(study, **changes):
    table = pd.read_csv(report.SHIPPED / f"{study}.csv").astype(object)
    for name, value in changes.items():
        table.loc[table[table.columns[0]] == table.iloc[-1, 0], name] = value
    return table


@pytest.mark.parametrize(
    ("study", "table", "said"),
    [
        (
            "latency",
            of_study("context"),
            "the columns before 'method' are prompt_budget, prompt_detail, prompt_level, and its ",
        ),
        ("horizon", of_study("latency"), "throughput_mbps, jain_index, served_share are missing"),
        ("scaling", of_study("rewards_forms"), "the columns before 'method' are none"),
        ("latency", of_study("latency", seconds=None), "a cell of it has no values"),
        ("scaling", of_study("scaling_plain", mean=None), "a cell of it has no values"),
        ("latency", of_study("latency", seconds="soon"), "column 'seconds' has 'soon' where a num"),
        ("scaling", of_study("scaling_plain", mean_half="wide"), "column 'mean_half' has 'wide'"),
        (
            "scaling",
            of_study("scaling_plain").assign(method=3.5),
            "column 'method' has 3.5 where a name",
        ),
        ("horizon", of_study("horizon", jain_index=None), "cannot be shown as rows of horizon"),
    ],
)
def test_what_is_not_a_summary_of_its_study(tmp_path, study, table, said):
    path = declared(tmp_path / "run", study, table)
    with pytest.raises(BadRun) as error:
        report.page([*report.from_runs(path)])
    assert str(error.value).startswith(f"{path / 'summary.csv'} cannot be shown as rows of {study}")
    assert said in str(error.value)


def test_a_summary_that_was_cut_off(tmp_path):
    path = declared(tmp_path / "run", "latency", of_study("latency"))
    whole = (path / "summary.csv").read_bytes()
    (path / "summary.csv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadRun, match=r"summary\.csv ends within a line"):
        list(report.from_runs(path))
    (path / "summary.csv").write_bytes(b"a,b\n1,2\n1,2,3\n")
    with pytest.raises(BadRun, match=r"summary\.csv cannot be read as a table"):
        list(report.from_runs(path))


def test_a_summary_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = dataclasses.make_dataclass("Folder", ["path"])(tmp_path)
    outputs.write_summary(folder, pd.DataFrame({"a": [1, 2]}))
    before = (tmp_path / "summary.csv").read_bytes()
    assert before == b"a\n1\n2\n"

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(provenance.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        outputs.write_summary(folder, pd.DataFrame({"a": range(1000)}))
    assert (tmp_path / "summary.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]


def test_runs_that_are_left_out_are_named(tmp_path, capsys):
    declared(tmp_path / "a", "latency", of_study("latency"))
    for name, config in (("b", {"study": "context"}), ("b/training", {"steps": 20})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({**RUN, "config": config}))
    out = tmp_path / "report.html"
    report.run(report.prepare(report.Config(folders=(tmp_path,), out=out)))
    said = capsys.readouterr().err
    assert said.startswith(f"Left out, since they have no summary.csv yet: {tmp_path / 'b'}. Each")
    (footer,) = [e["text"] for e in Page(out.read_text()).all("p") if "Written" in e["text"]]
    assert footer.startswith(f"Left out, since they have no summary.csv yet: {tmp_path / 'b'}.")


def test_quick_runs_every_study():
    # They run others; a question of one's own; prices, of which the page has no view.
    without = {"report", "shipped", "monte_carlo", "train_duals"}
    studies = {call[0] for call in report.quick_calls().values()}
    assert studies == set(listing.studies()) - without


@pytest.mark.parametrize("call", report.quick_calls().values(), ids=" ".join)
def test_quick_commands_parse(call):
    study, *words = call
    module = importlib.import_module(f"experiments.{study}")
    config = tyro.cli(module.Config, args=words)
    module.check(config)
    assert config.quick and config.resume and config.out.parts[:2] == ("results", "quick")


def test_the_words_of_a_figure_say_what_is_drawn(sources):
    (source,) = [source for source in sources if source.path.stem == "latency"]
    table = report_tables.prepared(source.table)
    seconds, stages = report_views.VIEWS["latency"].figures(table)
    assert "95 % intervals" not in seconds.alt and "up to the 95 % quantile" in seconds.alt
    own = table.set_index(["size", "method"]).loc[("III", "LLM (code)")]
    assert f"Execute {number(1e3 * own['execute_s'], 3)}" in stages.alt
    # The menu and the table have both ways and every size.
    assert len(stages.data) == 2 * table["size"].nunique()
    drawn = stages.chart.to_dict()["data"]["values"]
    whole = sum(r["ms"] for r in drawn if (r["place"], r["method"]) == ("III", "LLM (code)"))
    # Medians of the stages, which do not quite add up to the median of the sums.
    assert whole == pytest.approx(1e3 * own["seconds"], rel=0.1)


def test_the_words_of_a_figure_name_the_ends_of_every_place():
    table = pd.DataFrame(
        {"place": ["I", "I", "II", "II"], "method": ["a", "b", "a", "b"], "mean": [1, 9, 3, 4]}
    )
    said = extremes(table, "mean", "II")
    assert said == ("at II from 3 (a) to 4 (b); over all 2 places from 1 (a at I) to 9 (b at I)")
    assert extremes(table[:2], "mean", "I") == "at I from 1 (a) to 9 (b)"


def test_compilation_of_a_language_model_is_no_number():
    table = pd.read_csv(report.SHIPPED / "latency.csv")
    headings, rows, _ = report_tables.cells(report_tables.prepared(table))
    column = headings.index("Compilation, s")
    shown = {row[1].text: row[column].text for row in rows}
    assert shown["LLM (code)"] == shown["LLM, no prefix cache"] == "–"
    assert shown["Exact optimum"] not in ("–", "")
    assert "Execute, ms" in headings


def test_command_line(tmp_path):
    call = [sys.executable, "-m", "experiments.report", str(tmp_path / "none")]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: a folder of runs is needed")


PROBE = """<!doctype html><meta charset="utf-8"><iframe src="report.html" style="width:WIDTHpx;
height:900px;border:0"></iframe><pre></pre><script type="module">
const frame = document.querySelector("iframe");
await new Promise(done => frame.addEventListener("load", done));
const page = frame.contentDocument, root = page.documentElement;
while (!root.dataset.drawn) await new Promise(done => setTimeout(done, 50));
const table = page.querySelector("#s0 table.sortable"), head = table.tHead.rows[0];
const column = [...head.cells].findIndex(cell => cell.textContent.startsWith("Mean"));
// What is N/A stays last, either way.
const keys = () => [...table.tBodies[0].rows].map(row => row.cells[column].dataset.key);
const values = () => keys().filter(key => key).map(Number);
const button = head.cells[column].querySelector("button");
const before = values(); button.focus(); const focused = page.activeElement === button;
button.click(); const up = values(), sort = head.cells[column].getAttribute("aria-sort");
button.click(); const down = values();
const charts = [...page.querySelectorAll(".chart")];
const claims = page.querySelector("#verdicts .scroll"), rows = claims.querySelector("tbody").rows;
claims.querySelector("th:nth-child(3) button").click();
const verdicts = [...rows].map(row => row.cells[2].textContent);
const opener = rows[0].querySelector("summary"); opener.focus();
const opens = page.activeElement === opener;
claims.querySelectorAll("details").forEach(claim => { claim.open = true; });
const words = rows[0].querySelector("details p").getBoundingClientRect();
document.querySelector("pre").textContent = JSON.stringify({
  verdicts, opens, words: [words.width, words.height],
  sideways: claims.scrollWidth - claims.clientWidth,
  drawn: root.dataset.drawn, width: root.scrollWidth, before, up, down, sort, focused,
  paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
  requests: frame.contentWindow.performance.getEntriesByType("resource").map(r => r.name),
  charts: charts.map(c => [c.clientWidth, c.querySelector("svg").getBoundingClientRect().width]),
  menus: [...page.querySelectorAll(".menu select")].length,
  marks: charts.map(c => c.querySelectorAll("svg .mark-symbol path, svg .mark-rect path").length),
});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize(("scheme", "flag"), [("dark", 0), ("light", 1)])
def test_in_a_browser(text, tmp_path, width, scheme, flag):
    (tmp_path / "report.html").write_text(text)
    (tmp_path / "probe.html").write_text(PROBE.replace("WIDTH", str(width)))
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={flag}",
        "--window-size=1300,1000",
        "--virtual-time-budget=30000",
        "--dump-dom",
        (tmp_path / "probe.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    (shown,) = Page(done.stdout).all("pre")
    assert shown["text"], done.stderr[-2000:]
    found = json.loads(shown["text"])
    assert found["drawn"] == scheme
    dark = sum(map(int, re.findall(r"\d+", found["paper"])[:3])) < 200
    assert dark == (scheme == "dark")
    assert found["width"] <= width, "the page is wider than its window"
    assert found["requests"] == []
    assert found["menus"] >= 8
    for container, drawn in found["charts"]:
        assert 0.8 * container < drawn <= container + 1
    assert min(found["marks"]) >= 2
    assert found["focused"]
    assert found["sort"] == "ascending"
    assert found["up"] == sorted(found["before"])
    assert found["down"] == sorted(found["before"], reverse=True)
    assert found["verdicts"] == sorted(found["verdicts"])
    assert found["opens"], "the keyboard does not reach a claim's text"
    assert found["sideways"] <= 0, "verdicts have to be scrolled sideways"
    assert found["words"][0] > 0.6 * min(width, 600) and found["words"][1] > 0


def study_table(study):
    """A summary with the columns of a study, of numbers that a test can look for."""
    table = pd.read_csv(report.SHIPPED / "scaling_plain.csv")
    if (report.SHIPPED / f"{study}.csv").exists() and study not in (
        "latency",
        "context",
        "horizon",
    ):
        return pd.read_csv(report.SHIPPED / f"{study}.csv")
    if study == "context":
        ours = table["method"] == "LLM (code)"
        gaps = [[4.11, 6.38], [4.6, 6.9], [13.5, 7.0]]
        table.loc[ours, ["gap_percent", "gap_half_percent"]] = gaps
        budget = table["scale"].map({"I": 512, "II": 1024, "III": 2048})
        return (
            table.drop(columns="scale")
            .assign(prompt_tokens=58, detail_percent=0.0, level_percent=math.nan, paper_s=7.46)
            .assign(prompt_detail=1.0, prompt_level="all")
            .pipe(
                lambda t: t[
                    [
                        "prompt_detail",
                        "prompt_level",
                        *t.columns.drop(["prompt_detail", "prompt_level"]),
                    ]
                ]
            )
            .pipe(lambda t: t.assign(prompt_budget=budget)[["prompt_budget", *t.columns]])
        )
    table = table.rename(columns={"scale": "size"})
    if study == "latency":
        seconds = table["seconds"]
        asked = table["method"].str.startswith("LLM")
        stages = {f"{stage}_s": (0.1 * seconds).where(asked) for stage in latency.STAGES}
        more = {"p95_s": 2 * seconds, "compile_s": 1.0, "paper_s": 100 * seconds}
        return table.assign(**more, **stages).drop(columns="prefill_s")
    shares = {"throughput_mbps": table["mean"], "jain_index": table["gap_percent"] / 100}
    halves = {f"{name}_half": values / 10 for name, values in shares.items()}
    return table.assign(**shares, **halves, served_share=1.0)


@pytest.mark.parametrize(
    ("study", "figures", "said"),
    [
        ("latency", 2, "is 100 times as fast"),
        (
            "context",
            1,
            "repaired, are 4.1 ± 6.4 % (512 tokens, detail 1, all levels) to 13.5 ± 7.0 % (2048",
        ),
        ("horizon", 2, "the fairest is Random, 46"),
        ("adaptation", 2, "Lost without being adapted, over 9 moves from home: LLM, repair off"),
        ("ablation", 2, "Valid answers at plain, 15,20,8, repair off: Before GRPO"),
        ("dynamics", 1, "Valid answers in the last of 300 steps, from"),
        ("power_control", 1, "The most that is gained over equal powers, by problem: alone: "),
        ("repair_ratio", 0, "Within the paper's ranges the repair keeps 0.641"),
    ],
)
def test_views_of_other_studies(tmp_path, study, figures, said):
    path = run_folder(tmp_path / study, study_table(study))
    (source,) = report.from_runs(path)
    found = Page(report.page([dataclasses.replace(source, study=study)]))
    assert len(found.all("figure")) == figures
    (lead,) = [e["text"] for e in found.all("p") if e.get("class") == "lead"]
    assert said in lead, lead

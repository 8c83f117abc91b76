"""The report: what the page holds, and how it looks in a browser, where there is one."""

import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from experiments import report, report_views
from experiments.report_numbers import interval, number
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
    assert len(page.all("section")) == len(sources) >= 10
    assert {source.study for source in sources} <= set(report_views.VIEWS)
    links = [e["href"] for e in page.all("a")]
    assert [f"#{e['id']}" for e in page.all("section")] == links[1:]


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
    assert [e["text"] for e in found.all("h2")] == ["some new"]
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
const table = page.querySelector("table.sortable"), head = table.tHead.rows[0];
const column = [...head.cells].findIndex(cell => cell.textContent.startsWith("Mean"));
const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.key));
const button = head.cells[column].querySelector("button");
const before = values(); button.focus(); const focused = page.activeElement === button;
button.click(); const up = values(), sort = head.cells[column].getAttribute("aria-sort");
button.click(); const down = values();
const charts = [...page.querySelectorAll(".chart")];
document.querySelector("pre").textContent = JSON.stringify({
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
    assert min(found["marks"]) >= 3
    assert found["focused"]
    assert found["sort"] == "ascending"
    assert found["up"] == sorted(found["before"])
    assert found["down"] == sorted(found["before"], reverse=True)


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
            .assign(prompt_detail=1.0)[["prompt_detail", *table.columns[1:]]]
            .pipe(lambda t: t.assign(prompt_budget=budget)[["prompt_budget", *t.columns]])
        )
    table = table.rename(columns={"scale": "size"})
    if study == "latency":
        seconds = table["seconds"]
        return table.assign(p95_s=2 * seconds, paper_s=100 * seconds)
    shares = {"throughput_mbps": table["mean"], "jain_index": table["gap_percent"] / 100}
    halves = {f"{name}_half": values / 10 for name, values in shares.items()}
    return table.assign(**shares, **halves, served_share=1.0)


@pytest.mark.parametrize(
    ("study", "figures", "said"),
    [
        ("latency", 1, "is 100 times as fast"),
        ("context", 1, "repaired, are 4.1 ± 6.4 % (512 tokens, detail 1) to 13.5 ± 7.0 % (2048"),
        ("horizon", 2, "the fairest is Random, 46"),
        ("adaptation", 2, "Lost without being adapted, over 9 moves from home: LLM, repair off"),
        ("ablation", 2, "Valid answers at plain, 15,20,8, repair off: Before GRPO"),
        ("dynamics", 1, "Valid answers in the last of 20 steps, from"),
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

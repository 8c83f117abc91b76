"""The pages: links lead somewhere, tables are those of their files, every column is there."""

import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from experiments import __main__ as listing
from experiments import pages, rows

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_git_keeps(page):
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    files = [(page.parent / link).resolve() for link in links if link and "://" not in link]
    assert [file for file in files if not file.exists()] == []
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if kept.returncode != 0:
        pytest.skip(f"git does not answer here: {kept.stderr.strip()}")
    names = kept.stdout.splitlines()
    for file in files:
        prefix = file.relative_to(ROOT).as_posix()
        assert any(name == prefix or name.startswith(f"{prefix}/") for name in names), prefix


def test_every_module_named_under_how_it_is_built_exists():
    tree = (ROOT / "README.md").read_text().split("## How it is built")[1].split("```")[1]
    package, named = "", []
    for line in tree.strip().splitlines():
        first = re.match(r"(\w+)/", line)
        package = first.group(1) if first else package
        rest = line.removeprefix(f"{package}/")
        named += [f"{package}/{name}" for name in re.findall(r"\b\w+(?:\.py\b|/)", rest)]
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", pages.PAGES)
def test_tables_are_those_of_their_files(name):
    page = (ROOT / name).read_text()
    assert "<!-- table: " in page
    assert pages.filled(page) == page, "run python -m experiments.pages"


def test_every_column_of_the_rows_is_documented():
    page = (ROOT / "docs" / "studies.md").read_text()
    for column, meaning in rows.COLUMNS.items():
        assert f"| `{column}` | {meaning} |" in page


@pytest.mark.parametrize(("name", "time"), [(n, t) for n, (t, _) in listing.studies().items()])
def test_expected_times_are_those_of_the_studies(name, time):
    page = (ROOT / "docs" / "studies.md").read_text()
    (line,) = [x for x in page.splitlines() if x.startswith(f"| `python -m experiments.{name}` |")]
    assert line.split("|")[-2].strip().replace("`", "") == time.replace(" on 2 cores", "")


def test_the_wheel_holds_lsajax_alone():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert built["targets"]["wheel"]["packages"] == ["lsajax"]


def test_readme_is_a_front_door():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 160


def test_the_site_builds(tmp_path):
    pytest.importorskip("mkdocs")
    command = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "linear_sum_assignment" in (tmp_path / "api" / "solvers" / "index.html").read_text()

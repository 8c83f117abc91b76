"""The front door: what it points to is there, in a checkout as git makes it."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def test_links_lead_to_files_that_git_keeps():
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    kept = subprocess.run(["git", "ls-files", *links], cwd=ROOT, capture_output=True, text=True)
    if kept.returncode != 0:
        pytest.skip(f"git does not answer here: {kept.stderr.strip()}")
    for link in links:
        prefix = link.rstrip("/")
        assert any(name == prefix or name.startswith(prefix + "/") for name in kept.stdout.split())


def test_every_module_named_under_how_it_is_built_exists():
    text = (ROOT / "README.md").read_text()
    tree = text.split("## How it is built")[1].split("```")[1]
    package, missing = "", []
    for line in tree.strip().splitlines():
        named = re.match(r"(\w+)/", line)
        package = named.group(1) if named else package
        for name in re.findall(r"\b(\w+\.py)\b", line):
            if not (ROOT / package / name).exists():
                missing.append(f"{package}/{name}")
    assert missing == []

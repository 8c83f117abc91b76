"""What ships: each study's table is made by a command, which puts it into docs."""

import importlib
import json
import pathlib

import pandas as pd
import pytest
import tyro

from experiments import report, shipped
from lsajax.runs import cli


def test_the_commands_are_those_of_the_studies_and_their_tables_ship():
    shipping = {file.stem for file in (shipped.DOCS / "results").glob("*.csv")}
    assert set(shipped.RUNS) <= shipping
    studies = {entry.command.split()[0] for entry in shipped.RUNS.values()}
    assert studies == {command.split()[0] for command in report.QUICK.values()} - {"train_agent"}
    for entry in shipped.RUNS.values():
        study, *options = entry.command.split()
        module = importlib.import_module(f"experiments.{study}")
        config = tyro.cli(module.Config, args=options)
        module.check(config)
        assert entry.figure is None or (shipped.DOCS / entry.figure).is_file()


def test_records_in_docs_name_the_command_that_makes_them():
    for name, entry in shipped.RUNS.items():
        record = json.loads((shipped.DOCS / "results" / f"{name}.run.json").read_text())
        assert record["config"]["study"] == entry.command.split()[0]
        assert record["command"] == f"python -m experiments.{entry.command}"


def test_a_run_is_put_into_docs(tmp_path, monkeypatch):
    (tmp_path / "docs" / "results").mkdir(parents=True)
    command = "scaling --model none --scales I --realizations 2"
    monkeypatch.setattr(shipped, "RUNS", {"tiny": shipped.Run(command, "tiny.png")})
    config = shipped.Config(out=tmp_path / "runs", docs=tmp_path / "docs")
    shipped.run(shipped.check(config))
    table = pd.read_csv(tmp_path / "docs" / "results" / "tiny.csv")
    assert "Exact optimum" in set(table["method"])
    rows = pd.read_parquet(tmp_path / "docs" / "results" / "tiny.rows.parquet")
    assert set(rows["method"]) == set(table["method"])
    record = (tmp_path / "docs" / "results" / "tiny.run.json").read_text()
    assert str(tmp_path) not in record
    assert json.loads(record)["command"] == f"python -m experiments.{command}"
    assert (tmp_path / "docs" / "tiny.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_and_a_study_that_fails(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--only must be of scaling_plain, .* got 'scale'"):
        shipped.check(shipped.Config(only=("scale",)))
    with pytest.raises(ValueError, match="--docs must be a folder that has results in it"):
        shipped.check(shipped.Config(docs=pathlib.Path(tmp_path)))
    monkeypatch.setattr(shipped, "RUNS", {"tiny": shipped.Run("scaling --realizations 0")})
    with pytest.raises(cli.Unavailable, match="tiny did not end, see above"):
        shipped.run(shipped.Config(out=tmp_path / "runs"))

"""Studies on disk: parts that are lost, cut, changed, foreign or too large for the disk."""

import errno
import json
import os
import pathlib
import shutil
import subprocess

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from lsajax import montecarlo
from lsajax.accumulators import Summary
from lsajax.runs import montecarlo as on_disk
from lsajax.runs.folder import BadRun
from lsajax.runs.montecarlo import driver, parts, record
from tests.lsajax.runs import study_program as program

pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module")
def expected():
    """What a study in memory finds."""
    return program.digest(program.run().summaries)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with all parts and rows; tests copy it."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    program.run(out=folder, rows=True)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return pathlib.Path(shutil.copytree(whole, tmp_path / "study"))


def files(folder):
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.parquet") if f.is_file()
    }


def job(folder, rows=True):
    key = jax.random.key(7)
    return on_disk.Job.of(folder, key, program.SCENARIO, program.measure, sketch=True, rows=rows)


def resumed(folder, **options):
    """Digest of the result, and what was said."""
    said = []
    engine = on_disk.engine()
    with engine:
        (found,) = on_disk.run(
            [job(folder)], program.REALIZATIONS, engine=engine, say=said.append, **options
        )
    return program.digest({name: found[name] for name in ("rate", "sum")}), said


def test_on_disk_and_in_memory_are_the_same_bits(whole, expected):
    assert resumed(whole) == (expected, [])
    names = files(whole)
    assert "result.parquet" in names and len(names) == 1 + 2 * 8
    # Pandas reads all of it.
    rows = pd.read_parquet(whole / "rows")
    rows = rows.sort_values("realization")
    assert list(rows["realization"]) == list(range(1000))
    in_memory = program.run(rows=True).rows
    np.testing.assert_array_equal(rows["sum"].to_numpy(), in_memory["sum"])
    np.testing.assert_array_equal(np.stack(rows["rate"].to_list()), in_memory["rate"])
    result = pd.read_parquet(whole / "result.parquet")
    total = result[result["name"] == "sum"].iloc[0]
    assert total["count"] == 1000 and total["mean"] == pytest.approx(rows["sum"].mean())
    assert pd.read_parquet(whole / "parts")["name"].nunique() == 2
    assert json.loads((whole / "study.json").read_text())["versions"]["jax"]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("parts", "cut"),
        ("parts", "flipped"),
        ("rows", "flipped"),
        *(
            pytest.param(kind, damage, marks=pytest.mark.slow)
            for kind, damage in [
                ("rows", "cut"),
                ("parts", "emptied"),
                ("rows", "emptied"),
                ("parts", "removed"),
                ("rows", "removed"),
            ]
        ),
    ],
)
def test_damaged_files_are_found_and_computed_again(folder, expected, kind, damage):
    before = files(folder)
    rng = np.random.default_rng(len(kind) + len(damage))
    for file in sorted((folder / kind).rglob("*.parquet"))[1:3]:
        content = bytearray(file.read_bytes())
        at = int(rng.integers(len(content)))
        if damage == "cut":
            file.write_bytes(content[:at])
        elif damage == "emptied":
            file.write_bytes(b"")
        elif damage == "flipped":
            content[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(content)
        else:
            file.unlink()
    found, said = resumed(folder)
    assert found == expected
    # A part that is gone is nothing to talk about; its rows that are gone are damage.
    quiet = kind == "parts" and damage == "removed"
    assert len(said) == (0 if quiet else 2) and all("is damaged" in line for line in said)
    assert files(folder) == before  # down to the bytes


def test_a_file_that_is_damaged_while_others_are_computed_is_found_at_the_end(
    folder, expected, monkeypatch
):
    first, second, *_ = sorted((folder / "parts").rglob("*.parquet"))
    first.unlink()
    compute = record.compute

    def damaging(task):
        second.write_bytes(b"x")
        monkeypatch.setattr(record, "compute", compute)
        return compute(task)

    monkeypatch.setattr(record, "compute", damaging)
    assert resumed(folder)[0] == expected


def test_a_disk_that_damages_everything_is_given_up(tmp_path, monkeypatch):
    put = parts._put

    def damaging(*args):
        file = put(*args)
        file.write_bytes(b"x")
        return file

    monkeypatch.setattr(parts, "_put", damaging)
    with pytest.raises(OSError, match="damaged as soon as they are written, 3 times"):
        program.run(out=tmp_path / "study")


def test_the_size_of_parts_changes_no_bit(tmp_path, expected, monkeypatch):
    for size in (32, 1024):
        monkeypatch.setattr(driver, "part_size", lambda *_, size=size: size)
        found = program.run(out=tmp_path / str(size))
        assert program.digest(found.summaries) == expected


@pytest.mark.parametrize(
    ("realizations", "chunk", "chunk_s", "width", "size"),
    [
        (10**9, 1024, 0.005, 100, 1024 * 2048),  # 20 s a part would be 4096 chunks: too few parts
        (10**9, 64, 6.0, 1600, 64 * 256),  # 20 s would be 3 chunks, and millions of files
        (10**6, 1024, 0.01, 1, 1024 * 128),
        (10**6, 1024, 0.01, 8, 1024 * 16),
        (100, 1024, 0.01, 8, 1024),
        (10**6, 64, 100.0, 8, 64),
        (10**6, 1024, 0.0, 1, 1024 * 128),
    ],
)
def test_parts_are_some_seconds_long_and_not_too_many(realizations, chunk, chunk_s, width, size):
    found = driver.part_size(realizations, chunk, chunk_s, width)
    assert found == size and realizations / found <= driver.MOST_PARTS


def test_shards_share_the_work_and_the_last_one_has_the_result(tmp_path, expected):
    out = tmp_path / "study"
    assert program.run(out=out, shard=(1, 3)) is None
    begun = on_disk.status(out)
    assert 0 < begun.realizations < begun.wanted == 1000
    assert program.run(out=out, shard=(0, 3)) is None
    assert program.digest(program.run(out=out, shard=(2, 3)).summaries) == expected
    assert on_disk.status(out).realizations == 1000
    # Each again, at no work: nothing is written anew.
    before = {name: os.stat(out / name).st_mtime_ns for name in files(out) if "parts" in name}
    assert program.digest(program.run(out=out, shard=(1, 3)).summaries) == expected
    assert before == {name: os.stat(out / name).st_mtime_ns for name in before}


def test_a_study_goes_on_to_more_realisations_and_back(tmp_path, expected):
    out = tmp_path / "study"
    few = program.run(out=out, realizations=100)
    assert program.digest(few.summaries) == program.digest(program.run(realizations=100).summaries)
    assert program.digest(program.run(out=out).summaries) == expected
    again = program.run(out=out, realizations=100)
    assert program.digest(again.summaries) == program.digest(few.summaries)
    assert on_disk.status(out).wanted == 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": jax.random.key(8)}, r"key was \['threefry2x32', 0, 7\], now \['th.*0, 8\]"),
        ({"chunk": 32}, "chunk was 16, now 32"),
        ({"sketch": False}, "sketch was True, now False"),
        ({"scenario": program.SCENARIO.replace(radius_m=400.0)}, "radius_m was 500.0, now 400.0"),
        ({"scenario": program.SCENARIO.replace(fading=False)}, "fading was True, now False"),
        ({"measure": program.slow}, "its measure, its version of JAX or its kind of device was"),
    ],
)
def test_the_folder_of_another_study_is_refused(whole, change, message):
    same = {
        "key": jax.random.key(7),
        "scenario": program.SCENARIO,
        "measure": program.measure,
        "realizations": 1000,
        "sketch": True,
        "rows": True,
    }
    before = files(whole)
    with pytest.raises(BadRun, match=f"is the folder of another study: {message}"):
        montecarlo.study(**{**same, **change}, out=whole)
    assert files(whole) == before


def test_a_part_of_another_study_is_no_part_of_this(folder, tmp_path):
    other = tmp_path / "other"
    montecarlo.study(
        jax.random.key(9), program.SCENARIO, program.measure, 1000, chunk=16, sketch=True, out=other
    )
    mine = next((folder / "parts").rglob("000001-*.parquet"))
    foreign = next((other / "parts").rglob("000001-*.parquet"))
    mine.unlink()
    shutil.copy(foreign, mine.parent / foreign.name)
    with pytest.raises(BadRun, match="is a part of another study; remove it"):
        resumed(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"study": 1}'])
def test_a_record_that_cannot_be_read_is_a_sentence(folder, content):
    (folder / "study.json").write_text(content)
    with pytest.raises(BadRun, match="cannot be read as the record of a study"):
        resumed(folder)


def test_a_full_disk_loses_nothing(tmp_path, expected, monkeypatch):
    out = tmp_path / "study"
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        program.run(out=out)
    monkeypatch.undo()
    assert 0 < len(list((out / "parts").rglob("*.parquet"))) < 4
    assert list(parts.leftovers(out)) == []
    assert program.digest(program.run(out=out).summaries) == expected


def test_a_file_system_that_is_full(tmp_path, expected):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            program.run(out=disk / "study", rows=True)
        grow = ["mount", "-o", "remount,size=64m", str(disk)]
        subprocess.run(grow, check=True)
        assert program.digest(program.run(out=disk / "study", rows=True).summaries) == expected
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_killed_processes_left_is_removed_once_it_is_old(folder):
    home = next((folder / "parts").rglob("*.parquet")).parent
    old, young = home / ".000001-here-1.new", home / ".000002-here-2.new"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    resumed(folder)
    assert not old.exists() and young.exists()


def test_tables_hold_summaries_of_any_shape():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=9), "b.c": rng.normal(size=(9, 2, 3)), "empty": np.zeros((9, 1))}
    for sketch in (False, True):
        summaries = {name: Summary.of(value, sketch) for name, value in values.items()}
        again = parts.summaries_of(parts.table_of(summaries))
        assert list(again) == list(values)
        assert jax.tree.structure(again) == jax.tree.structure(summaries)
        assert program.digest(again) == program.digest(summaries)


def test_bad_arguments_are_refused_in_a_sentence(tmp_path):
    for options, message in [
        ({"shard": (2, 2)}, "shard must be i/n with 0 <= i < n, got 2/2"),
        ({"shard": (-1, 2)}, "shard must be i/n"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"workers": 2, "ray": "local"}, "workers has no effect beside ray, got 2"),
        ({"devices": jax.devices()}, "devices has no effect beside out"),
    ]:
        with pytest.raises(ValueError, match=message):
            program.run(out=tmp_path / "study", **options)
    with pytest.raises(ValueError, match="there is no study in"):
        on_disk.status(tmp_path / "study")
    assert isinstance(program.SCENARIO, lsa.Scenario)


def test_ray_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch):
    import sys

    from lsajax.runs.cli import Unavailable

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unavailable, match=r"needs the package ray: pip install 'lsajax\[ray\]'"):
        program.run(out=tmp_path / "study", ray="local")

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest

from lsajax.runs import folder as folder_module
from lsajax.runs.folder import BadRun, RunFolder

CONFIG = {"seed": 0, "scales": ("I", "II")}
IDENTITY = ("scale", "method", "realization")


def row(realization, method="a", **columns):
    return {"scale": "I", "method": method, "realization": realization, **columns}


def opened(path, *, resume=False, config=CONFIG):
    return RunFolder(path, config, identity=IDENTITY, resume=resume)


def test_rows_survive_a_kill_after_every_append(tmp_path):
    killed = opened(tmp_path / "run")
    killed.append([row(0, value_bps=1.5)])
    killed.close()  # as the kernel does for a killed process; nothing else is done
    again = opened(tmp_path / "run", resume=True)
    assert again.has(row(0)) and not again.has(row(1))
    again.append([row(1, value_bps=2.5, note="late column")])
    assert list(again.rows()["value_bps"]) == [1.5, 2.5]
    again.finish()
    on_disk = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert list(on_disk["value_bps"]) == [1.5, 2.5]
    assert list(on_disk["note"].fillna("")) == ["", "late column"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"] == {"seed": 0, "scales": ["I", "II"]}
    assert record["versions"]["jax"] and record["wall_s"] >= 0 and len(record["sessions"]) == 2


def test_nothing_that_is_there_is_written_again(tmp_path):
    run = opened(tmp_path)
    run.append([row(0)])
    (part,) = (tmp_path / "parts").iterdir()
    before = part.stat()
    for realization in range(1, 40):
        run.append([row(realization)])
    assert part.stat() == before
    assert len(list((tmp_path / "parts").iterdir())) == 40


def test_columns_that_only_some_rows_fill_keep_their_type(tmp_path):
    run = opened(tmp_path)
    run.append([row(0, "a", raw_valid=None, rounds=np.int64(3)), row(0, "b", raw_valid=True)])
    run.append([row(1, "a", raw_valid=None, rounds=4)])
    run.append([row(1, "b", raw_valid=np.bool_(False), detail="x")])
    run.finish()
    on_disk = pd.read_parquet(tmp_path / "rows.parquet", dtype_backend="numpy_nullable")
    assert on_disk["raw_valid"].dtype == "boolean" and on_disk["rounds"].dtype == "Int64"
    assert list(on_disk["raw_valid"].isna()) == [True, False, True, False]


def test_a_kill_while_finishing_loses_and_doubles_nothing(tmp_path, monkeypatch):
    run = opened(tmp_path)
    for realization in range(3):
        run.append([row(realization)])
    # Killed after rows.parquet was written, before the parts were removed.
    monkeypatch.setattr(folder_module.shutil, "rmtree", lambda *_, **__: None)
    run.finish()
    run.close()
    monkeypatch.undo()
    again = opened(tmp_path, resume=True)
    assert list(again.rows()["realization"]) == [0, 1, 2]
    again.append([row(3)])
    again.finish()
    assert list(pd.read_parquet(tmp_path / "rows.parquet")["realization"]) == [0, 1, 2, 3]


def test_a_full_disk_keeps_what_is_there(tmp_path, monkeypatch):
    run = opened(tmp_path)
    run.append([row(0)])
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        run.append([row(1)])
    monkeypatch.undo()
    assert not run.has(row(1)) and list(run.rows()["realization"]) == [0]
    run.append([row(1)])
    run.finish()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"rows.parquet", "run.json", ".lock"}


def test_a_disk_that_is_full_at_the_first_row_can_be_used_again(tmp_path, monkeypatch):
    run = opened(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space left"):
        run.append([row(0)])
    run.close()
    monkeypatch.undo()
    again = opened(tmp_path / "run")
    again.append([row(0)])
    assert list(again.rows()["realization"]) == [0]


def _no_space(_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_second_writer_loses_nothing(tmp_path):
    first, second = opened(tmp_path / "run"), opened(tmp_path / "run")
    first.append([row(0, value_bps=1.0)])
    with pytest.raises(BadRun, match="another process is writing"):
        second.append([row(0, value_bps=2.0)])
    first.close()
    with pytest.raises(BadRun, match="another process wrote to it"):
        second.append([row(0, value_bps=2.0)])
    rows = opened(tmp_path / "run", resume=True).rows()
    assert list(rows["value_bps"]) == [1.0]


def test_no_rows_are_no_part(tmp_path):
    run = opened(tmp_path / "run")
    run.append([])
    run.append([row(0)])
    run.close()
    assert opened(tmp_path / "run", resume=True).has(row(0))


def test_another_configuration_is_not_resumed(tmp_path):
    with opened(tmp_path) as run:
        run.append([row(0)])
    with pytest.raises(BadRun, match="seed was 0, now 1"):
        opened(tmp_path, resume=True, config={**CONFIG, "seed": 1})
    with pytest.raises(BadRun, match="seed was 0, now None"):
        opened(tmp_path, resume=True, config={"scales": ("I", "II")})


@pytest.mark.parametrize("text", ["{}", '{"config": ', "[1]"])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadRun, match=r"run\.json cannot be read as the record of a run"):
        opened(tmp_path, resume=True)


def test_a_half_written_part_is_named(tmp_path):
    with opened(tmp_path) as run:
        run.append([row(0)])
        run.append([row(1)])
    part = tmp_path / "parts" / "000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(BadRun, match=r"000001\.parquet cannot be read .* remove it"):
        opened(tmp_path, resume=True)
    part.unlink()
    with opened(tmp_path, resume=True) as again:
        assert again.has(row(0)) and not again.has(row(1))


def test_rows_of_somebody_else_are_left_alone(tmp_path):
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(BadRun, match=r"holds rows without the run\.json of a run"):
        opened(tmp_path, resume=True)
    with opened(tmp_path / "mine") as run:
        run.append([row(0)])
        run.finish()
    os.replace(tmp_path / "rows.parquet", tmp_path / "mine" / "rows.parquet")
    with pytest.raises(BadRun, match="is none of this run's: it lacks"):
        opened(tmp_path / "mine", resume=True)


def test_no_row_twice(tmp_path):
    run = opened(tmp_path)
    run.append([row(0)])
    for rows in ([row(0)], [row(1), row(1)]):
        with pytest.raises(ValueError, match="a row is there already"):
            run.append(rows)
    assert list(run.rows()["realization"]) == [0]


def test_one_process_at_a_time(tmp_path):
    run = opened(tmp_path)
    run.append([row(0)])
    with pytest.raises(BadRun, match="another process is writing to it"):
        opened(tmp_path, resume=True)
    run.close()
    opened(tmp_path, resume=True).close()


def test_results_are_not_overwritten_unasked(tmp_path):
    with opened(tmp_path) as run:
        run.append([row(0)])
    with pytest.raises(BadRun, match="holds results already; give --resume"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRun, match="--out must be a folder that can be written"):
        opened(tmp_path / "file" / "run")


def test_a_run_without_rows_leaves_nothing(tmp_path):
    run = opened(tmp_path / "a" / "b")
    run.finish()
    run.close()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_asked_again_is_left_as_it_is(tmp_path):
    with opened(tmp_path) as run:
        run.append([row(0)])
        run.finish()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with opened(tmp_path, resume=True) as again:
        assert len(again.rows()) == 1
        again.finish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

"""Processes that share a study, and are killed at random moments: the same bits, always."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from lsajax.runs import montecarlo as on_disk
from tests.lsajax.runs import study_program as program

ROOT = pathlib.Path(__file__).parents[3]
SLOW = {"of": "slow", "part_s": 0.2}


@pytest.fixture(scope="module")
def expected():
    return program.digest(program.run(of=program.slow).summaries)


def start(**options):
    """The program in a process of its own, and of its own group."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.lsajax.runs.study_program", json.dumps({**SLOW, **options})],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )


def end(process):
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])["digest"]


def workers_of(process):
    """Its spawned processes, but for the one that tracks resources."""
    found = []
    for task in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in task.read_text().split():
            if "spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_text():
                found.append(int(child))
    return found


def has_parts(out, count=1):
    return len(list((out / "parts").rglob("*.parquet"))) >= count


def wait_for(condition, process=None, seconds=90.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def is_gone(pid):
    try:
        # A zombie waits for its parent, which may be anybody by now.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.slow
def test_a_worker_and_then_the_driver_are_killed(tmp_path, expected):
    out = tmp_path / "study"
    killed = start(out=str(out), workers=2)
    wait_for(lambda: has_parts(out), killed)
    os.kill(workers_of(killed)[0], signal.SIGKILL)
    seen = len(list((out / "parts").rglob("*.parquet")))
    wait_for(lambda: has_parts(out, seen + 3), killed)
    orphans = workers_of(killed)
    killed.kill()
    killed.communicate()
    wait_for(lambda: all(is_gone(pid) for pid in orphans), seconds=30)
    before = on_disk.status(out)
    assert 0 < before.realizations < before.wanted
    assert end(start(out=str(out), workers=2)) == expected
    assert on_disk.status(out).realizations == 1000


@pytest.mark.slow
def test_two_drivers_on_one_folder(tmp_path, expected):
    out = str(tmp_path / "study")
    both = [start(out=out), start(out=out)]
    assert {end(process) for process in both} == {expected}
    assert list((tmp_path / "study").rglob("*.new")) == []


@pytest.mark.slow
def test_a_worker_that_dies_at_every_part_is_given_up(tmp_path, monkeypatch):
    from lsajax.runs.cli import Unavailable
    from lsajax.runs.montecarlo import engines

    monkeypatch.setattr(engines, "DEATHS", 2)
    engine = engines.Spawned(1)
    with engine, pytest.raises(Unavailable, match="worker processes died 2 times in a row"):
        list(engine.map(os._exit, [3, 4]))


def test_what_a_worker_raises_arrives(tmp_path):
    engine = on_disk.engine(workers=2)
    with engine:
        assert sorted(engine.map(abs, range(-20, 0))) == list(range(1, 21))
        with pytest.raises(TypeError, match="bad operand type"):
            list(engine.map(abs, ["word"]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_workers_and_drivers_are_killed_at_random_moments(tmp_path, expected, seed):
    rng, out = random.Random(seed), tmp_path / "study"
    kills = {"worker": 0, "driver": 0}
    process = start(out=str(out), workers=2)
    while process.poll() is None and sum(kills.values()) < 6:
        time.sleep(rng.uniform(0.2, 6))
        # Five deaths without one part between them, on a slow machine, end a study with a sentence.
        if rng.random() < 0.6 and kills["worker"] < 4:
            victims = workers_of(process)
            if victims:
                os.kill(rng.choice(victims), signal.SIGKILL)
                kills["worker"] += 1
        elif process.poll() is None:
            process.kill()
            process.communicate()
            kills["driver"] += 1
            process = start(out=str(out), workers=2)
    assert sum(kills.values()) >= 1
    assert end(process) == expected


@pytest.mark.slow
def test_shards_killed_and_started_again(tmp_path, expected):
    rng, out = random.Random(0), tmp_path / "study"
    shards = {i: start(out=str(out), shard=[i, 3]) for i in range(3)}
    for _ in range(4):
        time.sleep(rng.uniform(1, 5))
        i = rng.randrange(3)
        if shards[i].poll() is None:
            shards[i].kill()
            shards[i].communicate()
            shards[i] = start(out=str(out), shard=[i, 3])
    digests = [end(process) for process in shards.values()]
    # At least the last one to end has seen all parts.
    assert set(digests) <= {None, expected} and expected in digests

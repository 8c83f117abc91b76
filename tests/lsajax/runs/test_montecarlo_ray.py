"""Studies on Ray: two nodes on this machine, one of which is killed."""

import contextlib
import os
import pathlib
import random
import signal
import threading
import time

import pytest

from lsajax.runs import montecarlo as on_disk
from lsajax.runs.cli import Unavailable
from lsajax.runs.montecarlo import driver
from tests.lsajax.runs import study_program as program

ROOT = pathlib.Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch):
    """A head without CPUs for tasks, and two nodes of one CPU each."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    pytest.importorskip("ray", reason="pip install 'lsajax[ray]'")
    from ray.cluster_utils import Cluster

    # What a node's processes find.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(driver, "PART_S", 0.2)
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        started.add_node(num_cpus=1)
    started.wait_for_nodes()
    yield started
    started.shutdown()


def wait_for(found, limit_s=120):
    """What `found` returns once it is something."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"nothing came of {found} in {limit_s} s")


def worker():
    """A process of this test's own cluster that is at work on a part; None if there is none."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            busy = (process / "cmdline").read_bytes().startswith(b"ray::_call")
            if busy and os.getpid() in ancestors(int(process.name)):
                return int(process.name)
    return None


def ancestors(pid):
    """The process's parent, its parent's, and so on."""
    while pid > 1:
        # After the name, which may hold spaces and ends with a bracket.
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        yield pid


def test_two_nodes_give_the_same_bits(tmp_path, cluster):
    found = program.run(out=tmp_path / "study", ray=cluster.address, rows=True)
    assert program.digest(found.summaries) == program.digest(program.run().summaries)


def test_a_node_and_workers_are_killed(tmp_path, cluster):
    out, killed = tmp_path / "study", []

    def kill():
        rng = random.Random(0)
        wait_for(lambda: len(list((out / "parts").rglob("*.parquet"))) >= 2)
        # A worker process first, then a whole node with all that runs on it.
        os.kill(wait_for(worker), signal.SIGKILL)
        killed.append("worker")
        time.sleep(rng.uniform(0.5, 3))
        cluster.remove_node(rng.choice(sorted(cluster.worker_nodes, key=str)), allow_graceful=False)
        killed.append("node")

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = program.run(of=program.slow, out=out, ray=cluster.address)
    killer.join(timeout=60)
    assert killed == ["worker", "node"]
    expected = program.digest(program.run(of=program.slow).summaries)
    assert program.digest(found.summaries) == expected


def test_what_a_task_raises_arrives_and_a_cluster_that_is_not_there_is_a_sentence(cluster):
    with on_disk.engine(ray=cluster.address) as engine:
        assert engine.width == 2
        assert sorted(engine.map(abs, range(-9, 0))) == list(range(1, 10))
        with pytest.raises(TypeError, match="bad operand type"):
            list(engine.map(abs, ["word"]))
    with pytest.raises(Unavailable, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        on_disk.engine(ray="127.0.0.1:1")

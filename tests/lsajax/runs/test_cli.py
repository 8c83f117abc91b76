import json
import signal
import subprocess
import sys
import time

import pytest

from lsajax.runs import provenance

COMMAND = """
import dataclasses, sys, time
from lsajax.runs import cli

@dataclasses.dataclass(frozen=True)
class Config:
    \"\"\"A command.

    Args:
        fail: how it ends.
    \"\"\"
    fail: str = ""

def prepare(config):
    print("preparing", flush=True)
    if config.fail == "bad":
        raise ValueError("--fail must be another, got 'bad'")
    if config.fail == "slow start":
        time.sleep(60)
    return config

def run(config):
    print("running", flush=True)
    if config.fail == "gone":
        raise cli.Unavailable("the server went away")
    if config.fail == "disk":
        raise OSError(28, "No space left on device")
    if config.fail == "ours":
        raise ZeroDivisionError
    if config.fail == "slow":
        try:
            time.sleep(60)
        except BaseException:
            time.sleep(60)  # as a finaliser that does not let an interrupt through

cli.main(Config, prepare, run, "A command.")
"""


def start(*arguments, command=COMMAND):
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("fail", "code", "message"),
    [
        ("", 0, ""),
        ("bad", 2, "error: --fail must be another, got 'bad'"),
        ("gone", 1, "error: the server went away; what was computed is on disk, --resume goes on"),
        ("disk", 1, "error: [Errno 28] No space left on device; what was computed is on disk"),
    ],
)
def test_exit_codes_and_one_line(fail, code, message):
    process = start("--fail", fail)
    _, errors = process.communicate()
    lines = [line for line in errors.splitlines() if not line.startswith("warning: this machine")]
    assert process.returncode == code
    assert len(lines) == bool(message) and "".join(lines).startswith(message)


def test_a_command_that_cannot_resume_says_so():
    told = COMMAND.replace('"A command.")', '"A command.", advice="start it again")')
    _, errors = start("--fail", "gone", command=told).communicate()
    assert errors.splitlines()[-1] == "error: the server went away; start it again"


def test_an_error_of_ours_keeps_its_traceback():
    _, errors = start("--fail", "ours").communicate()
    assert "ZeroDivisionError" in errors and "Traceback" in errors


@pytest.mark.parametrize(
    ("fail", "until", "message"),
    [
        ("slow start", "preparing", "interrupted"),
        ("slow", "running", "interrupted; what was computed is on disk, --resume goes on"),
    ],
)
def test_interrupt_is_one_line_and_exit_code_130(fail, until, message):
    process = start("--fail", fail)
    while process.stdout.readline().strip() != until:
        pass
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == message and "Traceback" not in errors


def test_the_command_line_needs_neither_torch_nor_pandas():
    code = (
        "import sys, lsajax.runs.cli, lsajax.runs.folder\n"
        "print({'pandas', 'pyarrow', 'torch', 'tyro', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_importing_the_package_needs_nothing_of_the_runs():
    code = (
        "import lsajax, sys; lsajax.Scenario; print({'pandas', 'tyro', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_public_names_survive_imports_of_submodules():
    code = (
        "import lsajax.solvers, lsajax.repair, lsajax\n"
        "from lsajax.repair import sorted_order\n"
        "assert callable(lsajax.repair) and callable(sorted_order)\n"
        "assert all(hasattr(lsajax, name) for name in lsajax.__all__)\n"
        "from lsajax import Scenario, repair, solvers\n"
        "assert repair is lsajax.repair and Scenario is lsajax.Scenario\n"
        "assert not hasattr(lsajax, 'nonsense')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_record_says_where_numbers_come_from(tmp_path):
    provenance.write(tmp_path / "new" / "a.json", {"table": [1]})
    record = json.loads((tmp_path / "new" / "a.json").read_text())
    assert record["table"] == [1]
    assert set(record) == {"table", "written", "command", "commit", "versions", "device"}
    assert record["device"]["cpus"] >= 1 and record["versions"]["numpy"]


@pytest.mark.parametrize(
    ("load", "cpus", "busy"), [(0.3, 2, False), (2.4, 2, True), (9, 64, False)]
)
def test_a_busy_machine_is_told(monkeypatch, load, cpus, busy):
    monkeypatch.setattr(provenance, "load", lambda: load)
    monkeypatch.setattr(provenance, "cpus", lambda: cpus)
    said = provenance.busy()
    assert (said is not None) == busy and (said is None or "\n" not in said)

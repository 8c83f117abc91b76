"""The walls hold one without the other, and the hostile programs would do harm without any."""

import json
import subprocess
import sys

import pytest

from llm.sandbox import SandboxUnavailable

from .arena import all_processes, open_arena
from .hostile_case import Case
from .hostile_cases import CASES, OUTWARD

BY_NAME = {case.name: case for case in CASES}
# what a program without a sandbox does: (the case, what of the arena shows it)
HARM = {
    "write_a_file": "files",
    "write_with_numpy": "files",
    "make_a_directory": "files",
    "make_a_fifo": "files",
    "subprocess": "files",
    "shell_command": "files",
    "rename_the_canary": "files",
    "append_to_the_canary": "canary",
    "truncate_the_canary": "canary",
    "open_the_canary_to_all": "canary",
    "touch_the_canary": "canary",
    "udp_to_loopback": "packets",
    "dns_query_to_loopback": "packets",
    "tcp_to_loopback": "packets",
    "http_to_loopback": "packets",
}

BIND = """
import json, sys
import numpy as np
cost = np.ones(3)
globals().update(json.loads(sys.argv[1]))
"""


@pytest.mark.parametrize("name", HARM)
def test_without_a_sandbox_the_arena_notices_the_program(box, tmp_path, name):
    """Otherwise the checks after each hostile program would prove nothing."""
    with open_arena(box, tmp_path) as arena:
        data = {key: value for key, value in arena.bound.items() if key != "cost"}
        command = [sys.executable, "-c", BIND + BY_NAME[name].code, json.dumps(data)]
        # some of them fail after the deed, or wait for an answer that does not come
        subprocess.run(command, capture_output=True, timeout=60, cwd=tmp_path)
        assert HARM[name] in arena.traces(all_processes(box))


@pytest.fixture(scope="module", params=["seccomp_only_box", "box_without_seccomp"])
def arena(request, tmp_path_factory):
    box = request.getfixturevalue(request.param)
    with open_arena(box, tmp_path_factory.mktemp("arena")) as opened:
        yield opened


@pytest.mark.parametrize("case", OUTWARD, ids=lambda case: case.name)
def test_either_seccomp_or_the_other_walls_are_enough(arena, case: Case):
    workers = all_processes(arena.box)
    try:
        execution = arena.box.run(case.code, arena.data, limits=case.limits)
    except SandboxUnavailable as error:  # without its filter, one can send itself a signal
        assert "SIG" in error.reason and arena.box.metadata["namespaces"]
        assert arena.traces(workers) == []
        return
    if arena.box.metadata["namespaces"]:  # some calls now work, and lead nowhere
        assert execution.status in {"ok", "error", "killed", "invalid", "timeout"}
    else:
        assert execution.status in case.statuses, execution
    assert arena.traces(workers) == []

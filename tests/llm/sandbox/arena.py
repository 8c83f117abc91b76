"""What a hostile program finds around itself, and whether it is still as it was."""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.sandbox import Limits, Packed, Sandbox

from .conftest import children

SECRET = "the host's secret 5cf1"
WATCHED = ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue")

# Asked after every case: it depends on the data, NumPy, SciPy, builtins, both random states.
NEXT_PROGRAM = """
import os, random, sys, gc, warnings
from scipy.optimize import linear_sum_assignment
rows, columns = linear_sum_assignment(cost)
action = {int(r): int(c) for r, c in zip(rows, columns)}
action[100] = int(np.sum(np.sort(cost, axis=None)[:50]) * 1e9)
action[101] = random.getrandbits(60)
action[102] = int(np.random.rand() * 1e9)
action[103] = len(os.environ) + ("left" in sys.modules) + sum([1, 2, 3]) + max(199, 201)
action[104] = int(np.argmin(cost)) + gc.isenabled() + len(warnings.filters) + int("200")
action[105] = int(np.isnan(np.float64(0) / np.float64(cost[0, 0] * 0)))
"""


@dataclass
class Arena:
    """A sandbox and all that a program must not touch."""

    box: Sandbox
    bound: dict
    data: Packed
    listeners: tuple[socket.socket, ...]
    folder: Path
    expected: dict[int, int]

    def traces(self, workers: set[int]) -> list[str]:
        """What is not as it was; [] if all is. ``workers``: the processes from before."""
        after = self.box.run(NEXT_PROGRAM, self.data, limits=Limits(wall_s=30, cpu_s=5))
        canary = self.folder / "canary"
        as_it_was = {
            "the next program": (after.status, after.action) == ("ok", self.expected),
            "files": self._loot() == [] and os.listdir(self.folder) == ["canary"],
            "canary": canary.exists()
            and canary.read_text() == "sings"
            and canary.stat().st_mode & 0o777 == 0o600
            and canary.stat().st_mtime > 1e9,
            "packets": not any(map(has_caught, self.listeners)),
            "processes": all_processes(self.box) == workers,
        }
        return [name for name, untouched in as_it_was.items() if not untouched]

    def _loot(self) -> list[str]:
        folders = filter(os.path.isdir, (os.getcwd(), *WATCHED))
        return [name for folder in folders for name in os.listdir(folder) if "loot" in name]


def has_caught(listener: socket.socket) -> bool:
    """Whether a packet or a connection has come in."""
    try:
        listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def all_processes(box: Sandbox) -> set[int]:
    return {pid for worker in box._workers for pid in children(worker.pid)}


def _listeners(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket, int]:
    """A datagram and a stream socket on one loopback port."""
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:  # somebody's datagrams come in there
            udp.close()
            tcp.close()
            continue
        return stack.enter_context(udp), stack.enter_context(tcp), port


@contextlib.contextmanager
def open_arena(box: Sandbox, folder: Path) -> Iterator[Arena]:
    """An arena around ``box``, with a file that is not to be touched in ``folder``."""
    (folder / "canary").write_text("sings")
    (folder / "canary").chmod(0o600)
    with contextlib.ExitStack() as stack:
        udp, tcp, port = _listeners(stack)
        for listener in (udp, tcp):
            listener.setblocking(False)
        bound = {
            "cost": np.random.default_rng(0).random((30, 30)),
            "port": port,
            "host": os.getpid(),
            "canary": str(folder / "canary"),
            "loot": str(folder / "loot"),
        }
        data = stack.enter_context(box.pack(bound))
        first = box.run(NEXT_PROGRAM, data, limits=Limits(wall_s=30, cpu_s=5))
        assert first.status == "ok", first
        yield Arena(box, bound, data, (udp, tcp), folder, first.action)

"""Thousands of programs, a third of them hostile: none lost, none wrong, nothing left behind.

`python -m benchmarks.sandbox_soak --programs 20000` exits with 1 if anything is amiss.
"""

import collections
import dataclasses
import json
import os
import pathlib
import random
import sys
import time

import numpy as np
import tyro

from llm.sandbox import Execution, Limits, Sandbox
from lsajax.runs import provenance

HONEST = """
from scipy.optimize import linear_sum_assignment
shift = {index}
action = {{int(r): (int(c) + shift) % 97 for r, c in zip(*linear_sum_assignment(cost))}}
"""
# what it does: (program, the status that it must end with)
HOSTILE = {
    "fork": ("import os\nos.fork()", "error"),
    "thread": ("import threading\nthreading.Thread(target=print).start()", "error"),
    "file": ("open('/tmp/left-by-the-soak', 'w').write('here')", "error"),
    "packet": ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "error"),
    "host": ("import os\nos.kill(os.getppid(), 9)", "error"),
    "early exit": ("import os\naction = {0: 0}\nos._exit(0)", "error"),
    "memory": ("hoard = bytearray(1 << 31)", "memory"),
    "crash": ("import ctypes\nctypes.string_at(0)", "killed"),
    "trace": ("import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)", "killed"),
    "junk": ("import os\nfor i in range(3, 64):\n try: os.write(i, b'junk')\n"
             " except OSError: pass\naction = {0: 0}", "invalid"),
    "floats": ("action = {0: 1.0}", "invalid"),
    "flood": ("action = dict.fromkeys(range(10 ** 5), 0)", "output"),
    "tamper": ("cost[:] = 0\nnp.random.seed(0)\naction = {0: 1.5}", "invalid"),
    "endless": ("while True: pass", "timeout"),
}  # fmt: skip
ENDLESS_SHARE = 0.03  # of the hostile ones: each takes its whole limit
LIMITS = Limits(wall_s=60, cpu_s=0.2, memory_mb=256)
CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Config:
    """The soak.

    Args:
        programs: programs to run.
        workers: of the sandbox.
        seed: of the choice of programs and of their data.
        out: file of the JSON.
    """

    programs: int = 20_000
    workers: int = 2
    seed: int = 0
    out: pathlib.Path = pathlib.Path("results/benchmarks/sandbox_soak.json")


def own_memory_mb() -> float:
    """Resident memory of this process in MiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def processes_of(sessions: set[int]) -> int:
    """Processes of these sessions, dead ones that nobody reaped included.

    Each worker leads one, and no program can leave it.
    """
    found = 0
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            found += int(entry.read_text().rpartition(")")[2].split()[3]) in sessions
        except OSError:  # it ended meanwhile
            continue
    return found


def draw(rng: random.Random, index: int, expected: dict[int, int]) -> tuple[str, str, dict | None]:
    """A program with the status and the answer that it must have."""
    if rng.random() >= 1 / 3:
        action = {r: (c + index) % 97 for r, c in expected.items()}
        return HONEST.format(index=index), "ok", action
    name = "endless"
    if rng.random() >= ENDLESS_SHARE:
        name = rng.choice([n for n in HOSTILE if n != "endless"])
    code, status = HOSTILE[name]
    return code, status, None


class Tally:
    """What the programs came to, chunk by chunk."""

    def __init__(self, programs: int, seed: int) -> None:
        self.programs = programs
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: list[tuple[str, Execution]] = []
        self.memory_mb: list[float] = []
        self._rng = random.Random(seed)
        self._cost = np.random.default_rng(seed).random((20, 20))

    def run(self, box: Sandbox) -> None:
        """All programs, compared with what they must come to."""
        with box.pack({"cost": self._cost}) as packed:
            first = box.run(HONEST.format(index=0), packed)
            for begin in range(0, self.programs, CHUNK):
                indices = range(begin, min(begin + CHUNK, self.programs))
                drawn = [draw(self._rng, i, first.action or {}) for i in indices]
                results = box.map([(code, packed) for code, _, _ in drawn])
                for (code, status, action), got in zip(drawn, results, strict=True):
                    self.statuses[got.status] += 1
                    if (got.status, got.action) != (status, action):
                        self.wrong.append((code, got))
                self.memory_mb.append(own_memory_mb())


def main(config: Config) -> None:
    """Runs all programs and writes what became of them; exit code 1 if anything is amiss."""
    tally = Tally(config.programs, config.seed)
    descriptors = len(os.listdir("/proc/self/fd"))
    start = time.monotonic()
    with Sandbox(workers=config.workers, limits=LIMITS) as box:
        workers = {worker.pid for worker in box._workers}
        tally.run(box)
        replaced = len({worker.pid for worker in box._workers} - workers)
    seconds = time.monotonic() - start
    # the first chunks fill the allocator's pools; what comes after must not grow
    settled, end = tally.memory_mb[len(tally.memory_mb) // 4], tally.memory_mb[-1]
    record = {
        "programs": sum(tally.statuses.values()),
        "lost": config.programs - sum(tally.statuses.values()),
        "wrong": len(tally.wrong),
        "statuses": dict(tally.statuses),
        "seconds": seconds,
        "per_second": config.programs / seconds,
        "host_memory_mb": {"settled": settled, "end": end, "most": max(tally.memory_mb)},
        "workers_replaced": replaced,
        "descriptors_left": len(os.listdir("/proc/self/fd")) - descriptors,
        "processes_left": processes_of(workers),
        "file_left": os.path.exists("/tmp/left-by-the-soak"),
    }
    print(json.dumps(record, indent=2))
    for code, got in tally.wrong[:10]:
        print("wrong:", repr(code[:80]), got, file=sys.stderr)
    provenance.write(config.out, record)
    faults = (
        "lost",
        "wrong",
        "workers_replaced",
        "descriptors_left",
        "processes_left",
        "file_left",
    )
    if any(record[fault] for fault in faults) or end > settled + 10:
        sys.exit("the soak failed")
    print(f"none lost, none wrong, nothing left behind; wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.sandbox_soak", description=__doc__))

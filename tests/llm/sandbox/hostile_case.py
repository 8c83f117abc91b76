"""What a stranger's program may try: a name, the program, the statuses that it may end with.

`port` (a loopback port on which the test listens), `canary` (the path of a file that must not
change), `loot` (the path of a file that must not appear), `host` (the test's process id) and
`cost` (an array that the next program uses too) are bound as data.
"""

from dataclasses import dataclass

from llm.sandbox import Limits

DEFAULT = Limits(wall_s=10, cpu_s=2, memory_mb=256)  # none comes near it, on a slow machine too
BUSY = Limits(wall_s=10, cpu_s=0.3, memory_mb=256)  # for those that use all of it
ASLEEP = Limits(wall_s=0.3, cpu_s=0.3, memory_mb=256)
PATIENT = Limits(wall_s=20, cpu_s=5, memory_mb=256)  # the memory limit is to be met first


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    statuses: frozenset[str]
    limits: Limits = DEFAULT
    action: dict | None = None  # what an "ok" may answer


def cases(statuses: str, limits: Limits = DEFAULT, action: dict | None = None, **programs: str):
    return [
        Case(name, code.strip(), frozenset(statuses.split()), limits, action)
        for name, code in programs.items()
    ]

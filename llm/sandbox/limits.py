"""What one program may use."""

import threading
from dataclasses import dataclass

MIN_WALL_S = MIN_CPU_S = 0.01
MAX_S = 3600
MIN_OUTPUT_BYTES = 4096
MAX_OUTPUT_BYTES = 1 << 28
_LEAST_OF_DATA = 1 << 18  # what an answer may take however small the data


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program; all are enforced outside the program.

    Args:
        wall_s: seconds from fork to death, 0.01 to 3600. Keep it loose: it exists for programs
            that sleep, and a loaded machine must not fail a good program.
        cpu_s: seconds on the program's own CPU clock, 0.01 to 3600.
        memory_mb: MiB of address space beyond what the interpreter, NumPy, SciPy and the data
            take, 16 to 1048576. A hostile program can unmap those (about 340 MiB of addresses)
            and use their room too; the kernel's records of its mappings take up to 40 MiB more.
        output_bytes: size of the encoded answer, 16 bytes an entry, 4096 to 268435456. None: as
            large as the data, and at least 262144 (16384 entries). An answer of n entries takes
            about 100 n bytes of the host's memory.

    Raises:
        TypeError: a limit is not a number (`output_bytes`: neither an int nor None).
        ValueError: a limit is out of its range.
    """

    wall_s: float = 2.0
    cpu_s: float = 1.0
    memory_mb: float = 512
    output_bytes: int | None = None

    def __post_init__(self) -> None:
        _check("wall_s", self.wall_s, MIN_WALL_S, MAX_S)
        _check("cpu_s", self.cpu_s, MIN_CPU_S, MAX_S)
        _check("memory_mb", self.memory_mb, 16, 1 << 20)
        if self.output_bytes is None:
            return
        if not isinstance(self.output_bytes, int):
            kind = type(self.output_bytes).__name__
            raise TypeError(f"output_bytes must be an int or None, not {kind}")
        _check("output_bytes", self.output_bytes, MIN_OUTPUT_BYTES, MAX_OUTPUT_BYTES)

    def answer_bytes(self, data_bytes: int) -> int:
        """The bytes that the answer to `data_bytes` of data may take."""
        if self.output_bytes is not None:
            return self.output_bytes
        return min(max(data_bytes, _LEAST_OF_DATA), MAX_OUTPUT_BYTES)


def checked_deadline(deadline_s: object) -> float | None:
    """The seconds that a call with many programs may take. Raises TypeError, ValueError."""
    if deadline_s is None:
        return None
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, (int, float)):
        raise TypeError(f"deadline_s must be a number or None, not {type(deadline_s).__name__}")
    if not 0 < deadline_s <= threading.TIMEOUT_MAX:  # also refuses NaN
        most = f"{threading.TIMEOUT_MAX:g}"
        raise ValueError(f"deadline_s must be above 0 and at most {most}, not {deadline_s!r}")
    return float(deadline_s)


def check_cpu(name: str, cpu_s: float) -> None:
    """Raises TypeError or ValueError where `cpu_s` can be no program's CPU seconds."""
    _check(name, cpu_s, MIN_CPU_S, MAX_S)


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")

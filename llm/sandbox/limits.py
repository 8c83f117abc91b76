"""What one program may use."""

from dataclasses import dataclass

MIN_OUTPUT_BYTES = 4096
MAX_OUTPUT_BYTES = 1 << 20  # the kernel's default ceiling for a pipe of an unprivileged process


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
        output_bytes: size of the encoded answer, 16 bytes an entry, 4096 to 1048576.

    Raises:
        TypeError: a limit is not a number (``output_bytes``: not an int).
        ValueError: a limit is out of its range.
    """

    wall_s: float = 2.0
    cpu_s: float = 1.0
    memory_mb: float = 512
    output_bytes: int = MAX_OUTPUT_BYTES

    def __post_init__(self) -> None:
        _check("wall_s", self.wall_s, 0.01, 3600)
        _check("cpu_s", self.cpu_s, 0.01, 3600)
        _check("memory_mb", self.memory_mb, 16, 1 << 20)
        if not isinstance(self.output_bytes, int):
            raise TypeError(f"output_bytes must be an int, not {type(self.output_bytes).__name__}")
        _check("output_bytes", self.output_bytes, MIN_OUTPUT_BYTES, MAX_OUTPUT_BYTES)


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not low <= value <= high:  # also refuses NaN
        raise ValueError(f"{name} must be from {low} to {high}, not {value}")

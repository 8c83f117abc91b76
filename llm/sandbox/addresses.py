"""Where the zygote's libraries lie, so that the filter can keep a program's hands off them.

A program is a fork of the zygote: its libraries are at the zygote's addresses, and below them (the
kernel looks for room from the top down) are its code and data, and then all the memory that it asks
for.
"""

from dataclasses import dataclass

Span = tuple[int, int]  # first address, first address behind

END = 1 << 48  # of what a program can be given: 47 bits on x86-64, 48 on aarch64
_NEAR = 1 << 30  # spans less apart than this are one
_ROOM = 8  # times a program's memory limit: an allocator leaves gaps
_LEAST_ROOM = 1 << 30


@dataclass(frozen=True, slots=True)
class Layout:
    """Addresses of this process's file mappings.

    Attributes:
        files: where files (and the kernel's own code) are mapped, in rising order.
        libraries: the lowest address of the shared libraries.
    """

    files: tuple[Span, ...]
    libraries: int

    def floor(self, memory_bytes: int, mapped_bytes: int) -> int:
        """The lowest address that a program with `mapped_bytes` of code and data may let go of.

        Page tables cost up to 8 KiB for each page that lies alone in its GiB, and no limit of the
        kernel counts them. Above the floor there is too little room to spread pages out, and what
        is mapped below it stays mapped and counts as used.
        """
        return max(self.libraries - mapped_bytes - _ROOM * memory_bytes - _LEAST_ROOM, 0)


def layout() -> Layout:
    """Read the layout of this process. Raises OSError where there is no /proc."""
    files: list[Span] = []
    with open("/proc/self/maps") as mappings:
        for line in mappings:
            place, permissions, _, _, inode = line.split()[:5]
            start, end = (int(address, 16) for address in place.split("-"))
            if end > END or (inode == "0" and "x" not in permissions):
                continue
            if files and start - files[-1][1] < _NEAR:
                start = files.pop()[0]
            files.append((start, end))
    largest = max(files, key=lambda span: span[1] - span[0])
    return Layout(tuple(files), largest[0])

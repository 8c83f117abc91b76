"""A wall-clock limit that a pause of the whole machine does not use up."""

import math
import select
import time


class WallLimit:
    """Time that may pass while something is polled; used by the host and by the zygote.

    A suspended job (SIGSTOP to all its processes, a frozen cgroup, a paused virtual machine) does
    not see the clock go on. So the time is spent in short polls, and of a poll that takes much
    longer than it was asked to, only the asked time and one tick count.

    Args:
        nanoseconds: the limit [ns].
        tick_ns: the longest single poll [ns].

    Attributes:
        left_ns: what is left of the limit [ns]; used up at 0 and below.
    """

    def __init__(self, nanoseconds: int, tick_ns: int):
        self.left_ns = nanoseconds
        self._tick_ns = tick_ns

    def poll(self, events: select.poll, most_ns: int | None = None) -> set[int]:
        """Return the descriptors that are ready, after at most a tick and at most `most_ns`."""
        asked = min(self.left_ns, self._tick_ns)
        if most_ns is not None:
            asked = min(asked, most_ns)
        start = time.monotonic_ns()
        ready = {descriptor for descriptor, _ in events.poll(math.ceil(asked / 1e6))}
        self.left_ns -= min(time.monotonic_ns() - start, asked + self._tick_ns)
        return ready

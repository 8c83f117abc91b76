"""What crosses the boundaries, byte by byte. Shared by the host and by the inside.

    host  -- REQUEST + [code, data, answer pipe] -->  zygote     (Unix socket, one datagram)
    host  <-- REPLY ------------------------------  zygote     (how the program ended: trusted)
    host  <-- HEADER + body ----------------------  program    (its answer: not trusted)

The program never holds the socket, so it can say what it likes about its answer and nothing about
how it ended or how long it took.
"""

import enum
import struct

# operation, CPU limit [ns], wall limit [ns], memory beyond the base [bytes], answer [bytes], seed
REQUEST = struct.Struct("<BQQQQQ")
# how it ended; exit code, signal or step of SETUP_STEPS; errno of that step (0: unknown);
# CPU time [ns], wall time [ns], peak memory beyond that of a program that does nothing [bytes]
REPLY = struct.Struct("<BiiQQQ")
# to the zygote from the child: 0 once it is confined, or the errno of the step that failed
READY = struct.Struct("<i")
# magic, kind, number of entries (ANSWER) or bytes of UTF-8 text (the others)
HEADER = struct.Struct("<4sBI")
MAGIC = b"lsa1"
ENTRY_BYTES = 16  # one int64 key, one int64 value
TEXT_BYTES = 512


class Operation(enum.IntEnum):
    """What the host asks the zygote for."""

    PROGRAM = 0
    PROBE_LANDLOCK = 1  # the self-test's: Landlock alone, without seccomp in front of it


class Ended(enum.IntEnum):
    """How a program ended, as the zygote saw it."""

    EXITED = 0
    SIGNALED = 1
    CPU_LIMIT = 2
    WALL_LIMIT = 3
    NOT_CONFINED = 4  # a step of building its walls failed: the program never ran
    CUT_SHORT = 5  # ended otherwise while its walls were being built: the program never ran


class Kind(enum.IntEnum):
    """What the program's own frame holds."""

    ANSWER = 0  # int64 keys, then as many int64 values
    ERROR = 1  # text: the exception
    INVALID = 2  # text: why `action` is no dict[int, int]


# Exit codes of the runner around the program. A program can use them too, and gains nothing by it:
# DONE only means that the frame is worth a look.
EXIT_DONE = 71
EXIT_MEMORY = 72
EXIT_OUTPUT = 73
EXIT_NOT_CONFINED = 80  # plus the index into SETUP_STEPS
SETUP_STEPS = ("process", "data", "limits", "landlock", "seccomp")

"""A program's answer: written by its runner inside, read by the host, who trusts none of it.

A frame is a fixed header and either two arrays of int64 or a short text. Reading it cannot run
anything, and no more of it is read than the limit allows.
"""

import struct
from array import array
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .protocol import ENTRY_BYTES, HEADER, MAGIC, TEXT_BYTES, Kind

Status = Literal["ok", "error", "invalid", "timeout", "memory", "output", "killed", "unfinished"]

_INTEGER_TYPES = frozenset({int, *(np.dtype(code).type for code in "bhilqBHILQ")})


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one program.

    Attributes:
        status: `ok`; `error` (it raised, or left early); `invalid` (no dict of 64-bit integers in
            `action`); `timeout`; `memory`; `output` (the answer is too large); `killed` (by a
            signal of its own making, for instance for a forbidden system call); `unfinished` (the
            deadline of the whole call came first, which says nothing about the program).
        action: the answer where `status` is `ok`, otherwise None.
        cpu_s: CPU time of the program and of setting it up [s].
        wall_s: time from its start to its end [s].
        detail: one printable line, "" where there is nothing to say. Text of the program's own
            making may be in it.
        queue_s: time from the call to a worker's attention [s].
        peak_mb: how far its resident memory rose above that of a program that does nothing
            [MiB]. Not private pages alone: pages of the data and of libraries count once they are
            touched, though programs share them. Copies of the interpreter's own pages that it
            changes do not count, since the page was resident before.
    """

    status: Status
    action: dict[int, int] | None
    cpu_s: float
    wall_s: float
    detail: str = ""
    queue_s: float = 0.0
    peak_mb: float = 0.0


class InvalidAnswerError(ValueError):
    """The answer is not a dict of distinct 64-bit integers to 64-bit integers."""


def encode_action(action: object) -> bytes:
    """Inside: the frame of a well-formed `action`. Raises InvalidAnswerError."""
    if not isinstance(action, dict):
        raise InvalidAnswerError(f"action is {type(action).__name__}, not dict")
    keys, values = array("q"), array("q")
    for key, value in dict.items(action):
        for role, number, column in (("key", key, keys), ("value", value, values)):
            if type(number) not in _INTEGER_TYPES:
                raise InvalidAnswerError(f"a {role} of action is {type(number).__name__}, not int")
            try:
                column.append(int(number))
            except OverflowError:
                raise InvalidAnswerError(f"a {role} of action does not fit 64 bits") from None
    header = HEADER.pack(MAGIC, Kind.ANSWER, len(keys))
    return header + keys.tobytes() + values.tobytes()


def encode_text(kind: Kind, text: str) -> bytes:
    """Inside: the frame of an error or of the reason why an answer is invalid."""
    body = text[:TEXT_BYTES].encode("utf-8", "replace")[:TEXT_BYTES]
    return HEADER.pack(MAGIC, kind, len(body)) + body


def decode(
    frame: bytes | bytearray, output_bytes: int
) -> tuple[Status, dict[int, int] | None, str]:
    """In the host: the status, action and detail that `frame` stands for.

    Never raises: what is longer than `output_bytes` and a header is `output`, and whatever else is
    not exactly a frame is `invalid`.
    """
    if len(frame) > HEADER.size + output_bytes:
        return "output", None, f"an answer of more than {output_bytes} bytes"
    try:
        magic, kind, count = HEADER.unpack_from(frame)
    except struct.error:
        return "invalid", None, "no answer" if not frame else "malformed answer"
    body = memoryview(frame)[HEADER.size :]
    if magic != MAGIC or kind > max(Kind):
        return "invalid", None, "malformed answer"
    if kind != Kind.ANSWER:
        if count != len(body) or count > TEXT_BYTES:
            return "invalid", None, "malformed answer"
        return ("error" if kind == Kind.ERROR else "invalid"), None, printable(bytes(body))
    if count * ENTRY_BYTES != len(body):
        return "invalid", None, "malformed answer"
    numbers = np.frombuffer(body, "<i8").tolist()
    action = dict(zip(numbers[:count], numbers[count:], strict=True))
    if len(action) != count:
        return "invalid", None, "a key of the answer occurs twice"
    return "ok", action, ""


def printable(text: bytes) -> str:
    """`text` as one line that is safe to print and to log."""
    decoded = text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in decoded)[:200].strip()

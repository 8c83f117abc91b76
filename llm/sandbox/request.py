"""What the host opens for one program: the message, its descriptors, and the pipe of the answer."""

import contextlib
import hashlib
import io
import os

from .errors import unavailable
from .limits import Limits
from .packing import Layout, Packed, seal
from .protocol import HEADER, REQUEST, Operation

_CHUNK_BYTES = 1 << 16  # the default capacity of a pipe


class Request:
    """One program on its way to a zygote. A context: its descriptors are closed at the end.

    The answer is read while the program runs, so that the pipe may be as small as the kernel makes
    it; no more than one chunk beyond the limit is kept.

    Args:
        code: the program's text.
        data: its data.
        limits: its limits.

    Attributes:
        message: what the zygote is sent.
        descriptors: what goes with it: code, data, writing end of the answer.
        answer: the end of the answer's pipe that the host reads.
        answer_bytes: what the answer may take.

    Raises:
        SandboxUnavailable: no descriptor or no memory left.
        ValueError: `data` is closed.
    """

    def __init__(self, code: str, data: Packed | Layout, limits: Limits):
        source = code.encode("utf-8", "surrogatepass")
        seed = int.from_bytes(hashlib.blake2b(source, digest_size=8).digest(), "little")
        self.answer_bytes = limits.answer_bytes(data.nbytes)
        self.message = REQUEST.pack(
            Operation.PROGRAM,
            round(limits.cpu_s * 1e9),
            round(limits.wall_s * 1e9),
            round(limits.memory_mb * (1 << 20)),
            self.answer_bytes,
            seed,
        )
        self._frame = bytearray()
        with contextlib.ExitStack() as opened, unavailable("descriptors"):
            # a mapping cannot be empty, and a line end more changes no program
            source_fd = _closed_by(opened, seal([(0, source + b"\n")], len(source) + 1))
            data_fd = _closed_by(opened, data.duplicate())
            self.answer, writing_end = os.pipe2(os.O_CLOEXEC)
            self._answer = opened.enter_context(io.FileIO(self.answer))
            opened.callback(os.close, writing_end)
            os.set_blocking(self.answer, False)
            self.descriptors = source_fd, data_fd, writing_end
            self._opened = opened.pop_all()

    def __enter__(self) -> "Request":
        return self

    def __exit__(self, *_exc) -> None:
        self._opened.close()

    def read(self) -> bool:
        """Read what there is. False where no more will come or may come: then the pipe is closed,
        and the program's next write fails.
        """
        chunk = self._answer.read(_CHUNK_BYTES)
        if chunk:
            self._frame += chunk
        if len(self._frame) > HEADER.size + self.answer_bytes:
            self._answer.close()
        return bool(chunk) and not self._answer.closed

    def frame(self) -> bytearray:
        """All that the program wrote, once it has ended."""
        while not self._answer.closed and self.read():
            pass
        return self._frame


def _closed_by(opened: contextlib.ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor

"""Data on its way in: a dict of names in the host, a private mapping in the child.

What a program gets is one sealed memfd: a marshalled tree of the plain values with None where an
array belongs, then the arrays' bytes at aligned offsets. The child maps it copy-on-write, so a
program may write into its arrays, and neither the host nor any other program sees it. Marshal is
safe here because it only ever reads what the host wrote.
"""

import fcntl
import keyword
import marshal
import mmap
import os
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import unavailable

_LENGTHS = struct.Struct("<QQ")  # bytes of the marshalled tree, offset of the first array
_ALIGNMENT = 64
_MAX_DEPTH = 32
_MAX_BYTES = 1 << 32
_F_ADD_SEALS = 1033
_SEALS = 0b1111  # no more seals, no shrinking, no growing, no writing
_TAKEN = ("action", "np", "numpy")
_ACCEPTED = (
    "None, bool, int, float, complex, str, NumPy arrays and scalars of these numbers, "
    "and lists, tuples and dicts (keys: str or int) of them"
)


class Packed:
    """A packed instance: made once, given to many programs, from any thread.

    Holds one file descriptor until `close()`, the end of a `with` block, or collection.

    Attributes:
        nbytes: size of the packed data in bytes.
    """

    def __init__(self, descriptor: int, nbytes: int):
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.nbytes = nbytes

    def fileno(self) -> int:
        """The sealed memfd. Raises ValueError when closed."""
        if self._descriptor < 0:
            raise ValueError("this packed instance is closed")
        return self._descriptor

    def duplicate(self) -> int:
        """A descriptor of the caller's own, to send; `close()` meanwhile cannot make it another
        file's. Raises ValueError when closed.
        """
        with self._lock:
            return os.dup(self.fileno())

    def close(self) -> None:
        """Give the memory back once no program uses it any more. May be called twice."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> "Packed":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def __del__(self) -> None:
        self._release()  # without the lock: a fork of the host may hold a copy that stays locked


@dataclass(frozen=True, slots=True)
class Layout:
    """Checked data and where each byte of it goes; holds no descriptor.

    Attributes:
        parts: (offset, content).
        nbytes: size of the packed data in bytes.
    """

    parts: list[tuple[int, Any]]
    nbytes: int

    def duplicate(self) -> int:
        """A new descriptor of the data, the caller's own, as `Packed.duplicate` returns one."""
        return seal(self.parts, self.nbytes)


def pack(data: Mapping[str, Any]) -> Packed:
    """Copy `data` into a sealed memfd; see `lay_out` for what is accepted.

    Raises:
        SandboxUnavailable: no descriptor or no memory left.
    """
    layout = lay_out(data)
    return Packed(layout.duplicate(), layout.nbytes)


def lay_out(data: Mapping[str, Any], copy: bool = False) -> Layout:
    """Check `data` and lay it out.

    Args:
        data: names to None, numbers, text, NumPy arrays of numbers or bools, and lists, tuples
            (which arrive as lists) and dicts of them. A name must be an identifier and not one
            that the runner uses.
        copy: copy the arrays, so that the caller may change them afterwards.

    Raises:
        TypeError: a value, or a key of a dict, is of another type; names the place.
        ValueError: a bad name, nesting deeper than 32, or more than 4 GiB.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"data must be a dict of names to values, not {type(data).__name__}")
    for name in data:
        _check_name(name)
    arrays: list[tuple[tuple, np.ndarray]] = []
    tree = {name: _plain(value, (name,), arrays) for name, value in data.items()}
    directory, offset = [], 0
    for path, array in arrays:
        directory.append((path, array.dtype.str, array.shape, offset))
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = marshal.dumps((tree, directory))
    start = -(-(_LENGTHS.size + len(header)) // _ALIGNMENT) * _ALIGNMENT
    if start + offset > _MAX_BYTES:
        raise ValueError(f"data takes {start + offset} bytes; at most {_MAX_BYTES} are accepted")
    parts: list[tuple[int, Any]] = [(0, _LENGTHS.pack(len(header), start) + header)]
    for (_path, array), (_, _, _, where) in zip(arrays, directory, strict=True):
        content = array.reshape(-1).view(np.uint8)
        parts.append((start + where, content.copy() if copy else content))
    return Layout(parts, start + offset)


def seal(parts: Iterable[tuple[int, Any]], nbytes: int) -> int:
    """Return the descriptor of a sealed memfd of `nbytes` with `parts`: (offset, content).

    Raises:
        SandboxUnavailable: no descriptor or no memory left.
    """
    with unavailable("descriptors"):
        return _seal(parts, nbytes)


def _seal(parts: Iterable[tuple[int, Any]], nbytes: int) -> int:
    descriptor = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for offset, content in parts:
            _write_all(descriptor, content, offset)
        os.ftruncate(descriptor, nbytes)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unpack(mapping: mmap.mmap) -> dict[str, Any]:
    """Inside: the tree with its arrays, as writable views of the private `mapping`."""
    header_bytes, start = _LENGTHS.unpack_from(mapping)
    tree, directory = marshal.loads(mapping[_LENGTHS.size : _LENGTHS.size + header_bytes])
    for path, dtype, shape, offset in directory:
        array = np.ndarray(shape, np.dtype(dtype), mapping, start + offset)
        node = tree
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = array
    return tree


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name in data must be a str, not {name!r}")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"data[{name!r}]: not a Python identifier")
    if name in _TAKEN or name.startswith("__"):
        raise ValueError(f"data[{name!r}]: this name belongs to the program or the interpreter")


def _plain(value: Any, path: tuple, arrays: list) -> Any:
    """Return `value` as marshal knows it; arrays go to `arrays` and leave None behind."""
    if len(path) > _MAX_DEPTH:
        raise ValueError(f"{_place(path)}: nested deeper than {_MAX_DEPTH}")
    if value is None or type(value) in (bool, int, float, complex, str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise TypeError(f"{_place(path)}: array of dtype {value.dtype}; accepted: {_ACCEPTED}")
        arrays.append((path, np.ascontiguousarray(value).reshape(value.shape)))
        return None
    if isinstance(value, (np.floating, np.complexfloating)):
        # item() would leave a long double as it is, and marshal would write its bytes
        return complex(value) if isinstance(value, np.complexfloating) else float(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biuU":
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*path, i), arrays) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{_place(path)}: key {key!r}; accepted: str or int")
        return {key: _plain(item, (*path, key), arrays) for key, item in value.items()}
    raise TypeError(f"{_place(path)}: {type(value).__name__}; accepted: {_ACCEPTED}")


def _place(path: tuple) -> str:
    return "data" + "".join(f"[{step!r}]" for step in path)


def _write_all(descriptor: int, content: Any, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written

"""Data arrives in the program as it was in the host, and bad data is refused with its place."""

import mmap
import os

import numpy as np
import pytest

from llm.sandbox import Packed
from llm.sandbox.packing import pack, unpack


def round_trip(data):
    with pack(data) as packed:
        return unpack(mmap.mmap(packed.fileno(), 0, access=mmap.ACCESS_COPY))


def test_plain_values_arrive_as_they_were():
    data = {
        "n": 3,
        "x": 0.5,
        "z": 1 + 2j,
        "big": 10**30,
        "flag": True,
        "none": None,
        "text": "Kanal ü \ud800 \0",
        "nested": {"a": [1, [2.5, {"b": "c"}]], 7: {}},
        "empty": [],
    }
    assert round_trip(data) == data


def test_numpy_scalars_become_numbers_and_tuples_lists():
    got = round_trip({"a": np.float32(0.5), "b": np.int8(-1), "c": np.bool_(True), "d": (1, (2,))})
    assert got == {"a": 0.5, "b": -1, "c": True, "d": [1, [2]]}
    assert type(got["a"]) is float and type(got["c"]) is bool


@pytest.mark.parametrize("scalar", [np.longdouble(0.5), np.float16(0.5), np.clongdouble(0.5)])
def test_floats_of_every_width_arrive_as_numbers(scalar):
    got = round_trip({"x": scalar})["x"]
    assert got == 0.5 and type(got) is (complex if np.iscomplexobj(scalar) else float)


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bool": np.array([True, False]),
    "complex": np.array([1j]),
    "uint8": np.arange(256, dtype=np.uint8),
    "big-endian": np.arange(3, dtype=">i4"),
    "half": np.ones(3, np.float16),
    "scalar": np.array(5.0),
    "empty": np.empty((0, 3)),
    "transposed": np.arange(6).reshape(2, 3).T,
    "strided": np.arange(20)[::3],
    "reversed": np.arange(5)[::-1],
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "read-only": np.broadcast_to(np.arange(3), (4, 3)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_keep_shape_type_and_values(name):
    array = ARRAYS[name]
    data = {"first": np.arange(3), "deep": [{"x": array}], "last": array}
    got = round_trip(data)
    for copy in (got["deep"][0]["x"], got["last"]):
        assert (copy.dtype, copy.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(copy, array)
        assert copy.flags.writeable and copy.flags.aligned
    np.testing.assert_array_equal(got["first"], np.arange(3))


def test_writing_into_the_copy_changes_nothing_else():
    array = np.zeros(1000)
    with pack({"a": array}) as packed:
        first, second = (
            unpack(mmap.mmap(packed.fileno(), 0, access=mmap.ACCESS_COPY)) for _ in range(2)
        )
        first["a"][:] = 1
        assert not second["a"].any() and not array.any()


BAD = {
    "no dict": ([1], TypeError, "not list"),
    "name of another type": ({1: 1}, TypeError, "must be a str"),
    "no identifier": ({"a b": 1}, ValueError, "'a b'"),
    "keyword": ({"for": 1}, ValueError, "'for'"),
    "the answer": ({"action": {}}, ValueError, "'action'"),
    "NumPy": ({"np": 1}, ValueError, "'np'"),
    "NumPy in full": ({"numpy": np.ones(1)}, ValueError, "'numpy'"),
    "builtins": ({"__builtins__": {}}, ValueError, "__builtins__"),
    "set": ({"s": {1}}, TypeError, r"data\['s'\]: set"),
    "bytes": ({"b": b"x"}, TypeError, r"data\['b'\]: bytes"),
    "function": ({"f": len}, TypeError, r"data\['f'\]"),
    "objects": ({"o": np.array([None])}, TypeError, "dtype object"),
    "structure": ({"o": np.zeros(2, "i4,f4")}, TypeError, "dtype"),
    "dates": ({"o": np.zeros(2, "M8[s]")}, TypeError, "dtype"),
    "deep place": ({"a": [{"k": [0, {1}]}]}, TypeError, r"data\['a'\]\[0\]\['k'\]\[1\]: set"),
    "key of a dict": ({"d": {1.5: 1}}, TypeError, "key 1.5"),
    "bool key": ({"d": {True: 1}}, TypeError, "key True"),
    "subclass": ({"e": type("I", (int,), {})(3)}, TypeError, r"data\['e'\]: I"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_refused_with_its_place(name):
    data, error, message = BAD[name]
    with pytest.raises(error, match=message):
        pack(data)


def test_data_that_contains_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="deeper"):
        pack({"loop": loop})


def test_a_refused_or_closed_instance_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    packed = [pack({"a": np.ones(10)}) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    packed[0].close()
    packed[0].close()
    del packed
    with pytest.raises(TypeError):
        pack({"a": np.ones(10), "b": len})
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_instance_says_so():
    packed = pack({})
    packed.close()
    assert isinstance(packed, Packed)
    with pytest.raises(ValueError, match="closed"):
        packed.fileno()
    with pytest.raises(ValueError, match="closed"):
        packed.duplicate()


def test_a_duplicate_outlives_the_instance():
    """It is what a worker sends: closing meanwhile must not put another file in its place."""
    packed = pack({"x": 5})
    with os.fdopen(packed.duplicate(), "rb") as duplicate:
        packed.close()
        assert unpack(mmap.mmap(duplicate.fileno(), 0, access=mmap.ACCESS_COPY)) == {"x": 5}

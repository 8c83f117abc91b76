"""The host's reader of answers: nothing crashes it, and nothing but an exact frame is accepted."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.sandbox import answer, protocol
from llm.sandbox.answer import InvalidAnswerError, decode, encode_action, encode_text

INT64 = st.integers(-(2**63), 2**63 - 1)
ACTIONS = st.dictionaries(INT64, INT64, max_size=20)
LIMIT = 1 << 20


def reference(frame: bytes) -> tuple[str, dict | None]:
    """An independent reading of the format, number by number."""
    if len(frame) < 9 or frame[:4] != b"lsa1" or frame[4] > 2:
        return "invalid", None
    count, body = int.from_bytes(frame[5:9], "little"), frame[9:]
    if frame[4] != 0:
        fits = count == len(body) and count <= 512
        return ("error" if fits and frame[4] == 1 else "invalid"), None
    if len(body) != 16 * count:
        return "invalid", None
    numbers = [
        int.from_bytes(body[i : i + 8], "little", signed=True) for i in range(0, len(body), 8)
    ]
    keys, values = numbers[:count], numbers[count:]
    if len(set(keys)) < count:
        return "invalid", None
    return "ok", dict(zip(keys, values, strict=True))


@given(ACTIONS)
def test_an_answer_comes_back_as_it_was(action):
    assert decode(encode_action(action), LIMIT) == ("ok", action, "")


@given(ACTIONS)
def test_the_decoded_numbers_are_python_integers(action):
    _, decoded, _ = decode(encode_action(action), LIMIT)
    assert all(type(n) is int for pair in decoded.items() for n in pair)


@settings(max_examples=2000)
@given(st.binary(max_size=400))
def test_random_bytes_are_never_an_answer(frame):
    assert decode(frame, LIMIT)[:2] == reference(frame)


@settings(max_examples=2000)
@given(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=600))
def test_random_bytes_behind_the_magic(kind, count, body):
    frame = protocol.HEADER.pack(protocol.MAGIC, kind, count) + body
    status, action, detail = decode(frame, LIMIT)
    assert (status, action) == reference(frame)
    assert detail.isprintable() and len(detail) <= 200


@settings(max_examples=2000)
@given(ACTIONS.filter(bool), st.data())
def test_a_frame_changed_anywhere_is_read_as_it_now_stands(action, data):
    frame = bytearray(encode_action(action))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for version in (bytes(frame), bytes(frame[:cut]), bytes(frame) + bytes(frame[:cut])):
        assert decode(version, LIMIT)[:2] == reference(version)


@given(ACTIONS, st.binary(min_size=1, max_size=40))
def test_nothing_may_follow_an_answer(action, tail):
    assert decode(encode_action(action) + tail, LIMIT)[0] == "invalid"


@given(ACTIONS.filter(bool))
def test_a_truncated_answer_is_invalid(action):
    frame = encode_action(action)
    for length in range(len(frame)):
        assert decode(frame[:length], LIMIT)[0] == "invalid"


def test_duplicate_keys_are_invalid():
    frame = protocol.HEADER.pack(protocol.MAGIC, 0, 2) + struct.pack("<4q", 5, 5, 1, 2)
    assert decode(frame, LIMIT) == ("invalid", None, "a key of the answer occurs twice")


def test_an_answer_beyond_the_limit_is_output():
    frame = encode_action(dict.fromkeys(range(257), 0))
    assert decode(frame, 4096)[0] == "output"
    assert decode(encode_action(dict.fromkeys(range(256), 0)), 4096)[0] == "ok"


@given(st.text(max_size=2000))
def test_text_becomes_one_printable_line(text):
    for kind, status in ((protocol.Kind.ERROR, "error"), (protocol.Kind.INVALID, "invalid")):
        got, action, detail = decode(encode_text(kind, text), LIMIT)
        assert (got, action) == (status, None)
        assert detail.isprintable() and len(detail) <= 200


WRONG = {
    "list": [1],
    "bool key": {True: 1},
    "bool value": {1: False},
    "float": {1: 1.0},
    "numpy float": {1: np.float32(1)},
    "numpy bool": {1: np.bool_(True)},
    "text": {"1": 1},
    "none": {1: None},
    "too large": {1: 2**63},
    "too small": {-(2**63) - 1: 1},
    "numpy too large": {1: np.uint64(2**63)},
    "time difference": {1: np.timedelta64(1, "s")},
    "array": {1: np.array(1)},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_dict_of_64_bit_integers(name):
    with pytest.raises(InvalidAnswerError):
        encode_action(WRONG[name])


@pytest.mark.parametrize("code", "bhilqBHILQ")
def test_every_numpy_integer_is_converted(code):
    number = np.dtype(code).type(7)
    assert decode(encode_action({number: number}), LIMIT)[1] == {7: 7}


def test_integer_types_are_exactly_the_integers():
    assert bool not in answer._INTEGER_TYPES
    assert np.timedelta64 not in answer._INTEGER_TYPES
    assert {np.int8, np.uint64, np.intp, np.longlong, int} <= answer._INTEGER_TYPES

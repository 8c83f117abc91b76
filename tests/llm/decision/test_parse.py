"""Completion -> code block or mapping."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.decision import parse

CODE = "action = {1: 2}\n"


@pytest.mark.parametrize(
    ("completion", "code", "detail"),
    [
        (f"Sure:\n```python\n{CODE}```\nDone.", CODE, "fenced"),
        (f"```\n{CODE}```", CODE, "fenced"),
        (f"~~~py\n{CODE}~~~", CODE, "fenced"),
        (f"````python\nx = '''\n```\n'''\n{CODE}````", f"x = '''\n```\n'''\n{CODE}", "fenced"),
        (f"```python\n{CODE}", CODE + "\n", "unclosed fence"),
        (f"```python\r\n{CODE}```", CODE, "fenced"),
        ("```python\naction = {1: 2}```", CODE, "fenced"),
        (f"Text.\n{CODE}", CODE + "\n", "no fence"),
        ("for u in x:\n  f(u)\naction = {}", "for u in x:\n  f(u)\naction = {}\n", "no fence"),
        (f"```bash\npip install x\n```\n```python\n{CODE}```", CODE, "fenced"),
        # The last block that assigns `action` counts; one that only talks about it does not.
        (f"```python\naction = {{9: 9}}\n```\nBetter:\n```python\n{CODE}```", CODE, "fenced"),
        (f"```python\n{CODE}```\nTest:\n```python\nprint(action == 1)\n```", CODE, "fenced"),
        (f"```python\n{CODE}```\n```python\nimport", CODE, "fenced"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "y = 2\n", "fenced"),
    ],
)
def test_code_block(completion, code, detail):
    assert parse.code_block(completion) == (code, detail)


@pytest.mark.parametrize(
    ("completion", "detail"),
    [
        ("", "no code block"),
        ("I cannot do that.", "no code block"),
        ("```python\n\n```", "empty code block"),
        ("```json\n{}\n```", "no code block"),
        ("```python\n" + "x = 1\n" * 20_000 + "```", "code block of 120000 characters"),
    ],
)
def test_no_code_block(completion, detail):
    found = parse.code_block(completion)
    assert found.text is None
    assert found.detail.startswith(detail)


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("action = {1: 2, 3: 4}", {1: 2, 3: 4}),
        ("```python\naction = {\n  1: 2,\n  3: -1,\n}\n```", {1: 2, 3: -1}),
        ("{7: 0}", {7: 0}),
        ("```\n{7: 0}\n```", {7: 0}),
        ("action: dict[int, int] = {5: 6}", {5: 6}),
        ("action = {1: 1}\nNo, better:\naction = {1: 2}", {1: 2}),
        ("action = {}", {}),
    ],
)
def test_mapping(completion, action):
    assert parse.mapping(completion) == (action, "ok")


@pytest.mark.parametrize(
    ("completion", "detail"),
    [
        ("no idea", "no mapping"),
        ("the set {1: 2} would do", "no mapping"),
        ("action = {1: 2", "not closed"),
        ("action = {1: 2, 1: 3}", "user 1 appears twice"),
        ("action = {1: 2.0}", "not `user_id: channel_id`: '1: 2.0'"),
        ("action = {True: 2}", "not `user_id"),
        ("action = {'1': 2}", "not `user_id"),
        ("action = {1: 2,, 3: 4}", "not `user_id"),
        ("action = {1: __import__('os')}", "not `user_id"),
        ("action = {1: {2: 3}}", "not `user_id"),
        ("action = {-1: 2}", "not `user_id"),
        ("action = {1: 2_0}", "not `user_id"),
        (f"action = {{1: {'9' * 5000}}}", "not `user_id"),
        ("action = {" + "1:1," * 200_002 + "}", "mapping of more than 200000 entries"),
    ],
)
def test_malformed_mapping(completion, detail):
    found = parse.mapping(completion)
    assert found.action is None
    assert detail in found.detail


@given(st.dictionaries(st.integers(0, 10**6), st.integers(-1, 10**6), max_size=50))
def test_mapping_reads_what_python_prints(action):
    assert parse.mapping(f"action = {action}").action == action


@given(st.text(alphabet="`~{}:,=-0123456789 \nactionpy[](", max_size=400))
def test_anything_goes_in(text):
    code = parse.code_block(text)
    assert code.text is None or code.text.strip()
    found = parse.mapping(text)
    assert (found.action is None) == (found.detail != "ok")


@pytest.mark.parametrize(
    "text",
    [
        "action = " + "{" * 10**6,
        "action = {" + "(" * 10**6 + "}",
        "`" * 10**6,
        "```\n" * 250_000,
        "action" + " " * 10**6,
        "action = {" * 10**5,
        "a" * 10**6 + "[",
        "a, " * 300_000,
    ],
)
def test_hostile_text_costs_linear_time(text):
    start = time.process_time()
    parse.code_block(text)
    parse.mapping(text)
    assert time.process_time() - start < 2.0

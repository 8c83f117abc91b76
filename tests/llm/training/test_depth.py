"""Eq. (14): L_min of a tokenizer, and padding that is not counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.training.depth import (
    SHORTEST_EXACT,
    depth_penalty,
    padding,
    shortest_exact_tokens,
    working_share,
)
from llm.training.rewards import Terms, score
from tests.llm.training.cases import block, instance

CODE = "x = 1\naction = {}\n"


@pytest.mark.parametrize(
    "line",
    [
        "# a comment",
        "'a string'",
        '"""Several\n\nlines."""',
        "b'bytes'",
        "('brackets', ['and', 'commas'])",
        "1 + 2",
        "...",
    ],
)
def test_padding_is_not_counted(line):
    found = "".join(padding(block(line + "\n" + CODE)))
    assert found.replace(" ", "") == line.replace(" ", "")
    assert working_share(block(line + "\n" + CODE)) < 1


@pytest.mark.parametrize(
    "text",
    [
        block(CODE),
        block("x = '# no comment'\naction = {}"),
        block("f('an argument')"),
        block("action = {\n    1: 2,\n}"),
        block("x = ("),
        block("x = '''never closed"),
        block("if x:\n        y\n   z"),
        "No program.  # at all",
        "",
    ],
)
def test_what_is_counted_in_full(text):
    assert padding(text) == [] and working_share(text) == 1.0


def test_a_comment_behind_code_and_a_docstring_in_a_function():
    text = block("def f():\n    '''doc'''\n    return 1  # one\n'a'; x = f()")
    assert padding(text) == ["'''doc'''", "# one", "'a'"]


@given(st.text(alphabet="ab1 \n\t'\"#(){}[]:;=\\\u00e9\x00", max_size=80))
def test_any_text_has_a_share(text):
    assert 0 <= working_share(block(text)) <= 1
    assert 0 <= working_share(text) <= 1


def test_equation_14():
    found = depth_penalty([0, 25, 50, 500], [block(CODE)] * 4, delta=0.4, min_tokens=50)
    np.testing.assert_allclose(found, [-0.4, -0.2, 0, 0], rtol=1e-6)
    # As many words in comments as beside them: half of the tokens count.
    padded = "```python\nx = y\n# as many\n```"
    half = depth_penalty([50], [padded], delta=0.4, min_tokens=50)
    share = working_share(padded)
    np.testing.assert_allclose(half, [-0.4 * (1 - share)], rtol=1e-6)
    assert 0.5 < share < 1


@pytest.mark.parametrize("comment", ["# one two three four", "#" * 60, "# \u4e2d\u6587" * 20])
@pytest.mark.parametrize("count", [len, lambda text: len(text.split())])
def test_padding_does_not_pay_by_the_count_of_a_tokenizer(comment, count):
    options = {"delta": 0.5, "min_tokens": 60}
    plain, padded = block(CODE), block(CODE + f"{comment}\n" * 9)
    bare, longer = depth_penalty(count, [plain, padded], **options)
    newlines = 9 / 60 * 0.5 if count is len else 0
    assert bare < 0 and longer <= bare + newlines + 1e-6
    bare, longer = depth_penalty([count(plain), count(plain)], [plain, padded], **options)
    assert longer < bare


def test_the_shortest_exact_program_is_exact_and_long_enough(box):
    inst = instance(setting="fair")
    for count in (len, lambda text: len(text.split())):
        terms = Terms(min_tokens=shortest_exact_tokens(count))
        scores = score([SHORTEST_EXACT], [inst], box, lengths=[count(SHORTEST_EXACT)], terms=terms)
        assert scores.valid[0] and scores.depth[0] == 0
        # Told how the tokenizer counts, a score takes that by itself.
        scores = score([SHORTEST_EXACT, "No."], [inst] * 2, box, lengths=count)
        assert scores.depth[0] == 0
        assert scores.depth[1] == pytest.approx(-0.5 * (1 - count("No.") / count(SHORTEST_EXACT)))
    ranked = score([SHORTEST_EXACT], [inst], box, terms=Terms(form="ranked"))
    assert ranked.gain[0] == pytest.approx(1, abs=1e-5)

"""Eq. (14): L_min of a tokenizer, and padding that is not counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.training.depth import SHORTEST_EXACT, depth_penalty, shortest_exact_tokens, working_share
from llm.training.rewards import Terms, score
from tests.llm.training.cases import block, instance

CODE = "x = 1\naction = {}\n"


@pytest.mark.parametrize(
    "padding",
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
def test_padding_is_not_counted(padding):
    whole = block(padding + "\n" + CODE)
    counted = working_share(whole) * len(whole)
    assert counted == pytest.approx(len(whole) - len(padding.replace(" ", "")), abs=6)


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
    assert working_share(text) == 1.0


def test_a_comment_behind_code_and_a_docstring_in_a_function():
    text = block("def f():\n    '''doc'''\n    return 1  # one\n'a'; x = f()")
    assert working_share(text) == pytest.approx(1 - len("'''doc'''# one'a'") / len(text))


@given(st.text(alphabet="ab1 \n\t'\"#(){}[]:;=\\\u00e9\x00", max_size=80))
def test_any_text_has_a_share(text):
    assert 0 <= working_share(block(text)) <= 1
    assert 0 <= working_share(text) <= 1


def test_equation_14():
    found = depth_penalty([0, 25, 50, 500], [block(CODE)] * 4, delta=0.4, min_tokens=50)
    np.testing.assert_allclose(found, [-0.4, -0.2, 0, 0], rtol=1e-6)
    # Half of the text is a comment: half of the tokens count.
    text = block(CODE)
    text = block("#" * (len(text) + 1) + "\n" + CODE)
    half = depth_penalty([50], [text], delta=0.4, min_tokens=50)
    np.testing.assert_allclose(half, [-0.2], rtol=1e-6)


def test_the_shortest_exact_program_is_exact_and_long_enough(box):
    inst = instance(setting="fair")
    for count in (len, lambda text: len(text.split())):
        terms = Terms(min_tokens=shortest_exact_tokens(count))
        scores = score([SHORTEST_EXACT], [inst], box, lengths=[count(SHORTEST_EXACT)], terms=terms)
        assert scores.valid[0] and scores.depth[0] == 0
    ranked = score([SHORTEST_EXACT], [inst], box, terms=Terms(form="ranked"))
    assert ranked.gain[0] == pytest.approx(1, abs=1e-5)

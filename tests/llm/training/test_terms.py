"""The tiers of the form ranked, as a pure function, and the options of both forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.training.structure import MAX_STRUCTURE
from llm.training.terms import Terms, ranked_parts

gains = st.floats(-1e6, 1.0, width=32)
structures = st.floats(0.0, MAX_STRUCTURE)
weights = st.floats(0.01, 100.0)


def total(R_s, gain, valid, terms=None):
    terms = terms or Terms(form="ranked")
    structure, performance = ranked_parts(np.array([R_s]), np.array([gain]), np.array([valid]))
    return float(terms.structure * structure[0] + terms.performance * performance[0])


@given(structures, structures, gains, gains, weights, weights)
def test_no_invalid_answer_reaches_a_valid_one(R_s, other, gain, other_gain, w_s, w_p):
    """Whatever each earns for its structure or its value, and whatever the weights."""
    assert total(R_s, gain, False) <= 0.4 + 1e-6 < 0.7 <= total(other, other_gain, True) + 1e-6
    terms = Terms(structure=w_s, performance=w_p, form="ranked")
    assert total(R_s, gain, False, terms) < total(other, other_gain, True, terms)


@given(gains, gains, structures, structures)
def test_valid_answers_rank_by_their_gain_alone(low, high, R_s, other):
    low, high = sorted((low, high))
    assert total(R_s, low, True) <= total(other, high, True)
    if high - low > 1e-3 and low > -10:
        assert total(R_s, low, True) < total(other, high, True)


@given(structures, structures, gains)
def test_invalid_answers_rank_by_their_structure_alone(R_s, other, gain):
    low, high = sorted((R_s, other))
    assert total(low, gain, False) <= total(high, -gain, False)


@pytest.mark.parametrize(
    ("gain", "expected"), [(0, 1), (1, 2), (0.5, 1.5), (-1, 0.85), (-1e9, 0.7), (1.25, 2.25)]
)
def test_landmarks(gain, expected):
    assert total(MAX_STRUCTURE, gain, True) == pytest.approx(expected)


def test_what_a_form_does_not_read_is_refused():
    for name, value in {"depth": 1.0, "kappa": 1.0, "delta": 0.1, "min_tokens": 5}.items():
        with pytest.raises(ValueError, match=f"{name} is read by the form 'paper' alone, got"):
            Terms(**{name: value}, form="ranked")
    with pytest.raises(ValueError, match="form must be one of paper, ranked, got 'best'"):
        Terms(form="best")
    # Their defaults are today's; and the paper's rows are the default.
    paper = Terms()
    assert (paper.form, paper.structure, paper.performance, paper.depth) == ("paper", 1, 1, 0.5)
    assert (paper.kappa, paper.penalty, paper.delta, paper.min_tokens) == (2, 0.5, 0.5, None)

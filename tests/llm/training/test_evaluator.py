"""The batched evaluator against the core, one by one."""

import jax
import numpy as np
import pytest

import lsajax as lsa
from llm.training import evaluator
from llm.training.evaluator import evaluate, random_baselines
from tests.llm.training.cases import instance

_gain = jax.jit(lsa.performance_gain)
_violations = jax.jit(lsa.violations)


def test_few_sizes_are_compiled():
    """However many completions of a step are valid, the evaluator is compiled per power of two."""
    evaluator._evaluate.clear_cache()
    insts = [instance(s) for s in range(4)]
    rng = np.random.default_rng(0)
    for n in range(1, 25):
        chosen = [insts[i] for i in sorted(rng.integers(0, 4, n))]
        evaluate(chosen, [rng.integers(-1, 15, 6).astype(np.int32) for _ in range(n)])
    assert evaluator._evaluate._cache_size() <= 3 * 5


def test_evaluation_against_one_by_one():
    rng = np.random.default_rng(1)
    chosen = [instance(s % 3, setting="fading") for s in range(10)]
    raw = [rng.integers(-2, 17, 6).astype(np.int32) for _ in range(10)]
    value = evaluate(chosen, raw)
    known = evaluate(chosen, raw, baselines=random_baselines(chosen))
    np.testing.assert_allclose(known.gain, value.gain, rtol=1e-5, atol=1e-5)
    for k, (inst, one) in enumerate(zip(chosen, raw, strict=True)):
        gain = _gain(jax.random.key(0), inst, one)
        assert value.gain[k] == pytest.approx(float(gain), rel=1e-5, abs=1e-5)
        for kind, count in _violations(inst, one)._asdict().items():
            assert value.violations[kind][k] == int(count)


def test_slots_where_no_user_can_be_served_have_gain_0():
    inst = instance()
    nothing = [
        inst.replace(user_mask=np.zeros(6, bool)),
        inst.replace(occupied=np.ones(15, bool)),
    ]
    np.testing.assert_array_equal(random_baselines(nothing), 0)
    raw = np.arange(6, dtype=np.int32)
    np.testing.assert_array_equal(evaluate(nothing, [raw] * 2).gain, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instances": []}, r"instances must have one entry per raw assignment \(1\), got 0"),
        ({"baselines": [1.0, 2.0]}, r"baselines must have one entry per raw assignment \(1\)"),
        ({"baselines": [np.inf]}, "baselines must be finite, got inf"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"instances": [instance()], "raw": [np.arange(6, dtype=np.int32)], **changes}
    with pytest.raises(ValueError, match=message):
        evaluate(**arguments)

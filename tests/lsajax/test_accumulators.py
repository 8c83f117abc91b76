"""Moments and sketches beside NumPy in float64, and merging that forgets how the work was cut."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lsajax.accumulators import SKETCH_ERROR, Accumulator, Fold, Sketch, Summary, fold

ROOT = np.random.default_rng(0)


def same(a, b):
    """To the bit."""
    left, right = jax.tree.leaves(a), jax.tree.leaves(b)
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(left, right, strict=True)
    )


def test_moments_are_those_of_numpy():
    values = 1e8 + ROOT.normal(size=(1000, 3)) * [1.0, 1e3, 1e7]
    values[::7, 1] = np.nan
    merged = fold({"x": Summary.of(part, sketch=False)} for part in np.array_split(values, 13))["x"]
    np.testing.assert_array_equal(merged.count, (~np.isnan(values)).sum(axis=0))
    np.testing.assert_array_equal(merged.missing, np.isnan(values).sum(axis=0))
    np.testing.assert_allclose(merged.mean, np.nanmean(values, axis=0), rtol=1e-14)
    # The spread of 1 beside a mean of 1e8: a sum of squares in float64 would lose it.
    np.testing.assert_allclose(merged.variance, np.nanvar(values, axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_array_equal(merged.smallest, np.nanmin(values, axis=0))
    np.testing.assert_array_equal(merged.largest, np.nanmax(values, axis=0))
    interval = stats.t.interval(0.9, 999, values[:, 0].mean(), stats.sem(values[:, 0]))
    assert merged.half_width(0.9)[0] == pytest.approx((interval[1] - interval[0]) / 2)
    pooled = merged.pooled()
    assert pooled.mean == pytest.approx(np.nanmean(values))
    assert pooled.variance == pytest.approx(np.nanvar(values, ddof=1))


def test_nothing_and_one_have_no_variance():
    none = Summary.of(np.full(3, np.nan), sketch=True)
    one = Summary.of(np.array([2.0]), sketch=True)
    assert none.count == 0 and none.missing == 3 and np.isnan(none.variance)
    assert np.isnan(one.variance) and np.isnan(one.half_width()) and one.mean == 2
    both = none.merge(one)
    assert both.mean == 2 and both.count == 1 and both.missing == 3 and both.smallest == 2
    assert np.isnan(none.quantile(0.5)) and both.quantile(0.5) == 2
    assert same(one.merge(none).mean, both.mean)
    with pytest.raises(ValueError, match="quantiles need a study with sketch=True"):
        Summary.of(np.zeros(2), sketch=False).quantile(0.5)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 60),
    height=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_runs_of_a_power_of_two_may_be_merged_beforehand(count, height, seed):
    values = np.random.default_rng(seed).lognormal(size=(count, 5)).astype(np.float32)
    chunks = [{"x": Summary.of(one, sketch=True)} for one in values]
    size = 2**height
    parts = [fold(chunks[i : i + size]) for i in range(0, count, size)]
    assert same(fold(parts), fold(chunks))


@pytest.mark.parametrize("sketch", [False, True])
@pytest.mark.parametrize("waiting", [1, 200, 2**16])
def test_values_that_wait_for_their_sketch_are_in_it(sketch, waiting, monkeypatch):
    monkeypatch.setattr(Accumulator, "WAITING", waiting)
    numbers = np.random.default_rng(3).lognormal(size=(13, 8, 2)).astype(np.float32)
    numbers[2, 3] = np.nan
    chunks = [{"x": one, "whole": np.arange(8)} for one in numbers]
    chunks[-1] = {name: value[:5] for name, value in chunks[-1].items()}
    running = Accumulator(sketch)
    assert running.result() == {}
    for number, chunk in enumerate(chunks, 1):
        running.add(chunk)
        if number in (6, 7, 13):  # to look at it changes nothing
            each = ({n: Summary.of(v, sketch) for n, v in one.items()} for one in chunks[:number])
            assert same(running.result(), fold(each))


@pytest.mark.parametrize("size", [0, 1])
def test_at_most_256_small_chunks_wait(size):
    running = Accumulator(sketch=True)
    for _ in range(600):
        running.add({"x": np.zeros((1, size))})
        assert len(running._waiting.get("x", [])) < 256
    assert running.result()["x"].sketch.counts.sum() == 600 * size


def test_the_order_alone_makes_the_bits():
    tree = Fold()
    assert tree.result() == {}
    for x in (0.1, 0.7, 1e9):
        tree.add({"x": Summary.of(np.array([x, 2 * x]), sketch=False)})
    left, middle, right = (Summary.of(np.array([x, 2 * x]), False) for x in (0.1, 0.7, 1e9))
    assert same(tree.result()["x"], left.merge(middle).merge(right))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, bool])
def test_quantiles_are_within_the_stated_error(dtype):
    values = np.concatenate([ROOT.lognormal(3, 2, 5000), -ROOT.lognormal(1, 1, 3000), [0.0] * 500])
    values = values.astype(dtype)
    sketch = Sketch.of(values[:4000]).merge(Sketch.of(values[4000:]))
    assert same(sketch, Sketch.of(values)) and sketch.counts.sum() == len(values)
    q = np.linspace(0, 1, 501)
    exact = np.quantile(values.astype(float), q, method="inverted_cdf")
    np.testing.assert_allclose(sketch.quantile(q), exact, rtol=SKETCH_ERROR * 1.001, atol=0)
    for x in (-5.0, 0.0, 1.0, 40.0):
        near = np.abs(values.astype(float) - x) <= abs(x) * SKETCH_ERROR
        assert abs(sketch.cdf(x) - (values <= x).mean()) <= near.mean() + 1e-12
    edges = np.array([-np.inf, -1.0, 0.0, 3.0, 1e9])
    exact = np.histogram(values.astype(float), edges)[0]
    assert np.abs(sketch.histogram(edges) - exact).max() <= 12  # what lies at an edge


def test_small_whole_numbers_and_extremes_are_exact():
    values = np.array([0.0, -0.0, 0.5, 3, 4095, -4096, np.inf, -np.inf, np.nan, 1e300, 1e-42])
    sketch = Sketch.of(values)
    expected = [-np.inf, -4096, 0, 0.5, 3, 4095, np.inf]
    np.testing.assert_allclose(sketch.values(), expected, rtol=0, atol=2e-42)
    assert list(sketch.counts) == [1, 1, 3, 1, 1, 1, 2]

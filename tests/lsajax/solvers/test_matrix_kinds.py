"""Exact on heavy tails, logarithms, ties and shared minima, at sizes where duals are sampled."""

import functools

import jax
import numpy as np
import pytest
import scipy.optimize

from lsajax import solvers
from lsajax.solvers import _host


def _heavy(rng, shape):
    return rng.exponential(size=(*shape[:2], 1)) * rng.exponential(size=shape)


KINDS = {
    "heavy": _heavy,
    "log heavy": lambda rng, shape: np.log2(1 + _heavy(rng, shape)),
    "integers": lambda rng, shape: rng.integers(0, 10, shape).astype(float),
    "few ones": lambda rng, shape: (rng.random(shape) < 3 / shape[-1]).astype(float),
    "equal": lambda rng, shape: np.ones(shape),
    "products": lambda rng, shape: (
        _heavy(rng, (shape[0], shape[2], 1)).swapaxes(1, 2) * np.arange(1.0, 1 + shape[1])[:, None]
        + np.zeros(shape)
    ),
}


@functools.cache
def _solver(method, maximize):
    def solve(values):
        solution = solvers.linear_sum_assignment(values, maximize=maximize, method=method)
        return solution, solvers.certify(values, solution, maximize=maximize)

    return jax.jit(jax.vmap(solve))


@pytest.mark.parametrize(
    ("maximize", "shape"),
    [
        (True, (3, 48, 48)),
        (False, (2, 30, 41)),
        pytest.param(True, (2, 30, 41), marks=pytest.mark.slow),
        pytest.param(False, (3, 48, 48), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_optimal_and_certified_on_every_kind(method, maximize, shape):
    for kind, draw in KINDS.items():
        values = draw(np.random.default_rng(5), shape)
        with jax.enable_x64(True):
            solution, gaps = jax.device_get(_solver(method, maximize)(values))
        for one, row, gap in zip(values, solution.assignment, gaps, strict=True):
            assert len(set(row)) == shape[1], kind
            pairs = scipy.optimize.linear_sum_assignment(one, maximize=maximize)
            best = one[pairs].sum()
            np.testing.assert_allclose(one[np.arange(shape[1]), row].sum(), best, rtol=1e-12)
            assert abs(gap) <= 1e-10 * max(1.0, abs(best)), kind


@pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
def test_equal_costs_need_few_scans():
    """Rows have some thirty equal best columns: a search ends at the first free one."""
    values = np.random.default_rng(1).integers(0, 10, (300, 300)).astype(np.float32)
    solution = solvers.linear_sum_assignment(values, maximize=True, method="host", max_steps=300)
    assert int(solution.status) == solvers.Status.OPTIMAL

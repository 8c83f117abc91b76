"""`linear_sum_assignment` against SciPy in float64, by both methods."""

import functools

import jax
import numpy as np
import pytest

from lsajax import solvers
from lsajax.solvers import _host
from tests.lsajax.solvers.matching import check, run

SIZES = (0, 1, 2, 3, 7, 16, 33)


def _matrices(rng, n, m, dtype):
    """Kinds that have broken solvers: plain, ties, equal rows, equal columns, all equal, huge."""
    normal = rng.normal(size=(n, m))
    kinds = [
        normal,
        np.round(normal),
        np.broadcast_to(normal[:1], (n, m)) if n else normal,
        np.broadcast_to(normal[:, :1], (n, m)) if m else normal,
        np.full((n, m), 3.0),
        -np.exp(5 * normal),
        np.outer(np.sort(rng.random(n)), np.sort(rng.random(m))),
        1e8 * rng.random((n, m)),
        2e36 * normal,
    ]
    return np.stack(kinds).astype(dtype)


SHAPES = [(n, m) for n in SIZES for m in SIZES]
# The device path compiles for a second per shape and sense; the slow test has all of them.
FEW_SHAPES = [
    (0, 3, True),
    (2, 0, False),
    (1, 1, True),
    pytest.param(3, 2, False, marks=pytest.mark.slow),
    (3, 2, True),
    (7, 16, False),
    (33, 33, True),
]
SOME_SHAPES = [(0, 0), (0, 3), (2, 0), (1, 1), (1, 16), (3, 2), (3, 3), (16, 3), (16, 33), (33, 33)]


@pytest.mark.parametrize(("n", "m", "maximize"), FEW_SHAPES)
def test_device_agrees_with_scipy(n, m, maximize):
    _agrees_with_scipy("device", n, m, np.float32, maximize)


@pytest.mark.parametrize("shape", SOME_SHAPES)
def test_host_agrees_with_scipy(shape):
    _kernel_agrees_with_scipy(shape, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_device_agrees_with_scipy_on_all_shapes(shape, maximize):
    _agrees_with_scipy("device", *shape, np.float32, maximize)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_host_agrees_with_scipy_on_all_shapes(shape, dtype):
    _kernel_agrees_with_scipy(shape, dtype)


def _kernel_agrees_with_scipy(shape, dtype):
    if not _host.available():
        pytest.skip("C++ kernel not built")
    with jax.enable_x64(dtype is np.float64):
        for maximize in (True, False):
            _agrees_with_scipy("host", *shape, dtype, maximize)


def _agrees_with_scipy(method, n, m, dtype, maximize):
    rng = np.random.default_rng(100 * n + m)
    values = _matrices(rng, n, m, dtype)
    solution, gap = run(values, method, maximize)
    for b in range(len(values)):
        check(values[b], jax.tree.map(lambda x, b=b: x[b], solution), gap[b], maximize)


@pytest.mark.parametrize(
    ("n", "m", "maximize"),
    [
        pytest.param(7, 7, False, marks=pytest.mark.slow),
        pytest.param(7, 7, True, marks=pytest.mark.slow),
        (33, 16, True),
        pytest.param(33, 16, False, marks=pytest.mark.slow),
        pytest.param(40, 40, False, marks=pytest.mark.slow),
        pytest.param(40, 40, True, marks=pytest.mark.slow),
    ],
)
def test_float64(method, n, m, maximize):
    with jax.enable_x64(True):
        _agrees_with_scipy(method, n, m, np.float64, maximize)


@pytest.mark.parametrize(
    ("shape", "warm"),
    [
        ((9, 16), False),
        ((16, 9), True),
        *(
            pytest.param((n, m), warm, marks=pytest.mark.slow)
            for n, m, warm in (
                (9, 16, True),
                (16, 9, False),
                (40, 40, True),
                (40, 40, False),
            )
        ),
    ],
)
def test_masks_forbidden_pairs_and_any_start(method, shape, warm):
    n, m = shape
    rng = np.random.default_rng(n * m)
    batch = 60
    values = rng.normal(size=(batch, n, m)).astype(np.float32)
    values[::3] = np.round(2 * values[::3])
    values[1::3][rng.random(values[1::3].shape) < 0.4] = -np.inf
    row_mask = rng.random((batch, n)) < rng.choice([0.4, 0.8, 1.0], (batch, 1))
    col_mask = rng.random((batch, m)) < rng.choice([0.4, 0.8, 1.0], (batch, 1))
    duals = None
    if warm:  # of no use at all: only the speed may depend on them
        duals = solvers.Duals(
            rng.normal(size=(batch, n)).astype(np.float32),
            rng.normal(size=(batch, m)).astype(np.float32),
        )
    solution, gap = run(values, method, True, row_mask, col_mask, duals)
    for b in range(batch):
        one = jax.tree.map(lambda x, b=b: x[b], solution)
        check(values[b], one, gap[b], True, row_mask[b], col_mask[b])


@pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
def test_a_batch_that_is_spread_over_threads():
    values = np.random.default_rng(7).normal(size=(128, 40, 40)).astype(np.float32)
    solution, gap = run(values, "host")
    for b in range(len(values)):
        check(values[b], jax.tree.map(lambda x, b=b: x[b], solution), gap[b])


def test_tiny_values_beside_a_forbidden_pair(method):
    rng = np.random.default_rng(8)
    for scale in (1e-13, 1e-28):
        values = (scale * rng.normal(size=(1, 9, 9))).astype(np.float32)
        values[0, 0, 0] = -np.inf
        solution, gap = run(values, method)
        check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])


@pytest.mark.parametrize("size", [1e9, 1e38, np.inf, np.nan])
def test_a_start_far_from_the_values_changes_nothing(method, size):
    rng = np.random.default_rng(9)
    values = rng.random((1, 12, 12)).astype(np.float32)
    start = (size * rng.normal(size=(2, 1, 12))).clip(-3e38, 3e38).astype(np.float32)
    solution, gap = run(values, method, duals=solvers.Duals(*start))
    check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])


def test_exactly_one_permitted_matching(method):
    rng = np.random.default_rng(0)
    n = 12
    order = rng.permutation(n)
    values = np.full((1, n, n), -np.inf, np.float32)
    # Below a permuted diagonal anything is permitted: the diagonal is the only matching.
    for i in range(n):
        values[0, i, order[: i + 1]] = rng.normal(size=i + 1) + 5
        values[0, i, order[i]] = -100.0
    solution, _ = run(values, method)
    assert solution.status[0] == solvers.Status.OPTIMAL
    np.testing.assert_array_equal(solution.assignment[0], order)


def test_infeasible_by_hall(method):
    values = np.zeros((1, 4, 5), np.float32)
    values[0, :3, 2:] = -np.inf  # three rows share two columns
    solution, gap = run(values, method)
    check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])
    assert solution.status[0] == solvers.Status.INFEASIBLE


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_mean_nothing_are_infeasible(method, bad):
    values = np.ones((1, 3, 4), np.float32)
    values[0, 1, 2] = bad
    solution, _ = run(values, method)
    assert solution.status[0] == solvers.Status.INFEASIBLE


def test_step_limit_is_reported(method):
    values = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    solution = solvers.linear_sum_assignment(values, method=method, max_steps=1)
    assert solution.status == solvers.Status.ITERATION_LIMIT
    assert np.isnan(solution.value) and (solution.assignment == -1).all()


@pytest.mark.parametrize("limit", [1, 2**40])
def test_step_limit_with_idle_columns_and_a_start(method, limit):
    values = np.random.default_rng(0).random((20, 24)).astype(np.float32)
    start = solvers.Duals(np.zeros(20, np.float32), np.zeros(24, np.float32))
    solution = solvers.linear_sum_assignment(
        values, maximize=True, method=method, max_steps=limit, init_duals=start
    )
    if limit == 1:
        assert solution.status == solvers.Status.ITERATION_LIMIT
        assert np.isnan(solution.value) and (solution.assignment == -1).all()
    else:
        assert solution.status == solvers.Status.OPTIMAL


def test_warm_start_from_the_optimum_needs_no_search(method):
    # Nearly a product of two vectors: from zero duals nearly every path goes through all rows.
    rng = np.random.default_rng(4)
    values = np.outer(np.sort(rng.random(48)), np.sort(rng.random(48))) + 1e-4 * rng.random(
        (48, 48)
    )
    solve = functools.partial(solvers.linear_sum_assignment, values, maximize=True, method=method)
    first = solve()
    limit = 4 * 48  # a step and a hop for each row, and some more for rounding
    again = solve(init_duals=first.duals, max_steps=limit)
    assert again.status == solvers.Status.OPTIMAL
    np.testing.assert_allclose(again.value, first.value, rtol=1e-6)
    assert solve(max_steps=limit).status == solvers.Status.ITERATION_LIMIT

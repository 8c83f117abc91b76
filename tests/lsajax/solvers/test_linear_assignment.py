"""`linear_sum_assignment` and `certify` against SciPy in float64, by both methods."""

import functools
import re
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from lsajax import solvers
from lsajax.solvers import _host, linear_assignment

SIZES = (0, 1, 2, 3, 7, 16, 33)
METHODS = [
    "device",
    pytest.param(
        "host", marks=pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
    ),
]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@functools.cache
def _solver(method, maximize=True, masked=False, warm=False):
    """Jitted: a batch of problems -> (solutions, gaps)."""

    def solve(values, row_mask, col_mask, duals):
        masks = {"row_mask": row_mask, "col_mask": col_mask} if masked else {}
        solution = solvers.linear_sum_assignment(
            values,
            maximize=maximize,
            method=method,
            init_duals=duals if warm else None,
            **masks,
        )
        return solution, solvers.certify(values, solution, maximize=maximize, **masks)

    return jax.jit(jax.vmap(solve))


def _run(values, method, maximize=True, row_mask=None, col_mask=None, duals=None):
    batch, n, m = values.shape
    masked = row_mask is not None
    if not masked:
        row_mask, col_mask = np.ones((batch, n), bool), np.ones((batch, m), bool)
    warm = duals is not None
    if not warm:
        duals = solvers.Duals(
            np.zeros((batch, n), values.dtype), np.zeros((batch, m), values.dtype)
        )
    return _solver(method, maximize, masked, warm)(values, row_mask, col_mask, duals)


def _oracle(values, maximize, row_mask, col_mask):
    """Optimal value in float64; None where the masks allow no matching of full size."""
    part = values[np.ix_(row_mask, col_mask)].astype(np.float64)
    if part.size == 0:
        return 0.0
    try:
        pairs = scipy.optimize.linear_sum_assignment(part, maximize=maximize)
    except ValueError:
        return None
    return part[pairs].sum()


def _check(values, solution, gap, maximize=True, row_mask=None, col_mask=None):
    """One problem of a batch: value, matching, duals, status."""
    n, m = values.shape
    row_mask = np.ones(n, bool) if row_mask is None else row_mask
    col_mask = np.ones(m, bool) if col_mask is None else col_mask
    expected = _oracle(values, maximize, row_mask, col_mask)
    assignment = np.asarray(solution.assignment)
    assert assignment.shape == (n,) and assignment.dtype == np.int32
    if expected is None:
        assert solution.status == solvers.Status.INFEASIBLE
        assert (assignment == -1).all()
        assert solution.value == (-np.inf if maximize else np.inf)
        assert gap == np.inf
        return
    assert solution.status == solvers.Status.OPTIMAL
    served = assignment >= 0
    assert served.sum() == min(row_mask.sum(), col_mask.sum())
    assert (row_mask[served]).all() and (col_mask[assignment[served]]).all()
    assert len(np.unique(assignment[served])) == served.sum()
    chosen = values[served, assignment[served]].astype(np.float64)
    finite = np.abs(values[np.isfinite(values)])
    size = finite.max(initial=0.0) * max(1, served.sum())
    tolerance = 8 * np.finfo(values.dtype).eps * size + 1e-300
    assert abs(chosen.sum() - expected) <= tolerance
    assert abs(np.float64(solution.value) - chosen.sum()) <= tolerance
    assert 0 <= gap <= tolerance
    _check_weak_duality(values, solution.duals, expected, tolerance, maximize, row_mask, col_mask)


def _check_weak_duality(values, duals, expected, tolerance, maximize, row_mask, col_mask):
    """In float64 and independently of `certify`: feasible duals whose value bounds the optimum."""
    sign = 1.0 if maximize else -1.0
    row, column = (sign * np.asarray(dual, np.float64) for dual in duals)
    slack = (row[:, None] + column - sign * values)[np.ix_(row_mask, col_mask)]
    assert (slack >= -tolerance).all()
    if row_mask.sum() < col_mask.sum():
        assert (column[col_mask] >= -tolerance).all()
    if col_mask.sum() < row_mask.sum():
        assert (row[row_mask] >= -tolerance).all()
    total = row[row_mask].sum() + column[col_mask].sum()
    if row_mask.any() and col_mask.any():
        assert total >= sign * expected - len(row) * tolerance
        assert total <= sign * expected + len(row) * tolerance


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
    (3, 2, False),
    (3, 2, True),
    (7, 16, False),
    (33, 33, True),
]
SOME_SHAPES = [(n, m) for n in (0, 1, 3, 16) for m in (0, 2, 3, 16, 33)]


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
    solution, gap = _run(values, method, maximize)
    for b in range(len(values)):
        _check(values[b], jax.tree.map(lambda x, b=b: x[b], solution), gap[b], maximize)


@pytest.mark.parametrize(
    ("n", "m", "maximize"),
    [
        pytest.param(7, 7, False, marks=pytest.mark.slow),
        pytest.param(7, 7, True, marks=pytest.mark.slow),
        (33, 16, True),
        pytest.param(33, 16, False, marks=pytest.mark.slow),
        (40, 40, False),
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
        ((40, 40), False),
        *(
            pytest.param(shape, warm, marks=pytest.mark.slow)
            for shape, warm in (((9, 16), True), ((16, 9), False), ((40, 40), True))
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
    solution, gap = _run(values, method, True, row_mask, col_mask, duals)
    for b in range(batch):
        one = jax.tree.map(lambda x, b=b: x[b], solution)
        _check(values[b], one, gap[b], True, row_mask[b], col_mask[b])


@pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
def test_a_batch_that_is_spread_over_threads():
    values = np.random.default_rng(7).normal(size=(128, 40, 40)).astype(np.float32)
    solution, gap = _run(values, "host")
    for b in range(len(values)):
        _check(values[b], jax.tree.map(lambda x, b=b: x[b], solution), gap[b])


def test_tiny_values_beside_a_forbidden_pair(method):
    rng = np.random.default_rng(8)
    for scale in (1e-13, 1e-28):
        values = (scale * rng.normal(size=(1, 9, 9))).astype(np.float32)
        values[0, 0, 0] = -np.inf
        solution, gap = _run(values, method)
        _check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])


@pytest.mark.parametrize("size", [1e9, 1e38, np.inf, np.nan])
def test_a_start_far_from_the_values_changes_nothing(method, size):
    rng = np.random.default_rng(9)
    values = rng.random((1, 12, 12)).astype(np.float32)
    start = (size * rng.normal(size=(2, 1, 12))).clip(-3e38, 3e38).astype(np.float32)
    solution, gap = _run(values, method, duals=solvers.Duals(*start))
    _check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])


def test_exactly_one_permitted_matching(method):
    rng = np.random.default_rng(0)
    n = 12
    order = rng.permutation(n)
    values = np.full((1, n, n), -np.inf, np.float32)
    # Below a permuted diagonal anything is permitted: the diagonal is the only matching.
    for i in range(n):
        values[0, i, order[: i + 1]] = rng.normal(size=i + 1) + 5
        values[0, i, order[i]] = -100.0
    solution, _ = _run(values, method)
    assert solution.status[0] == solvers.Status.OPTIMAL
    np.testing.assert_array_equal(solution.assignment[0], order)


def test_infeasible_by_hall(method):
    values = np.zeros((1, 4, 5), np.float32)
    values[0, :3, 2:] = -np.inf  # three rows share two columns
    solution, gap = _run(values, method)
    _check(values[0], jax.tree.map(lambda x: x[0], solution), gap[0])
    assert solution.status[0] == solvers.Status.INFEASIBLE


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_mean_nothing_are_infeasible(method, bad):
    values = np.ones((1, 3, 4), np.float32)
    values[0, 1, 2] = bad
    solution, _ = _run(values, method)
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


def test_vmap_of_vmap_of_jit(method):
    values = np.random.default_rng(1).normal(size=(2, 3, 5, 6)).astype(np.float32)
    solve = jax.jit(functools.partial(solvers.linear_sum_assignment, method=method))
    nested = jax.vmap(jax.vmap(solve))(values)
    single = jax.vmap(solve)(values.reshape(6, 5, 6))
    np.testing.assert_array_equal(nested.assignment.reshape(6, 5), single.assignment)
    chex.assert_trees_all_close(nested.value.reshape(6), single.value)


def test_unbatched_masks_under_vmap(method):
    values = np.random.default_rng(1).normal(size=(3, 5, 6)).astype(np.float32)
    mask = np.array([True, False, True, True, True, False])

    def solve(x, mask):
        return solvers.linear_sum_assignment(x, maximize=True, col_mask=mask, method=method)

    solution = jax.vmap(solve, (0, None))(values, mask)
    for x, assignment in zip(values, solution.assignment, strict=True):
        pairs = scipy.optimize.linear_sum_assignment(x[:, mask], maximize=True)
        chosen = x[np.arange(5), assignment][np.asarray(assignment) >= 0]
        np.testing.assert_allclose(chosen.sum(), x[:, mask][pairs].sum(), rtol=1e-5)


@pytest.mark.parametrize("maximize", [True, False])
def test_gradient_of_the_value_is_the_indicator(method, maximize):
    values = np.random.default_rng(2).normal(size=(6, 8)).astype(np.float32)

    def value(x):
        return solvers.linear_sum_assignment(x, maximize=maximize, method=method).value

    rows, columns = scipy.optimize.linear_sum_assignment(values, maximize=maximize)
    indicator = np.zeros_like(values)
    indicator[rows, columns] = 1.0
    np.testing.assert_array_equal(jax.grad(value)(jnp.asarray(values)), indicator)
    np.testing.assert_array_equal(jax.jit(jax.jacfwd(value))(jnp.asarray(values)), indicator)
    step = 1e-2 * np.random.default_rng(3).normal(size=values.shape)
    ahead, behind = (_oracle64(values + s * step, maximize) for s in (1e-3, -1e-3))
    np.testing.assert_allclose((ahead - behind) / 2e-3, (indicator * step).sum(), rtol=1e-6)


def _oracle64(values, maximize):
    values = values.astype(np.float64)
    return values[scipy.optimize.linear_sum_assignment(values, maximize=maximize)].sum()


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


def test_certify_rejects_what_is_not_optimal_or_not_a_matching():
    values = np.random.default_rng(5).random((6, 8)).astype(np.float32)
    best = solvers.linear_sum_assignment(values, maximize=True)
    certify = functools.partial(solvers.certify, values, maximize=True)
    assert certify(best) < 1e-5
    swapped = best.assignment.at[jnp.array([0, 1])].set(best.assignment[jnp.array([1, 0])])
    loss = values[np.arange(6), best.assignment].sum() - values[np.arange(6), swapped].sum()
    gap = certify(best._replace(assignment=swapped))
    np.testing.assert_allclose(gap, loss, rtol=1e-4)
    twice = best.assignment.at[0].set(best.assignment[1])
    assert certify(best._replace(assignment=twice)) == np.inf
    partial = best.assignment.at[0].set(-1)
    assert certify(best._replace(assignment=partial)) == np.inf
    assert certify(best._replace(assignment=best.assignment.at[0].set(8))) == np.inf
    assert certify(best._replace(duals=None)) == np.inf


def test_certify_bounds_the_gap_for_any_duals():
    rng = np.random.default_rng(6)
    for n, m in ((6, 6), (5, 9), (9, 5)):
        values = rng.normal(size=(n, m)).astype(np.float32)
        best = solvers.linear_sum_assignment(values, maximize=True)
        for _ in range(5):
            duals = solvers.Duals(
                rng.normal(size=n).astype(np.float32), rng.normal(size=m).astype(np.float32)
            )
            assert solvers.certify(values, best._replace(duals=duals), maximize=True) >= 0
            worst = solvers.linear_sum_assignment(values)
            gap = solvers.certify(values, worst._replace(duals=duals), maximize=True)
            assert gap >= best.value - worst.value - 1e-4


def test_traced_once_for_many_calls(method):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def solve(x):
        return solvers.linear_sum_assignment(x, method=method).value

    for seed in range(3):
        solve(jnp.asarray(np.random.default_rng(seed).random((4, 5)), jnp.float32))


def test_no_index_runs_over_a_flat_batch():
    """600 x 2000 x 2000 entries are more than int32 can count; traced only, never run."""
    batch = jax.ShapeDtypeStruct((600, 2000, 2000), jnp.float32)
    solve = functools.partial(solvers.linear_sum_assignment, method="device")
    jaxpr = str(jax.make_jaxpr(jax.vmap(solve))(batch))
    axes = {
        int(n) for shape in re.findall(r"[a-z]+\d*\[([\d,]+)\]", jaxpr) for n in shape.split(",")
    }
    assert 2000 in axes and max(axes) <= 600 * 2000


def test_integers_and_half_precision_are_taken_as_float():
    values = np.array([[1, 5, 3], [4, 2, 6]])
    assert solvers.linear_sum_assignment(values).value == 3
    half = solvers.linear_sum_assignment(jnp.asarray(values, jnp.bfloat16))
    assert half.value == 3 and half.value.dtype == jnp.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"cost_matrix": [[1, 2], [3]]},
            r"cost_matrix must be .*, got rows of unequal length",
        ),
        ({"cost_matrix": [[None]]}, "cost_matrix has dtype object; expected real numbers"),
        ({"cost_matrix": [[0, 2**53 + 1]]}, r"cost_matrix must lie within -2\^53\.\.2\^53"),
        ({"cost_matrix": np.zeros(3)}, r"cost_matrix has shape \(3,\); expected \[n, m\]"),
        ({"cost_matrix": np.zeros((2, 2), complex)}, "cost_matrix has dtype complex"),
        ({"method": "fast"}, "method is 'fast'; expected one of auto, host, device"),
        ({"row_mask": np.ones(3, bool)}, r"row_mask is bool\[3\]; expected bool\[2\]"),
        ({"col_mask": np.ones(3)}, r"col_mask is float64\[3\]; expected bool\[3\]"),
        (
            {"init_duals": solvers.Duals(np.zeros(3), np.zeros(3))},
            r"init_duals has row\[3\], column\[3\]; expected row\[2\], column\[3\]",
        ),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message):
    arguments = {"cost_matrix": np.zeros((2, 3)), **arguments}
    with pytest.raises(ValueError, match=message):
        solvers.linear_sum_assignment(**arguments)


def test_takes_scipys_arguments_and_minimises_like_it():
    for matrix in ([[1, 2], [3, 5]], [[4.0, 1.0, 3.0], [2.0, 0.5, 5.0]]):
        for options in ((), (True,), (False,)):
            expected = scipy.optimize.linear_sum_assignment(matrix, *options)[1]
            found = solvers.linear_sum_assignment(matrix, *options)
            np.testing.assert_array_equal(found.assignment, expected)
            assert solvers.certify(matrix, found, *options) == 0


def _integers(rng):
    return rng.integers(-(2**40), 2**40, (20, 20))


def _close_together(rng):
    return 1e8 + rng.random((20, 20))


@pytest.mark.parametrize("matrix", [_integers, _close_together])
def test_what_numpy_holds_is_solved_as_it_is(method, matrix):
    """JAX would wrap the integers to 32 bits and round the floats to 24."""
    values = matrix(np.random.default_rng(3))
    best = values[scipy.optimize.linear_sum_assignment(values)].sum()
    solution = solvers.linear_sum_assignment(values, method=method)
    assert solution.value.dtype == solution.duals.row.dtype == np.float64
    np.testing.assert_allclose(solution.value, best, rtol=1e-15)
    assert values[np.arange(20), solution.assignment].sum() == pytest.approx(best, rel=1e-15)
    gap = solvers.certify(values, solution)
    assert gap.dtype == np.float64 and gap <= 1e-15 * abs(best)
    again = solvers.linear_sum_assignment(values, method=method, init_duals=solution.duals)
    np.testing.assert_allclose(again.value, best, rtol=1e-15)


def test_a_matrix_closed_over_is_solved_as_it_is():
    values = _close_together(np.random.default_rng(3))
    pairs = scipy.optimize.linear_sum_assignment(values)[1]
    mask = np.ones(20, bool)
    found = jax.jit(lambda m: solvers.linear_sum_assignment(values, row_mask=m).assignment)(mask)
    np.testing.assert_array_equal(found, pairs)


def test_integers_that_jax_may_have_wrapped_are_refused():
    values = np.array([[[2**32, 1], [1, 1]]])
    solve = jax.vmap(functools.partial(solvers.linear_sum_assignment, maximize=True))
    with pytest.raises(ValueError, match="cost_matrix is int32 under jit or vmap"):
        solve(values)
    assert solve(values.astype(np.int8)).value[0] == 2
    with jax.enable_x64(True):
        assert solve(values).value[0] == 2**32 + 1


def test_certify_reads_wide_assignments():
    best = solvers.linear_sum_assignment(np.eye(2))
    assert solvers.certify(np.eye(2), best._replace(assignment=np.array([1, 2**32]))) == np.inf


def test_host_method_without_its_kernel_says_why(monkeypatch, tmp_path):
    library = tmp_path / "library.so"
    monkeypatch.setattr(_host, "available", lambda: False)
    monkeypatch.setattr(_host, "library_path", lambda: library)
    with pytest.raises(ValueError, match=r"no C\+\+ kernel \(not built, python -m .*build_native"):
        solvers.linear_sum_assignment(np.zeros((2, 2)), method="host")
    library.touch()
    with pytest.raises(ValueError, match="does not load"):
        solvers.linear_sum_assignment(np.zeros((2, 2)), method="host")
    assert solvers.linear_sum_assignment(np.eye(2)).value == 0


def test_which_kernel_is_in_use_and_a_warning_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(_host, "available", lambda: True)
    assert solvers.assignment_kernel() == f"C++ kernel ({_host.library_path()})"
    monkeypatch.setattr(_host, "available", lambda: False)
    monkeypatch.setattr(linear_assignment, "_LARGE", 100)
    linear_assignment._warn_of_slow_path.cache_clear()
    with pytest.warns(UserWarning, match=r"runs as pure JAX: .*several times as long"):
        jax.eval_shape(solvers.linear_sum_assignment, np.zeros((10, 10)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once per process, and not at all on small problems
        jax.eval_shape(solvers.linear_sum_assignment, np.zeros((10, 10)))
        linear_assignment._warn_of_slow_path.cache_clear()
        jax.eval_shape(solvers.linear_sum_assignment, np.zeros((9, 9)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert solvers.assignment_kernel() == "pure JAX: the default backend is gpu"

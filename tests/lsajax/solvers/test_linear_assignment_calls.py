"""How `linear_sum_assignment` may be called: transformations, kinds of input, which kernel."""

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

"""`certify`: what it rejects, and that its gap is a bound."""

import functools

import jax.numpy as jnp
import numpy as np

from lsajax import solvers


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


def test_certify_reads_wide_assignments():
    best = solvers.linear_sum_assignment(np.eye(2))
    assert solvers.certify(np.eye(2), best._replace(assignment=np.array([1, 2**32]))) == np.inf

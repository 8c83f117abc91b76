"""Quadratic assignment: annealing, then robust tabu search, on many chains until time is up."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from numpy.typing import ArrayLike

from lsajax import hashing
from lsajax.solvers import _anytime, _swap_search
from lsajax.solvers.linear_assignment import exact_float64, linear_sum_assignment
from lsajax.solvers.solution import Solution, Status

CHAINS, FEW_CHAINS = 16, 8
HASTY_S = 0.01
"""Below this budget fewer chains get further down."""
ANNEALING_SHARE = 0.4
"""Share of the budget; tabu search, from the best places of all chains, has the rest."""
SHORT_S = 0.3
"""Below this budget there is no time to cool: tabu search alone, which starts as a descent."""
HOT, COLD = 0.5, 0.01
"""Temperatures at both ends, relative to the mean effect of a swap in random permutations."""

_EXACT_IN_FLOAT32 = 2**24


def quadratic_assignment(
    flow: ArrayLike,
    distance: ArrayLike,
    *,
    key: jax.Array,
    budget_s: float = 5.0,
    initial: ArrayLike | None = None,
    linear: ArrayLike | None = None,
    chains: int | None = None,
) -> Solution:
    """Minimises sum_ij flow[i, j] distance[p_i, p_j] + sum_i linear[i, p_i] over permutations p.

    First simulated annealing, which is the stronger on structured instances, then robust tabu
    search, which is the stronger on unstructured ones; see `_swap_search`. All arithmetic is
    in float32 where that is exact (integers, small enough), else in float64, whatever the global
    setting is.

    Args:
        flow: [n, n] A, symmetric or not.
        distance: [n, n] B.
        key: PRNG key.
        budget_s: wall-clock seconds, after compilation (about three seconds per new n). Below
            0.3 s there is no annealing. At least eight steps are made, whatever they take.
        initial: [n] permutation to start one chain from; the result is never worse.
        linear: [n, n] cost of item i at place p_i; None for none.
        chains: independent searches; None for 16, or 8 below 0.01 s.

    Returns:
        Solution with `assignment` p i32[n], `value` (NumPy f64[], computed in float64 from p),
        status FEASIBLE (OPTIMAL for n <= 1) and the trace of the best cost over time.

    Raises:
        ValueError: shapes that disagree, values that are not finite, integers beyond 2^53,
            `initial` not a permutation, `budget_s` not above 0, `chains` below 1, traced input.

    References:
        Koopmans and Beckmann, Econometrica 25 (1957); those of `_swap_search`.
    """
    _anytime.check_concrete("quadratic_assignment", (flow, distance, key, initial, linear))
    _anytime.check_budget(budget_s)
    if chains is None:
        chains = CHAINS if budget_s >= HASTY_S else FEW_CHAINS
    if chains < 1:
        raise ValueError(f"chains must be at least 1, got {chains}")
    a, b, c = _check(flow, distance, linear)
    first = _check_initial(initial, a.shape[0])
    if a.shape[0] <= 1:
        place = np.zeros(a.shape[0], np.int32)
        return Solution(jnp.asarray(place), _cost(a, b, c, place), jnp.int32(Status.OPTIMAL))
    dtype = np.float32 if _exact_in_float32(a, b, c) else np.float64
    with jax.enable_x64(dtype is np.float64):
        problem = _swap_search.Problem(*(jnp.asarray(x, dtype) for x in (a, b, c)))
        tabu_share = 1.0 if budget_s < SHORT_S else 1.0 - ANNEALING_SHARE
        search = _search(key, problem, first, chains, tabu_share)
        inputs = (key, problem, first)
        state, trace = _anytime.run_budget(
            search, budget_s, inputs, "quadratic_assignment", chains, tabu_share
        )
        place = np.asarray(search.read(state))
    value = _cost(a, b, c, place)
    return Solution(jnp.asarray(place), value, jnp.int32(Status.FEASIBLE), trace=trace)


def gilmore_lawler_bound(
    flow: ArrayLike, distance: ArrayLike, *, linear: ArrayLike | None = None
) -> float:
    """Lower bound on the optimum of `quadratic_assignment`.

    With item i at place k its flows meet the distances of k at best in opposite order; these
    least costs are the entries of a linear assignment problem.

    References:
        Gilmore, SIAM J. Appl. Math. 10 (1962); Lawler, Management Science 9 (1963).
    """
    a, b, c = _check(flow, distance, linear)
    n = a.shape[0]
    if n == 0:
        return 0.0
    off = ~np.eye(n, dtype=bool)
    rising = np.sort(a[off].reshape(n, n - 1), axis=1)
    falling = -np.sort(-b[off].reshape(n, n - 1), axis=1)
    least = rising @ falling.T + np.outer(np.diag(a), np.diag(b)) + c
    duals = linear_sum_assignment(least).duals
    assert duals is not None
    # The duals' value, not the assignment's: a bound also after rounding.
    return float(np.sum(duals.row) + np.sum(duals.column))


def _check(
    flow: ArrayLike, distance: ArrayLike, linear: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = exact_float64("flow", flow), exact_float64("distance", distance)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or a.shape != b.shape:
        raise ValueError(
            f"flow and distance must be square and of one size, got {a.shape} and {b.shape}"
        )
    c = np.zeros(a.shape) if linear is None else exact_float64("linear", linear)
    if c.shape != a.shape:
        raise ValueError(f"linear must have the shape {a.shape} of flow, got {c.shape}")
    for name, x in (("flow", a), ("distance", b), ("linear", c)):
        if not np.isfinite(x).all():
            raise ValueError(f"{name} must be finite, got {x[~np.isfinite(x)][0]}")
    return a, b, c


def _check_initial(initial: ArrayLike | None, n: int) -> np.ndarray | None:
    if initial is None:
        return None
    place = np.asarray(initial)
    if place.shape != (n,) or not np.array_equal(np.sort(place), np.arange(n)):
        raise ValueError(f"initial must be a permutation of 0..{n - 1}, got shape {place.shape}")
    return place.astype(np.int32)


def _exact_in_float32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    """Whether all sums of the search are integers below 2^24."""
    integers = all((x == np.round(x)).all() for x in (a, b, c))
    swap = (8.0 * a.shape[0] + 16.0) * np.abs(a).max() * np.abs(b).max() + 4.0 * np.abs(c).max()
    total = np.abs(a).sum() * np.abs(b).max() + np.abs(c).sum()
    return bool(integers and max(swap, total) < _EXACT_IN_FLOAT32)


def _cost(a: np.ndarray, b: np.ndarray, c: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.asarray((a * b[np.ix_(place, place)]).sum() + c[np.arange(len(place)), place].sum())


def _search(
    key: jax.Array,
    problem: _swap_search.Problem,
    first: np.ndarray | None,
    chains: int,
    tabu_share: float,
) -> _anytime.Search:
    key = hashing.named_key(key, "quadratic assignment")
    start_key = hashing.named_key(key, "start")
    return _anytime.Search(
        init=lambda: _begin(start_key, problem, first, chains),
        phases=_swap_search.phases(key, cooling=COLD / HOT, tabu_share=tabu_share),
        best=lambda s: s.chains.best.min(),
        read=lambda s: s.chains.best_place[:, s.chains.best.argmin()],
    )


@partial(jax.jit, static_argnames="chains")
def _begin(
    key: jax.Array,
    problem: _swap_search.Problem,
    first: Int[Array, "n"] | None,
    chains: int,
) -> _swap_search.State:
    """Chains at random permutations, one at `first`; the mean effect of a swap sets their heat."""
    n = problem.flow.shape[0]
    place = jax.vmap(lambda k: jax.random.permutation(k, n))(jax.random.split(key, chains)).T
    if first is not None:
        place = place.at[:, 0].set(first)
    state = _swap_search.start(problem, place.astype(jnp.int32))
    mean = jnp.mean(jnp.abs(_swap_search.swap_costs(problem, state)))
    hot = jnp.full(chains, jnp.maximum(HOT * mean, 1e-30))
    return _swap_search.State(problem, state, hot)

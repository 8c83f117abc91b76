"""Quadratic assignment and the local search of Eq. (8), against enumeration."""

import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa
from lsajax import solvers
from lsajax.solvers import _local_moves, _swap_search
from tests.lsajax import cases
from tests.lsajax.solvers import small

KEY = jax.random.key(5)
coupled_bound, hungarian, objective_value, random, swap_gains, violations = map(
    jax.jit,
    (
        solvers.coupled_bound,
        lambda key, inst: solvers.hungarian(key, inst.without_coupling()),
        lsa.objective_value,
        solvers.random,
        _local_moves.swap_gains,
        lsa.violations,
    ),
)
propose = jax.jit(_local_moves.propose, static_argnums=2)


def cost(a, b, c, p):
    p = np.asarray(p)
    return (a * b[np.ix_(p, p)]).sum() + c[np.arange(len(p)), p].sum()


def problem(rng, n, symmetric=False):
    a, b, c = (rng.integers(-5, 20, (n, n)).astype(float) for _ in range(3))
    return (a + a.T, b + b.T, c) if symmetric else (a, b, c)


@pytest.mark.parametrize("symmetric", [True, False])
def test_swap_costs_and_their_update(symmetric):
    rng = np.random.default_rng(0)
    n, chains = 7, 3
    a, b, c = problem(rng, n, symmetric)
    given = _swap_search.Problem(*(jnp.asarray(x, jnp.float32) for x in (a, b, c)))
    place = np.stack([rng.permutation(n) for _ in range(chains)], axis=1).astype(np.int32)
    state = _swap_search.start(given, jnp.asarray(place))
    swap_costs = jax.jit(_swap_search.swap_costs)
    # One step without `refresh`: what is checked next is the incremental update.
    step = jax.jit(lambda p, s: _swap_search._swap_best(p, s, lambda s, d: d, None))
    for _ in range(6):
        change = np.asarray(swap_costs(given, state))
        for k in range(chains):
            p = np.asarray(state.place[:, k])
            np.testing.assert_allclose(state.cost[k], cost(a, b, c, p))
            for u, v in itertools.combinations(range(n), 2):
                q = p.copy()
                q[[u, v]] = q[[v, u]]
                np.testing.assert_allclose(change[u, v, k], cost(a, b, c, q) - cost(a, b, c, p))
        state = step(given, state)
    assert state.iteration == 6


@pytest.mark.parametrize("optimised", [True, False])
def test_places_stay_permutations_however_xla_rounds(optimised):
    """Without its optimisations XLA computed a score twice, and the least was found nowhere."""
    rng = np.random.default_rng(3)
    n, chains = 9, 8
    given = _swap_search.Problem(*(jnp.asarray(rng.random((n, n)), jnp.float32) for _ in range(3)))
    place = np.stack([rng.permutation(n) for _ in range(chains)], axis=1).astype(np.int32)
    seed, hot = jnp.array([1, 2], jnp.uint32), jnp.ones(chains, jnp.float32)
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", not optimised)
    jax.clear_caches()
    try:
        state = _swap_search.start(given, jnp.asarray(place))
        state = _swap_search.anneal(seed, given, state, jnp.int32(200), hot, hot / 100)
        state = _swap_search.tabu(seed, given, state, jnp.int32(200))
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()
    np.testing.assert_array_equal(
        np.sort(state.place, axis=0).T, np.tile(np.arange(n), (chains, 1))
    )
    for k in range(chains):
        own = cost(*(np.asarray(x, float) for x in given), np.asarray(state.best_place[:, k]))
        np.testing.assert_allclose(state.best[k], own, rtol=1e-5)


@pytest.mark.parametrize(
    ("n", "dtype"),
    [(1, int), pytest.param(2, float, marks=pytest.mark.slow), (3, int), (6, int), (6, float)],
)
def test_finds_the_optimum_of_small_problems(n, dtype):
    rng = np.random.default_rng(n)
    a, b, c = problem(rng, n)
    if dtype is float:
        a, b = a * np.pi, b * 1e7
    best = min(cost(a, b, 0 * c, p) for p in itertools.permutations(range(n)))
    found = solvers.quadratic_assignment(a.astype(dtype), b.astype(dtype), key=KEY, budget_s=0.3)
    assert sorted(np.asarray(found.assignment)) == list(range(n))
    np.testing.assert_allclose(found.value, cost(a, b, 0 * c, found.assignment), rtol=1e-12)
    np.testing.assert_allclose(found.value, best, rtol=1e-12)
    assert solvers.gilmore_lawler_bound(a, b) <= best + 1e-9 * abs(best)


def test_linear_term_and_its_bound():
    rng = np.random.default_rng(9)
    a, b, c = problem(rng, 6)
    best = min(cost(a, b, 10 * c, p) for p in itertools.permutations(range(6)))
    found = solvers.quadratic_assignment(a, b, linear=10 * c, key=KEY, budget_s=0.3)
    assert found.value == best
    assert solvers.gilmore_lawler_bound(a, b, linear=10 * c) <= best
    # Without flows the bound is the linear assignment problem itself.
    alone = min(cost(0 * a, b, c, p) for p in itertools.permutations(range(6)))
    np.testing.assert_allclose(solvers.gilmore_lawler_bound(0 * a, b, linear=c), alone)


def test_never_worse_than_initial_and_anytime():
    rng = np.random.default_rng(2)
    a, b, _ = problem(rng, 15, symmetric=True)
    good = solvers.quadratic_assignment(a, b, key=KEY, budget_s=1.0)
    again = solvers.quadratic_assignment(a, b, key=KEY, budget_s=0.02, initial=good.assignment)
    assert again.value <= good.value
    values, times = good.trace.value, good.trace.time_s
    assert (np.diff(values) <= 0).all() and (np.diff(times) > 0).all()
    assert values[-1] == good.value
    assert times[-1] < 2.0


def test_values_beyond_float32_stay_exact():
    """Costs differ in the last digits of numbers near 2^40, which float32 cannot tell apart."""
    rng = np.random.default_rng(3)
    a = np.full((6, 6), 2.0**18) + rng.integers(0, 3, (6, 6))
    b = np.full((6, 6), 2.0**18) + rng.integers(0, 3, (6, 6))
    best = min(cost(a, b, 0 * a, p) for p in itertools.permutations(range(6)))
    found = solvers.quadratic_assignment(a, b, key=KEY, budget_s=0.3)
    assert found.value == best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flow": np.zeros((2, 3))}, "flow and distance must be square and of one size"),
        ({"linear": np.zeros(3)}, r"linear must have the shape \(3, 3\)"),
        ({"distance": np.full((3, 3), np.nan)}, "distance must be finite, got nan"),
        ({"initial": [0, 0, 1]}, r"initial must be a permutation of 0\.\.2"),
        ({"budget_s": 0.0}, "budget_s must be above 0"),
        ({"budget_s": np.inf}, "budget_s must be above 0 seconds and finite, got inf"),
        ({"chains": 0}, "chains must be at least 1"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, message):
    arguments = {"flow": np.eye(3), "distance": np.eye(3), "key": KEY, **arguments}
    with pytest.raises(ValueError, match=message):
        solvers.quadratic_assignment(**arguments)


def small_instances(many_users):
    """Fewer users than idle channels and more of them at one shape, or more than all channels."""
    options = {"setting": "fading", "objective": "coupled", "occupancy": 0.15, "coupling_bps": 1e8}
    if many_users:
        yield cases.instance(users=8, channels=4, active=6, **options)
        return
    inst = cases.instance(users=6, channels=7, active=4, **options)
    yield inst
    yield inst.replace(occupied=jnp.arange(7) % 3 != 1)


@pytest.mark.parametrize("many_users", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_local_search_finds_the_coupled_optimum(many_users):
    solve = jax.jit(functools.partial(solvers.local_search, steps=400))
    for inst in small_instances(many_users):
        best = small.enumerated(inst)
        solution = solve(KEY, inst)
        np.testing.assert_allclose(solution.value, best, rtol=1e-5)
        reached = objective_value(inst, solution.assignment)
        np.testing.assert_allclose(reached, best, rtol=1e-5)
        bound = float(coupled_bound(inst))
        assert best <= bound
        assert bound <= float(hungarian(KEY, inst).value) * (1 + 1e-5)


@pytest.mark.slow
def test_local_search_on_many_channels():
    inst = cases.instance(
        "wideband", users=150, channels=120, active=90, occupancy=0.1, objective="coupled"
    )
    start = hungarian(KEY, inst).assignment
    before = float(objective_value(inst, start))
    solution = solvers.local_search(KEY, inst, budget_s=0.5, chains=4)
    found = violations(inst, solution.assignment)
    assert sum(int(x) for x in found) == 0
    np.testing.assert_allclose(
        solution.value, objective_value(inst, solution.assignment), rtol=1e-6
    )
    assert before * 1.01 < float(solution.value) <= float(coupled_bound(inst))
    values = np.asarray(solution.trace.value)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(values[-1], solution.value, rtol=1e-4)


def test_local_search_maps_over_instances():
    scenario = lsa.Scenario(num_users=30, num_channels=24, num_active=20, objective="coupled")
    keys = jax.random.split(KEY, 3)
    batch = jax.jit(jax.vmap(lambda k: lsa.sample_instance(k, scenario)))(keys)
    solution = jax.jit(jax.vmap(lambda k, i: solvers.local_search(k, i, steps=50, chains=2)))(
        keys, batch
    )
    for b in range(3):
        inst = jax.tree.map(lambda leaf, b=b: leaf[b], batch)
        assert sum(int(x) for x in violations(inst, solution.assignment[b])) == 0
        start = hungarian(KEY, inst).assignment
        reached = objective_value(inst, solution.assignment[b])
        np.testing.assert_allclose(solution.value[b], reached, rtol=1e-6)
        assert reached > objective_value(inst, start)


@jax.jit
def coupled(inst, holder):
    return objective_value(inst, _local_moves.read_holder(inst, holder))


def test_gains_of_distant_swaps_add_up():
    """The step that makes many swaps at once: each gain, and their sum, against Eq. (8)."""
    inst = cases.instance(
        "fading", users=90, channels=80, active=60, occupancy=0.2, objective="coupled"
    )
    table = jax.jit(_local_moves.tabulate)(inst)
    start = random(KEY, inst).assignment
    holder = jax.jit(_local_moves.begin_walk)(inst, start).holder
    np.testing.assert_array_equal(_local_moves.read_holder(inst, holder), start)
    seed = jnp.array([3, 4], jnp.uint32)
    swap = jax.jit(lambda h, m, n: h.at[m].set(h[n]).at[n].set(h[m]))

    def value(h):
        return float(coupled(inst, h))

    checked = 0
    for step in range(12):
        m, n = propose(seed, jnp.int32(step), holder.shape[0])
        # Swaps that would leave a user unserved carry a penalty, which Eq. (8) does not have:
        # a place is swapped with itself instead.
        open_ = np.asarray(table.open)
        usable = open_[np.asarray(m)] & open_[np.asarray(n)]
        gains = np.asarray(swap_gains(table, holder, m, n))[usable]
        m, n = np.asarray(m), np.asarray(n)
        every = swap(holder, m, np.where(usable, n, m))
        np.testing.assert_allclose(value(every) - value(holder), gains.sum(), atol=2e5)
        for k, gain in zip(np.flatnonzero(usable), gains, strict=True):
            one = swap(holder, m[k], n[k])
            np.testing.assert_allclose(value(one) - value(holder), gain, atol=1e5)
            checked += 1
        holder = every
    assert checked > 15


def test_proposals_keep_their_distance():
    seed = jnp.array([5, 6], jnp.uint32)
    seen = np.zeros(83, bool)
    for step in range(200):
        m, n = propose(seed, jnp.int32(step), 83)
        both = np.sort(np.concatenate([m, n]))
        seen[both] = True
        around = np.append(both, both[0] + 83)
        assert np.diff(around).min() >= 5
    assert seen.all()


def padded_instance():
    return lsa.make_instance(
        np.geomspace(1e-12, 1e-9, 6),
        np.linspace(1e7, 2e7, 6),
        user_mask=np.arange(6) < 4,
        position_m=np.zeros((6, 2)),
        objective="coupled",
        coupling_bps=3e8,
        adjacent_leakage=0.9,
    )


FEW_STEPS = functools.partial(solvers.local_search, KEY, steps=20, chains=2)


def test_local_search_from_a_given_start():
    inst = padded_instance()
    start = random(KEY, inst).assignment
    solution = FEW_STEPS(inst, initial=start)
    reached = objective_value(inst, solution.assignment)
    assert reached >= objective_value(inst, start)
    twice = jnp.full(6, start[0])
    with pytest.raises(ValueError, match=r"feasible assignment, got .*'duplicate': 3"):
        FEW_STEPS(inst, initial=twice)
    jax.eval_shape(lambda: FEW_STEPS(inst, initial=start))  # closed over, so known under jit too
    with pytest.raises(ValueError, match=r"feasible assignment, got .*'duplicate': 3"):
        jax.eval_shape(lambda: FEW_STEPS(inst, initial=twice))
    with pytest.raises(ValueError, match="assignment must be 6 integers"):
        FEW_STEPS(inst, initial=np.zeros(3, int))


def test_padded_rows_and_traced_starts_that_are_not_feasible():
    inst = padded_instance()
    traced = jax.jit(lambda start: FEW_STEPS(inst, initial=start))
    padded = jnp.array([0, 1, 2, 3, 0, 1])
    starts = (padded, jnp.array([0, 0, 9, -5, 1, 1]), jnp.full(6, -1))
    for solution in (FEW_STEPS(inst, initial=padded), *map(traced, starts)):
        assert sum(int(x) for x in violations(inst, solution.assignment)) == 0
        assert (solution.assignment[4:] == -1).all()
        reached = objective_value(inst, solution.assignment)
        np.testing.assert_allclose(solution.value, reached, rtol=1e-6)


def test_a_short_budget_is_kept_by_the_wall_clock():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 9, (2, 15, 15))
    solvers.quadratic_assignment(a, b, key=KEY, budget_s=0.05)  # compiles
    start = time.perf_counter()
    found = solvers.quadratic_assignment(a, b, key=KEY, budget_s=0.05)
    wall = time.perf_counter() - start
    assert float(found.trace.time_s[-1]) >= 0.05
    # All of the call but the checks of its input is on the clock.
    assert wall - float(found.trace.time_s[-1]) < 0.05


@pytest.mark.slow
def test_the_budget_covers_what_comes_before_the_first_move():
    """Gains that are dear to evaluate, several times over, were once evaluated op by op."""
    scenario = lsa.Scenario(num_users=90, num_channels=90, num_active=70)
    scenario = scenario.replace(multipath=True, objective="coupled")
    inst = lsa.sample_instance(KEY, scenario)
    solvers.local_search(KEY, inst, budget_s=0.05)  # compiles
    start = time.perf_counter()
    found = solvers.local_search(KEY, inst, budget_s=0.05)
    assert time.perf_counter() - start < 0.5  # 0.06 s on an idle machine, 1 s op by op
    assert float(found.trace.time_s[-1]) >= 0.05


def test_integers_that_float64_would_round_are_refused():
    with pytest.raises(ValueError, match=r"flow must lie within -2\^53\.\.2\^53"):
        solvers.quadratic_assignment(np.eye(3, dtype=int) * 2**60, np.eye(3), key=KEY)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa
from lsajax import objective
from lsajax.env import SequentialAccess

pytest.importorskip("flax")
from lsajax.agents.sequential import SequentialNetwork, first_candidate_solver, make_solver

NETWORK = SequentialNetwork(hidden=16, score_scale=1.0)
SCENARIO = lsa.Scenario(
    num_users=8, num_channels=9, num_active=5, objective="coupled", fading=True, num_active_min=2
)
ENV = SequentialAccess(SCENARIO, num_slots=1, end_is_terminal=True)


objective_value, violations = map(jax.jit, (objective.objective_value, objective.violations))


@pytest.fixture(scope="module")
def first():
    return ENV.reset(jax.random.key(0))[0]


@pytest.fixture(scope="module")
def params(first):
    return jax.jit(NETWORK.init)(jax.random.key(1), first)


def test_solver_decides_as_the_agent_in_the_environment_does(params):
    solver = jax.jit(make_solver(params, NETWORK))

    @jax.jit
    def rollout(key):
        def step(carry, _):
            obs, state = carry
            scores = jnp.where(obs.action_mask, NETWORK.apply(params, obs)[0], -jnp.inf)
            obs, state, gain, terminated, _, info = ENV.step(key, state, jnp.argmax(scores))
            return (obs, state), (gain, terminated, info["value"])

        obs, state = ENV.reset(key)
        return state.slot, jax.lax.scan(step, (obs, state), length=5)[1]

    numbers = set()
    for seed in range(5):
        slot, (_, terminated, value) = rollout(jax.random.key(seed))
        count = int(np.argmax(terminated)) + 1
        numbers.add(count)
        solution = solver(jax.random.key(0), slot.inst)
        np.testing.assert_allclose(solution.value, value[:count].sum(), rtol=1e-5)
        expected = objective_value(slot.inst, solution.assignment)
        np.testing.assert_allclose(solution.value, expected, rtol=1e-6)
        assert not any(int(n) for n in violations(slot.inst, solution.assignment))
    assert len(numbers) > 1


@pytest.mark.parametrize(
    "objective_of", ["coupled", pytest.param("throughput", marks=pytest.mark.slow)]
)
def test_same_weights_serve_another_size(params, objective_of):
    scenario = SCENARIO.replace(
        num_users=80, num_channels=100, num_active=70, num_active_min=None, objective=objective_of
    )
    keys = jax.random.split(jax.random.key(0), 3)
    insts = jax.jit(jax.vmap(lambda k: lsa.sample_instance(k, scenario)))(keys)
    solutions = jax.jit(jax.vmap(make_solver(params, NETWORK)))(keys, insts)
    for i in range(3):
        inst = jax.tree.map(lambda x, i=i: x[i], insts)
        broken = violations(inst, solutions.assignment[i])
        assert not any(int(n) for n in broken)
    assert len({float(v) for v in solutions.value}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("order", ["strength", "regret"])
def test_order_alone_solves_what_sorting_solves(order):
    # The strongest user loses most by a narrower channel, so he comes first.
    scenario = lsa.Scenario(num_users=30, num_channels=40, num_active=20)
    inst = lsa.sample_instance(jax.random.key(0), scenario)
    best = lsa.solvers.sorted_matching(jax.random.key(0), inst).value
    found = first_candidate_solver(order)(jax.random.key(0), inst).value
    np.testing.assert_allclose(found, best, 1e-6)


def test_q_values_and_value_are_near_the_return_before_training(first):
    network, obs = SequentialNetwork(q_values=True), first
    scores, value = jax.jit(network.apply)(jax.jit(network.init)(jax.random.key(1), obs), obs)
    assert scores.shape == (8,) and value.shape == ()
    np.testing.assert_allclose(scores, obs.remaining, atol=0.02)
    np.testing.assert_allclose(value, obs.remaining, atol=0.02)
    assert 1.0 < obs.remaining < 2.0  # a random assignment is worth 1


def test_unknown_order_is_refused(params):
    for make in (first_candidate_solver, lambda order: make_solver(params, order=order)):
        with pytest.raises(ValueError, match="order must be one of strength, regret, got 'fifo'"):
            make("fifo")
    with pytest.raises(ValueError, match="order must be one of strength, regret"):
        SequentialAccess(SCENARIO, order="fifo")

"""The joint head: its memory, its refusal, and its solver."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flax")

import lsajax as lsa
from lsajax.agents import dqn, joint, ppo
from lsajax.agents.joint import ActionSpaceTooLarge

SMALL = lsa.SMALL_SCALES[5, 5, 2]
KEY = jax.random.key(0)
CONFIGS = {
    "ppo": ppo.Config(num_updates=40, num_envs=64, num_steps=2, learning_rate=3e-3, discount=1.0),
    "dqn": dqn.Config(num_envs=8, num_steps=1, capacity=64, batch_size=16),
}


@pytest.mark.parametrize("algorithm", CONFIGS)
@pytest.mark.parametrize(("objective", "sums"), [("throughput", True), ("coupled", False)])
def test_memory_is_that_of_the_arrays(algorithm, objective, sums):
    scenario, config = SMALL.replace(objective=objective), CONFIGS[algorithm]
    module = {"ppo": ppo, "dqn": dqn}[algorithm]
    head, env = joint.network(scenario, algorithm, sums=sums), joint.environment(scenario)
    state = jax.eval_shape(lambda key: module.init(key, env, config, network=head), KEY)

    def size(tree):
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    found = joint.memory(scenario, config, sums=sums)
    assert found.params == found.gradients == size(state.params)
    assert found.optimiser == pytest.approx(size(state.opt_state), abs=64)  # and a counter
    if algorithm == "dqn":
        assert found.target == size(state.target)
        of_steps = config.batch_size * size(state.envs.obs) // config.num_envs * 2
        kept = size(state.buffer.data.obs) + size(state.buffer.data.next_obs)
        assert found.observations == kept + of_steps
    assert found.total == sum(dataclasses.astuple(found))


def test_what_does_not_fit_is_refused_before_it_is_made():
    large = lsa.SMALL_SCALES[15, 20, 8]
    for config in CONFIGS.values():
        with pytest.raises(ActionSpaceTooLarge) as raised:
            joint.check_memory(large, config, memory_bytes=64 * 2**30)
        error = raised.value
        outputs = math.perm(20, 8)
        assert error.available_bytes == 64 * 2**30
        assert error.needed_bytes > 4 * 129 * outputs * 4  # weights, gradients, two moments
        for part in (f"{outputs} outputs", str(error.needed_bytes), "68.7 GB", "(15,20,8)"):
            assert part in str(error)


def test_more_outputs_than_a_float_can_count_are_a_sentence_too():
    digits = round((math.lgamma(1001) - math.lgamma(801)) / math.log(10))
    with pytest.raises(ActionSpaceTooLarge, match=rf"has 10\^{digits} outputs and needs 10\^"):
        joint.check_memory(lsa.SCALES["I"], CONFIGS["ppo"])


def test_the_papers_own_sizes_fit_where_it_has_a_number():
    for triple, scenario in lsa.SMALL_SCALES.items():
        needed = joint.memory(scenario, CONFIGS["ppo"]).total
        assert (needed < 2**31) == (triple not in ((12, 15, 6), (15, 20, 8))), triple


def test_seeds_and_this_machine():
    one = joint.check_memory(SMALL, CONFIGS["ppo"])
    assert joint.check_memory(SMALL, CONFIGS["ppo"], num_seeds=3) == 3 * one
    assert 2**27 < joint.available_bytes() < 2**50
    with pytest.raises(ActionSpaceTooLarge):
        joint.check_memory(SMALL, CONFIGS["ppo"], memory_bytes=one - 1)


def test_sums_are_of_the_pairs_of_each_joint_action():
    head = joint.network(lsa.SMALL_SCALES[7, 10, 2], "ppo", sums=True)
    obs = jnp.arange(30.0) / 30
    params = head.init(KEY, obs)
    scores, _ = head.apply(params, obs)
    pairs, _ = head.pairs.apply({"params": params["params"]["pairs"]}, obs)
    ways = np.array(list(itertools.permutations(range(10), 2)))
    expected = np.asarray(pairs).reshape(2, 10)[np.arange(2), ways].sum(1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def trained():
    head, env = joint.network(SMALL, "ppo"), joint.environment(SMALL)
    train = jax.jit(lambda key: ppo.train(key, env, CONFIGS["ppo"], network=head))
    return head, *train(jax.random.key(0))


def test_training_pays(trained):
    _, _, metrics = trained
    returns = np.asarray(metrics["episode_return"])
    assert returns[-5:].mean() > returns[:5].mean() + 0.03  # of a random agent's 1


def test_solver_is_valid_and_does_not_depend_on_the_order_of_rows(trained):
    head, params, _ = trained
    solver = joint.make_solver(params, head)
    keys = jax.random.split(jax.random.key(1), 64)
    insts = jax.jit(jax.vmap(lsa.sample_instance, (0, None)))(keys, SMALL)

    def both(inst):
        turned = joint.inst_rows(inst, jnp.array([1, 0]))
        return solver(keys[0], inst), solver(keys[0], turned).assignment[::-1]

    found, turned = jax.jit(jax.vmap(both))(insts)
    np.testing.assert_array_equal(found.assignment, turned)
    wrong = jax.jit(jax.vmap(lsa.violations))(insts, found.assignment)
    assert not any(np.any(count) for count in wrong)
    np.testing.assert_allclose(
        found.value, jax.jit(jax.vmap(lsa.objective_value))(insts, found.assignment), rtol=1e-6
    )


def test_another_size_is_one_sentence(trained):
    head, params, _ = trained
    inst = lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[7, 10, 2])
    with pytest.raises(ValueError, match="has 20 outputs, and 2 users on 10 channels need 90"):
        joint.make_solver(params, head)(jax.random.key(0), inst)


def test_too_many_users_are_refused_by_the_environment():
    with pytest.raises(ValueError, match="num_active must be at most num_channels=3"):
        joint.environment(lsa.Scenario(num_users=5, num_channels=3, num_active=5))

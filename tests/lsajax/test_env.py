import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa
from lsajax import objective, reward
from lsajax.env import JointAccess, SequentialAccess, placement
from lsajax.env import joint as joint_form

pytest.importorskip("gymnax")
from gymnax import wrappers
from gymnax.environments import environment
from gymnax.environments import spaces as gymnax_spaces
from gymnax.experimental.rollout import RolloutWrapper

SMALL = lsa.Scenario(num_users=6, num_channels=7, num_active=3, fading=True, occupancy=0.3)
SETTINGS = {
    "plain": {"fading": False},
    "fading": {},
    "coupled": {"objective": "coupled", "weight_max": 3.0},
    "fair": {"objective": "fair", "fading": False, "multipath": True},
    "varying": {"num_active_min": 2, "num_active": 5, "objective": "coupled"},
}
FORMS = {"joint": JointAccess, "sequential": SequentialAccess}


SLOW = pytest.mark.slow
# XLA takes ten seconds for a step of the sequential form; what both forms share is tested on one.
EACH = ["joint", pytest.param("sequential", marks=SLOW)]
STEPS = 24


def make(form, setting=None, **options):
    """An environment, the same one for the same arguments: a new one compiles anew."""
    setting = setting or ("fading" if form == "joint" else "coupled")
    return _make(form, setting, **{"num_slots": 2, **options})


@functools.cache
def _make(form, setting, **options):
    return FORMS[form](SMALL.replace(**SETTINGS[setting]), **options)


@functools.cache
def rollout(env):
    """Everything before and after each of `STEPS` steps with random valid actions."""

    def step(carry, key):
        obs, state = carry
        draw, key = jax.random.split(key)
        action = jax.random.categorical(draw, jnp.where(obs.action_mask, 0.0, -jnp.inf))
        after = env.step(key, state, action)
        return after[:2], (obs, state, action, *after[2:])

    @jax.jit
    def run(key):
        first = env.reset(key)
        return jax.lax.scan(step, first, jax.random.split(key, STEPS))[1]

    return run(jax.random.key(0))


def at(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(bare(x), bare(y), rtol, 1e-5), a, b)


def bare(x):
    is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


# Joint actions


@pytest.mark.parametrize("users, channels", [(3, 5), (4, 4), (1, 6), (2, 3)])
def test_joint_actions_are_all_injections_in_lexicographic_order(users, channels):
    expected = list(itertools.permutations(range(channels), users))
    actions = joint_form.decode(jnp.arange(len(expected)), users, channels)
    np.testing.assert_array_equal(actions, expected)


@pytest.mark.parametrize("users, channels", [(3, 7), (2, 40)])
def test_mask_leaves_out_what_uses_an_occupied_channel(users, channels):
    occupied = np.random.default_rng(0).uniform(size=channels) < 0.3
    mask = joint_form.joint_mask(jnp.asarray(occupied), users)
    injections = itertools.permutations(range(channels), users)
    np.testing.assert_array_equal(mask, [not occupied[list(a)].any() for a in injections])


@pytest.mark.parametrize("setting", ["fading", pytest.param("coupled", marks=SLOW)])
def test_joint_reward_is_the_objective_of_the_decoded_assignment(setting):
    env = make("joint", setting)
    _, state, action, gain, _, _, info = rollout(env)
    channels = joint_form.decode(action, 3, 7)
    inst = state.slot.inst
    value = jax.jit(jax.vmap(objective.objective_value))(inst, channels)
    mean_of = jax.jit(jax.vmap(lambda i: reward.expected_random_value(i.without_coupling())))
    mean = mean_of(inst)
    np.testing.assert_allclose(gain, value / mean, rtol=1e-5)
    np.testing.assert_allclose(info["value"], value, rtol=1e-6)
    assert np.all(np.diff(inst.mean_power_w, axis=1) <= 0)  # the strongest user first


def test_masked_joint_action_serves_nobody_on_an_occupied_channel():
    env = make("joint")
    key = jax.random.key(3)
    obs, state = env.reset(key)
    action = jnp.argmin(obs.action_mask)
    channels = joint_form.decode(action, 3, 7)
    assert np.any(state.slot.inst.occupied[channels])
    gain = env.step(key, state, action)[2]
    value = jax.jit(objective.objective_value)(state.slot.inst, channels)
    np.testing.assert_allclose(gain, value / state.slot.scale, rtol=1e-5)


# Sequential actions


@pytest.mark.parametrize(
    "setting",
    [
        "coupled",
        *(pytest.param(name, marks=SLOW) for name in ("plain", "fading", "varying", "fair")),
    ],
)
def test_rewards_of_a_slot_add_up_to_its_objective(setting):
    _, state, action, gain, _, _, info = rollout(make("sequential", setting))

    @jax.jit
    @jax.vmap
    def finish(inst, progress, action):
        assignment = placement.place(inst, progress, action)[0].assignment
        value = objective.objective_value(inst, assignment)
        return value, objective.violations(inst, assignment)

    value, broken = finish(state.slot.inst, state.progress, action)
    start, ends = 0, np.flatnonzero(info["slot_end"])
    assert len(ends) > 3
    for end in ends:
        part = slice(start, end + 1)
        scaled = value[end] / state.slot.scale[end]
        np.testing.assert_allclose(gain[part].sum(), scaled, rtol=1e-4)
        np.testing.assert_allclose(info["value"][part].sum(), value[end], rtol=1e-4)
        assert not any(int(count[end]) for count in broken)
        assert end + 1 - start == state.slot.inst.user_mask[end].sum()
        start = end + 1


@pytest.mark.parametrize(
    "setting", ["coupled", *(pytest.param(n, marks=SLOW) for n in ("varying", "own leakage"))]
)
def test_candidates_are_the_best_free_channels_by_what_they_add(setting):
    env = make("sequential", "coupled" if setting == "own leakage" else setting)
    _, state, *_ = rollout(env)
    value_of = jax.jit(jax.vmap(objective.objective_value, (None, 0)))

    @jax.jit
    def second_turn(inst):
        progress = placement.turn(inst, placement.begin(inst))
        return placement.turn(inst, placement.place(inst, progress, jnp.int32(1))[0])

    for index in (0, 11, 12, 13):
        one = at(state, index)
        inst, progress = one.slot.inst, one.progress
        if setting == "own leakage":
            matrix = np.random.default_rng(index).uniform(size=(7, 7))
            np.fill_diagonal(matrix, 0)
            inst = inst.replace(leakage=jnp.asarray(matrix + matrix.T, float))
            progress = second_turn(inst)
        free = np.flatnonzero(~np.asarray(inst.occupied) & (np.asarray(progress.holder) < 0))
        row = int(progress.row)
        assert inst.user_mask[row] and progress.assignment[row] == -1
        tried = jnp.tile(progress.assignment, (7, 1)).at[:, row].set(jnp.arange(7))
        added = value_of(inst, tried) - value_of(inst, progress.assignment[None])
        order = free[np.argsort(-np.asarray(added)[free])][: placement.NUM_CANDIDATES]
        np.testing.assert_array_equal(progress.channel[: len(order)], order)
        np.testing.assert_allclose(progress.value[: len(order)], added[order], rtol=2e-4)
        assert np.all(np.isneginf(progress.value[len(order) :]))


def test_slot_scale_is_the_mean_of_random_assignments():
    _, state, *_ = rollout(make("sequential"))
    scale = jax.jit(jax.vmap(placement.scale))(state.slot.inst, state.progress)
    np.testing.assert_allclose(scale, state.slot.scale, rtol=1e-5)


@SLOW
def test_masked_sequential_action_counts_as_the_best_candidate():
    env = make("sequential")
    key = jax.random.key(1)
    obs, state = env.reset(key)
    assert not obs.action_mask[7]  # seven channels are at most seven candidates
    close(env.step(key, state, 7)[2], env.step(key, state, 0)[2])


def test_observation_does_not_depend_on_numbering_or_padding():
    inst = at(rollout(make("sequential"))[1], 0).slot.inst
    rows = ("user_id", "user_mask", "position_m", "mean_power_w", "weight")

    def padded(order, where):
        """Rows of the instance in some order at these of six places."""
        fields = {name: np.asarray(getattr(inst, name))[[0] * 6] for name in rows}
        fields["user_mask"] = np.zeros(6, bool)
        for name in rows:
            fields[name] = fields[name].copy()
            fields[name][where] = np.asarray(getattr(inst, name))[order]
        return inst.replace(**{name: jnp.asarray(x) for name, x in fields.items()})

    @jax.jit
    def see(inst):
        progress = placement.turn(inst, placement.begin(inst))
        progress = placement.turn(inst, placement.place(inst, progress, jnp.int32(1))[0])
        return lsa.env.features.observe(inst, progress)

    close(see(padded([0, 1, 2], [0, 1, 2])), see(padded([2, 0, 1], [1, 3, 4])), 1e-4)


# Both forms


@pytest.mark.parametrize("form", EACH)
def test_step_resets_as_gymnax_does(form):
    env = make(form)

    class Theirs(environment.Environment):
        default_params = env.default_params
        reset_env, step_env, is_truncated = env.reset_env, env.step_env, env.is_truncated

    theirs = Theirs()
    key = jax.random.key(2)
    obs, state = env.reset(key)
    close((obs, state), theirs.reset(key))
    ended = 0
    for i in range(8):
        key = jax.random.fold_in(key, i)
        ours, expected = env.step(key, state, i % 2), theirs.step(key, state, jnp.int32(i % 2))
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(bare(x), bare(y)), ours, expected)
        state = ours[1]
        ended += int(ours[4])
    assert ended >= 1


@pytest.mark.parametrize("form", FORMS)
def test_horizon_truncates_and_a_new_network_begins(form):
    obs, state, _, _, terminated, ends, info = rollout(make(form))
    assert not np.any(terminated)
    steps = 2 if form == "joint" else 6
    np.testing.assert_array_equal(np.flatnonzero(ends), np.arange(steps - 1, STEPS, steps))
    slot = np.asarray(state.slot.traffic.slot)
    np.testing.assert_array_equal(slot, np.arange(STEPS) // (steps // 2) % 2)
    data = bare(state.slot.network_key)
    changed = np.any(data[1:] != data[:-1], axis=-1)
    np.testing.assert_array_equal(changed, ends[:-1])
    final, first = at(info["final_observation"], steps - 1), at(obs, steps)
    assert not np.allclose(final[0], first[0])
    close(at(info["final_observation"], 0), at(obs, 1))


@SLOW
@pytest.mark.parametrize("form", FORMS)
def test_single_slot_episodes_end_without_a_second_slot(form):
    env = make(form, num_slots=1, end_is_terminal=True)
    _, state, _, gain, terminated, truncated, info = rollout(env)
    assert not np.any(truncated)
    steps = 1 if form == "joint" else 3
    np.testing.assert_array_equal(np.flatnonzero(terminated), np.arange(steps - 1, STEPS, steps))
    assert np.all(np.isfinite(gain))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(info["final_observation"]))
    assert np.all(np.any(info["final_observation"].action_mask, axis=-1))
    assert np.all(state.slot.traffic.slot == 0)


@SLOW
@pytest.mark.parametrize("form", FORMS)
def test_vmap_is_a_loop(form):
    env = make(form)
    keys = jax.random.split(jax.random.key(0), 3)
    obs, state = jax.vmap(env.reset)(keys)
    after = jax.vmap(env.step)(keys, state, jnp.array([0, 1, 0]))
    for i in range(3):
        close(at((obs, state), i), env.reset(keys[i]), 1e-4)
        close(at(after, i), env.step(keys[i], at(state, i), jnp.array([0, 1, 0])[i]), 1e-4)


@SLOW
@pytest.mark.parametrize("form", FORMS)
def test_eager_is_jit(form):
    env = make(form)
    key = jax.random.key(0)
    _, state = env.reset(key)
    eager = env.step_env(key, state, 0, env.default_params)
    compiled = jax.jit(env.step_env)(key, state, 0, env.default_params)
    close(eager, compiled, 1e-4)


@pytest.mark.parametrize("form", EACH)
def test_steps_are_traced_once_for_all_constants(form):
    env = make(form)
    traces = []

    @jax.jit
    def first(key, params):
        traces.append(1)
        return env.reset_env(key, params)[0]

    a = first(jax.random.key(0), env.default_params)
    b = first(jax.random.key(0), env.default_params.replace(radius_m=1e3))
    assert len(traces) == 1 and not np.allclose(a[0], b[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spaces", [lsa.env.spaces, gymnax_spaces])
def test_spaces_contain_what_comes(form, spaces):
    env = make(form)
    obs, _, action, *_ = rollout(env)
    env = make(form, spaces=spaces)
    params = env.default_params
    space = env.observation_space(params)
    assert np.all(jax.vmap(space.contains)(obs))
    for name, part in space.spaces.items():
        field = getattr(obs, name)
        assert (field.shape[1:], field.dtype) == (tuple(part.shape), part.dtype), name
    assert np.all(env.action_space(params).contains(action))
    assert env.action_space(params).n == env.num_actions
    assert env.num_actions == (7 * 6 * 5 if form == "joint" else placement.NUM_CANDIDATES)
    draws = jax.vmap(env.action_space(params).sample)(jax.random.split(jax.random.key(0), 99))
    assert np.all(env.action_space(params).contains(draws))
    assert not space.contains(at(obs, 0)._replace(action_mask=obs.action_mask[0] * 2))


# gymnax's own code on our environments


@pytest.mark.parametrize("form", EACH)
def test_gymnax_log_wrapper_sees_the_return(form):
    env = wrappers.LogWrapper(make(form))
    key = jax.random.key(0)
    _, state = env.reset(key)
    total = 0.0
    for i in range(6):
        _, state, gain, _, truncated, info = env.step(jax.random.fold_in(key, i), state, 0)
        total += float(gain)
        if truncated:
            break
    np.testing.assert_allclose(info["returned_episode_returns"], total, rtol=1e-5)
    assert info["returned_episode_lengths"] == i + 1 == (2 if form == "joint" else 6)
    assert env.name == f"{form.title()}Access"


@SLOW
@pytest.mark.parametrize("form", FORMS)
def test_gymnax_rollout_runs(form):
    env = make(form)

    def policy(weight, obs, key):
        return jax.random.categorical(key, jnp.where(obs.action_mask, weight, -jnp.inf))

    steps = 2 if form == "joint" else 6
    rollouts = RolloutWrapper(policy, env=env, num_env_steps=steps)
    keys = jax.random.split(jax.random.key(0), 4)
    obs, _, gain, _, done, total = rollouts.batch_rollout(keys, jnp.zeros(env.num_actions))
    np.testing.assert_allclose(total[:, 0], gain.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(total, 2.0, rtol=0.3)  # a slot's random value is 1 in the mean
    assert np.all(done[:, -1]) and not np.any(done[:, :-1])
    assert obs.action_mask.shape == (4, steps, env.num_actions)


@SLOW
def test_gymnax_wrappers_that_look_at_the_spaces():
    env = make("sequential", spaces=gymnax_spaces)
    key = jax.random.key(0)
    _, first = env.reset(key)
    expected = env.step(key, first, 3)[2]

    sticky = wrappers.StickyActionWrapper(env, 1.0)
    _, state = sticky.reset(key)
    assert sticky.step(key, state, 3)[1].last_action == 0

    legacy = wrappers.LegacyStepAPIWrapper(env)
    np.testing.assert_array_equal(legacy.step(key, first, 3)[2], expected)

    class Flat(wrappers.purerl.GymnaxWrapper):
        """Only the candidates, as a Box: all that the next wrapper takes."""

        def observation_space(self, params):
            return self._env.observation_space(params).spaces["candidates"]

        def reset(self, key, params=None):
            obs, state = self._env.reset(key, params)
            return obs.candidates, state

        def step(self, key, state, action, params=None):
            obs, *rest, info = self._env.step(key, state, action, params)
            return (
                obs.candidates,
                *rest,
                info | {"final_observation": info["final_observation"].candidates},
            )

    flat = wrappers.FlattenObservationWrapper(Flat(env))
    obs, state = flat.reset(key)
    assert obs.shape == flat.observation_space(env.default_params).shape
    np.testing.assert_array_equal(flat.step(key, state, 3)[2], expected)

    single = wrappers.GymnaxToGymWrapper(env, seed=0)
    obs, _ = single.reset(seed=0)
    assert single.observation_space["candidates"].contains(np.asarray(obs.candidates))
    assert single.action_space.n == env.num_actions
    assert np.isfinite(single.step(0)[1])
    many = wrappers.GymnaxToVectorGymWrapper(env, num_envs=2)
    many.reset(seed=0)
    assert many.step(jnp.zeros(2, jnp.int32))[1].shape == (2,)


# What cannot be


@pytest.mark.parametrize(
    "form, changes, message",
    [
        ("joint", {"poisson": True}, "fixed number of users"),
        ("joint", {"num_active_min": 2}, "fixed number of users"),
        ("sequential", {"poisson": True}, "poisson must be False"),
        ("sequential", {"num_channels": 2}, "num_active must be at most num_channels=2"),
        ("joint", {"num_channels": 2}, "num_active must be at most num_channels=2"),
        ("joint", {"num_channels": 20, "num_users": 15, "num_active": 8}, "5079110400 actions"),
    ],
)
def test_scenarios_without_an_environment_are_refused(form, changes, message):
    with pytest.raises(ValueError, match=message):
        FORMS[form](SMALL.replace(**changes))
    env = make(form)
    with pytest.raises(ValueError, match=message):
        env.reset(jax.random.key(0), SMALL.replace(**changes))


@pytest.mark.parametrize("num_slots", [0, 2.0, True])
def test_number_of_slots_is_checked(num_slots):
    with pytest.raises(ValueError, match="num_slots must be an integer of at least 1"):
        JointAccess(SMALL, num_slots=num_slots)

import warnings

import jax
import numpy as np
import pytest

import lsajax as lsa
from lsajax.env import JointAccess, SequentialAccess

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402

from lsajax.gymnasium_env import AccessEnv, VectorAccessEnv  # noqa: E402

SCENARIO = lsa.Scenario(num_users=5, num_channels=6, num_active=2, fading=True)
EACH = ["joint", pytest.param("sequential", marks=pytest.mark.slow)]
ENVS = {
    "joint": JointAccess(SCENARIO, num_slots=3),
    "sequential": SequentialAccess(SCENARIO, num_slots=3),
}


@pytest.mark.parametrize("form", EACH)
def test_gymnasium_checker_passes(form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # No render mode to look at, and no id to make it by; `remaining` has no bounds.
        for harmless in ("not having a spec", "minimum value is -inf", "maximum value is inf"):
            warnings.filterwarnings("ignore", f".*{harmless}")
        check_env(AccessEnv(ENVS[form]))


def test_single_environment_ends_by_truncation():
    env = AccessEnv(ENVS["joint"])
    first, _ = env.reset(seed=1)
    ends = []
    for _ in range(3):
        obs, reward, terminated, truncated, info = env.step(
            env.action_space.sample(first["action_mask"].astype(np.int8))
        )
        assert env.observation_space.contains(obs) and np.isfinite(reward) and info["value"] > 0
        ends.append((terminated, truncated))
    assert ends == [(False, False), (False, False), (False, True)]
    again, _ = env.reset(seed=1)
    other, _ = env.reset()
    np.testing.assert_array_equal(first["features"], again["features"])
    assert not np.allclose(first["features"], other["features"])


@pytest.mark.parametrize("form", EACH)
def test_vector_environment_steps_all_at_once(form):
    env = VectorAccessEnv(ENVS[form], num_envs=4)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, _ = env.reset(seed=3)
    assert env.observation_space.contains(obs)
    total, steps = np.zeros(4), 3 if form == "joint" else 6
    for i in range(steps):
        actions = np.argmax(obs["action_mask"], axis=1)
        obs, reward, terminated, truncated, infos = env.step(actions)
        assert env.observation_space.contains(obs)
        assert reward.shape == terminated.shape == truncated.shape == (4,)
        assert ("final_obs" in infos) == (i == steps - 1) == bool(truncated.all())
        total += reward
    assert infos["_final_obs"].all() and infos["_value"].all()
    assert np.all((total > 1.5) & (total < 6.0))  # a slot's random value is 1 in the mean
    assert len(set(total)) == 4
    name = "features" if form == "joint" else "candidates"
    assert not np.allclose(infos["final_obs"][name], obs[name])
    again, _ = env.reset(seed=3)
    same, _ = VectorAccessEnv(ENVS[form], num_envs=4).reset(seed=3)
    jax.tree.map(np.testing.assert_array_equal, again, same)


def test_vector_environment_checks_what_comes():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        VectorAccessEnv(ENVS["joint"], num_envs=0)
    env = VectorAccessEnv(ENVS["joint"], num_envs=2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must have shape \(2,\), got \(3,\)"):
        env.step(np.zeros(3, int))


def test_gymnasium_is_not_imported_by_the_package():
    import subprocess
    import sys

    code = (
        "import sys, lsajax, lsajax.env; "
        "print([m for m in ('gymnasium', 'gymnax', 'flax') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

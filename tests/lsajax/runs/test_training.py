"""Checkpoints that go on to the same bits, and budgets that end a training."""

import dataclasses
import gc
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flax")

from lsajax.agents import dqn, networks, ppo
from lsajax.runs import checkpoints, training
from lsajax.runs.checkpoints import BadCheckpoint
from lsajax.runs.training import Budget
from tests.lsajax.agents.small_envs import Chain

ROOT = pathlib.Path(__file__).parents[3]
PPO = ppo.Config(num_updates=12, num_envs=4, num_steps=4, num_minibatches=2, num_epochs=2)
DQN = dqn.Config(
    num_updates=12, num_envs=2, num_steps=4, num_gradients=2, capacity=32, learning_starts=16
)
ABOUT = {"algorithm": "ppo", "triple": (5, 5, 2)}


def start(module, config):
    init = jax.jit(jax.vmap(lambda key: module.init(key, Chain(), config)))
    return init(jax.random.split(jax.random.key(7), 2))


def train(module, config, num_updates=12, **options):
    options = {"chunk": 2, "flops_per_update": 100.0, "description": ABOUT} | options
    return training.train(
        start(module, config), jax.vmap(module.update), num_updates=num_updates, **options
    )


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("module", "config"),
    [(ppo, PPO), pytest.param(dqn, DQN, marks=pytest.mark.slow)],
    ids=["ppo", "dqn"],
)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, module, config):
    whole = train(module, config)
    half = train(module, config, num_updates=6, folder=tmp_path)
    assert half.num_updates == 6 and checkpoints.numbers(tmp_path) == [4, 6]
    (tmp_path / "00000008.orbax-checkpoint-tmp").mkdir()  # what a kill in a save leaves
    rest = train(module, config, folder=tmp_path)
    assert rest.num_updates == whole.num_updates == 12
    assert_same_bits(rest.state, whole.state)
    assert_same_bits(rest.curve, whole.curve)
    assert rest.seconds > half.seconds and rest.flops == 1200.0
    again = train(module, config, folder=tmp_path)
    assert again.compile_s == 0.0  # nothing was left to be done
    assert_same_bits(again.state, whole.state)
    assert not list(tmp_path.glob("*tmp*"))


@pytest.mark.slow
def test_a_training_that_is_killed_in_another_process_goes_on_to_the_same_bits(tmp_path):
    code = (
        "import os, pathlib\n"
        "from tests.lsajax.runs import test_training as t\n"
        "def show(trained):\n"
        "    if trained.num_updates == 8: os.kill(os.getpid(), 9)\n"
        f"t.train(t.ppo, t.PPO, folder=pathlib.Path({str(tmp_path)!r}), on_chunk=show)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -9
    assert checkpoints.numbers(tmp_path)[-1] == 8
    assert_same_bits(train(ppo, PPO, folder=tmp_path).state, train(ppo, PPO).state)


def count(num_updates=12, **options):
    """A training whose updates count."""

    def update(state):
        return state + 1, {"count": state}

    return training.train(
        jnp.int32(0),
        update,
        num_updates=num_updates,
        **({"chunk": 2, "flops_per_update": 100.0} | options),
    )


def test_budgets_end_a_training_before_it_passes_them(monkeypatch):
    for flops, updates in ((700.0, 7), (100.0, 1), (1e9, 12)):
        found = count(budget=Budget(flops=flops))
        assert found.num_updates == found.state == updates and found.flops == 100.0 * updates
        np.testing.assert_array_equal(found.curve["count"], np.arange(updates))
    clock = iter(range(1000))  # every look at it is a second later
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    found = count(budget=Budget(seconds=3.5))
    assert (found.num_updates, found.seconds, found.compile_s) == (4, 3.0, 2.0)


def test_a_training_that_its_seconds_ended_stays_ended(tmp_path):
    options = {
        "budget": Budget(seconds=1.0),
        "folder": tmp_path,
        "save_every_s": 9.0,
        "chunk": 5000,
    }
    ended = count(num_updates=100_000_000, **options)
    again = count(num_updates=100_000_000, **options)
    assert 0 < ended.num_updates == again.num_updates < 100_000_000


def test_a_budget_too_small_for_one_update_is_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match=r"budget_flops must be at least 100, .* got 99"):
        count(budget=Budget(flops=99.0))
    clock = iter(range(1000))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    with pytest.raises(ValueError, match=r"budget_s must be at least 1 s, .* got 0.1"):
        count(budget=Budget(seconds=0.1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's readers
def test_a_checkpoint_of_something_else_is_one_sentence(tmp_path):
    train(ppo, PPO, num_updates=2, folder=tmp_path)
    with pytest.raises(BadCheckpoint, match=r"is of triple \[5, 5, 2\], and \[5, 5, 3\] is needed"):
        train(ppo, PPO, folder=tmp_path, description={**ABOUT, "triple": (5, 5, 3)})
    with pytest.raises(BadCheckpoint, match="is of algorithm 'ppo', and 'dqn' is needed"):
        train(dqn, DQN, folder=tmp_path, description={**ABOUT, "algorithm": "dqn"})
    more = dataclasses.replace(PPO, num_envs=8)
    with pytest.raises(BadCheckpoint, match=r"checkpoint .*00000002") as raised:
        train(ppo, more, folder=tmp_path)
    assert "\n" not in str(raised.value)
    gc.collect()  # what Orbax left unread complains here, not in a later test


def test_weights_come_back_and_others_are_refused(tmp_path):
    params = networks.policy(3).init(jax.random.key(0), np.zeros(4))
    path = tmp_path / "weights.msgpack"
    checkpoints.save_weights(path, params, ABOUT)
    like = jax.tree.map(np.zeros_like, params)
    assert_same_bits(checkpoints.load_weights(path, like, ABOUT), params)
    assert checkpoints.read_description(path) == json.loads(json.dumps(ABOUT))
    other = networks.policy(4).init(jax.random.key(0), np.zeros(4))
    with pytest.raises(BadCheckpoint, match=r"have shape \(3,\) where \(4,\) is needed"):
        checkpoints.load_weights(path, other, ABOUT)
    with pytest.raises(BadCheckpoint, match="is of algorithm 'ppo', and 'dqn' is needed"):
        checkpoints.load_weights(path, like, {**ABOUT, "algorithm": "dqn"})
    with pytest.raises(BadCheckpoint, match="has no description"):
        checkpoints.load_weights(tmp_path / "none.msgpack", like, ABOUT)
    content = path.read_bytes()
    # Cut off, of no type, no tree, and what the format says nothing of.
    for bad in (content[:-9], content.replace(b"float32", b"floet32"), b"\x01", b"\xc1"):
        path.write_bytes(bad)
        with pytest.raises(BadCheckpoint, match=r"weights .*weights.msgpack: \S"):
            checkpoints.load_weights(path, like, ABOUT)


def test_flops_of_an_update_grow_as_its_parts_do():
    """XLA counts a loop's body once; the number of an update must not depend on that."""
    for module, config, name in ((ppo, PPO, "num_epochs"), (dqn, DQN, "num_gradients")):
        counts = []
        for factor in (1, 2, 3):
            more = dataclasses.replace(config, **{name: factor * getattr(config, name)})
            counts.append(module.flops(module.init(jax.random.key(0), Chain(), more)))
        assert counts[2] - counts[1] == pytest.approx(counts[1] - counts[0], rel=1e-6)
        # A pass of the network is 2 x 128 x 128 products and sums and more, for each item.
        items = config.steps_per_update if module is ppo else config.batch_size
        passes = config.num_epochs if module is ppo else config.num_gradients
        assert counts[1] - counts[0] > 3 * 2 * 128 * 128 * items * passes

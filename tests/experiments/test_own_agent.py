"""`--agent`: weights of `train_agent` in the studies of Tables III and V."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import config as options
from experiments import methods, own_agent, scaling, small_scale, study, train_agent
from lsajax.agents import sequential
from lsajax.runs import checkpoints
from lsajax.runs.folder import BadRun
from tests.experiments.commands import refused

JOINT = train_agent.Config(
    algorithm="dqn", head="joint", triple=(5, 5, 1), seeds=2, updates=2, chunk=2, realizations=4
)
SEQUENTIAL = train_agent.Config(triple=(8, 6, 4), seeds=2, order="regret")


@pytest.fixture(autouse=True)
def _few_methods(monkeypatch):
    """What others take to compile is theirs to test."""
    kept = (methods.RANDOM, methods.GREEDY, methods.OPTIMUM)
    every = methods.classical
    monkeypatch.setattr(
        methods, "classical", lambda objective: [m for m in every(objective) if m.name in kept]
    )
    monkeypatch.setattr(methods, "agents", lambda objective: [])
    monkeypatch.setattr(small_scale, "compared_methods", lambda o, _: methods.classical(o))


@pytest.fixture(scope="module")
def joint_once(tmp_path_factory):
    return written(tmp_path_factory.mktemp("agent") / "mine", JOINT)


@pytest.fixture
def joint(joint_once, tmp_path):
    return shutil.copytree(joint_once, tmp_path / "mine")


def written(folder, config):
    """What a training leaves that had no updates; its two trainings decide differently."""
    agent = train_agent.make_agent(config)
    params = jax.jit(agent.start)().params
    checkpoints.save_weights(folder / train_agent.WEIGHTS, params, agent.description())
    record = options.record("train_agent", options.resolved(config), without=("ship",))
    (folder / "run.json").write_text(json.dumps({"config": record}))
    return folder


def scaled(out, agent, **changes):
    given = {"scales": ("I",), "model": "none", "setting": "fading", "realizations": 2} | changes
    scaling.run(scaling.prepare(scaling.Config(out=out, agent=agent, **given)))
    return pd.read_parquet(out / "rows.parquet")


def test_the_first_training_decides_as_in_the_run_that_trained_it(tmp_path):
    folder = tmp_path / "mine"
    train_agent.run(train_agent.prepare(dataclasses.replace(JOINT, out=folder)))
    theirs = pd.read_parquet(folder / "rows.parquet").pivot(
        index="realization", columns="method", values="value"
    )
    config = small_scale.Config(
        triples=("(5,5,1)", "(5,5,2)"),
        model="none",
        realizations=4,
        train_s=0.0,
        agent=folder,
        out=tmp_path / "out",
    )
    small_scale.run(small_scale.prepare(config))
    rows = pd.read_parquet(tmp_path / "out" / "rows.parquet")
    own = rows[rows["method"] == "Agent, from mine"].set_index("realization")
    fits, other = own[own["triple"] == "(5,5,1)"], own[own["triple"] == "(5,5,2)"]
    # Both studies draw the same instances of a size.
    assert list(fits["value"]) == list(theirs["DQN, joint 0"])
    assert list(fits["value"]) != list(theirs["DQN, joint 1"])
    assert set(other["status"]) == {"skipped"} and other["value"].isna().all()
    assert other["detail"].str.contains("is for 1 users on 5 channels, not for 2 on 5").all()
    about = json.loads((tmp_path / "out" / "run.json").read_text())["agent"]
    assert (about["algorithm"], about["triple"], about["agent_seed"]) == ("dqn", [5, 5, 1], 0)


def test_rows_of_a_sequential_head_and_their_resume(tmp_path):
    folder, out = written(tmp_path / "mine", SEQUENTIAL), tmp_path / "out"
    first = scaled(out, folder, realizations=1)
    rows = scaled(out, tmp_path / "out" / ".." / "mine", resume=True)
    pd.testing.assert_frame_equal(rows[rows["realization"] == 0].reset_index(drop=True), first)
    own = rows[rows["method"] == "Agent, from mine"].set_index("realization")
    params = jax.jit(train_agent.make_agent(SEQUENTIAL).start)().params
    scenario = lsa.SCALES["I"].replace(**lsa.SETTINGS["fading"])
    key, inst = study.instance(0, scenario, 1)
    first, second = (
        sequential.make_solver(jax.tree.map(lambda x, i=i: x[i], params), order="regret")(key, inst)
        for i in range(2)
    )
    np.testing.assert_allclose(own.loc[1, "value"], first.value, rtol=1e-6)
    assert abs(own.loc[1, "value"] / second.value - 1) > 1e-4
    assert "Agent, from mine" in set(pd.read_csv(out / "summary.csv")["method"])
    # Other weights under the same name are another run, and so is none.
    written(folder, dataclasses.replace(SEQUENTIAL, seed=1))
    with pytest.raises(BadRun, match="agent_sha256 was"):
        scaled(out, folder, resume=True)
    with pytest.raises(BadRun, match="agent was 'mine', now None"):
        scaled(out, None, resume=True)


def test_a_default_folder_of_its_own(joint, tmp_path):
    for agent, out, expected in (
        (joint, None, "results/scaling/throughput-plain-agent-mine"),
        (None, None, "results/scaling/throughput-plain"),
        (joint, tmp_path, str(tmp_path)),
    ):
        config = scaling.Config(agent=agent, out=out)
        assert str(own_agent.out_folder(config, options.out_folder("scaling", config))) == expected


def no_folder(folder):
    shutil.rmtree(folder)


def no_record(folder):
    (folder / "run.json").write_text("{}")


def other_study(folder):
    (folder / "run.json").write_text(json.dumps({"config": {"study": "scaling"}}))


def other_head(folder):
    record = json.loads((folder / "run.json").read_text())
    record["config"]["head"] = "dual"
    (folder / "run.json").write_text(json.dumps(record))


def no_weights(folder):
    (folder / train_agent.WEIGHTS).unlink()


def cut_off(folder):
    path = folder / train_agent.WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])


def other_features(folder):
    path = folder / train_agent.WEIGHTS
    about = checkpoints.read_description(path) | {"features": "older"}
    path.with_suffix(".json").write_text(json.dumps(about))


def more_trainings(folder):
    record = json.loads((folder / "run.json").read_text())
    record["config"]["seeds"] = 3
    (folder / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("module", [scaling, small_scale])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (no_folder, "No such file or directory"),
        (no_record, "its run.json is no record of a training (KeyError('config'))"),
        (other_study, "its run.json is of scaling"),
        (other_head, "--head must be one of joint, joint-sums, sequential, got 'dual'"),
        (no_weights, "it has no weights.msgpack"),
        (cut_off, "weights.msgpack: Unpack failed: incomplete input"),
        (other_features, "is of features 'older', and"),
        (more_trainings, "have shape (2,"),
    ],
)
def test_what_no_training_wrote_is_one_line(joint, tmp_path, capsys, module, damage, reason):
    damage(joint)
    (tmp_path / "here").mkdir()
    # The model would be loaded after that, and there is none of this name.
    arguments = ["--agent", "../mine", "--model", "no/such/model"]
    assert refused(module, arguments, tmp_path / "here") == 2
    errors = capsys.readouterr().err
    wanted = "--agent must be a folder that `python -m experiments.train_agent` wrote, got ../mine"
    assert wanted in errors and reason in errors and errors.strip().count("\n") == 0
    assert list((tmp_path / "here").iterdir()) == []


def test_a_joint_head_is_of_one_side_of_leakage(joint, tmp_path):
    with pytest.raises(ValueError, match=r"--agent must see what --objective coupled "):
        scaling.check(scaling.Config(agent=joint, objective="coupled"))
    scaling.check(scaling.Config(agent=joint, setting="fair"))
    any_head = written(tmp_path / "other", SEQUENTIAL)
    scaling.check(scaling.Config(agent=any_head, objective="coupled"))

"""Table III: what is enumerated is the optimum, and what cannot be says so."""

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import (
    joint_agents,
    methods,
    report_leads,
    report_tables,
    small_scale,
    train_agent,
)
from experiments.small_scale import Config


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    config = Config(triples=("(5,5,2)",), model="none", realizations=3, out=out, train_s=0.0)
    small_scale.run(small_scale.prepare(config))
    return out, pd.read_parquet(out / "rows.parquet"), pd.read_csv(out / "summary.csv")


def test_what_is_enumerated_is_the_optimum_and_nothing_exceeds_it(found):
    _, rows, _ = found
    value = rows[rows["triple"] == "(5,5,2)"].pivot(
        index="realization", columns="method", values="value"
    )
    np.testing.assert_allclose(value[methods.EXHAUSTIVE], value[methods.OPTIMUM], rtol=1e-6)
    assert (value.max(axis=1) <= value[methods.OPTIMUM] * (1 + 1e-6)).all()
    assert (value[methods.EVOLUTION] >= value[methods.RANDOM]).all()


def test_what_is_too_large_is_skipped_with_what_it_would_take():
    compared = {m.name: m for m in small_scale.compared_methods("throughput", 30)}
    inst = lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[7, 10, 2])
    reason = compared[methods.EXHAUSTIVE].skip(inst)
    assert "2 users and 10 channels have 90 assignments" in reason
    assert all(m.skip(inst) is None for m in compared.values() if m.name != methods.EXHAUSTIVE)


@pytest.mark.slow
def test_agents_of_joint_actions_are_trained_for_the_triple(tmp_path):
    config = Config(triples=("(5,5,1)",), model="none", realizations=3, out=tmp_path, train_s=2.0)
    small_scale.run(small_scale.prepare(config))
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    for name in ("DQN, joint", "PPO, joint"):
        own = rows[rows["method"] == name]
        assert len(own) == 3 and (own["training_s"] > 0).all() and (own["training_s"] < 2.5).all()


def test_agents_that_do_not_fit_are_skipped_with_what_they_would_take(tmp_path):
    config = train_agent.Config(
        algorithm="dqn", head="joint", triple=(12, 15, 6), seeds=1, memory_bytes=2**32
    )
    method = joint_agents.trained(config, tmp_path)
    reason = method.skip(lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[12, 15, 6]))
    assert method.name == "DQN, joint" and "has 3603600 outputs and needs" in reason


def test_the_summary_has_the_paper_beside_it(found):
    out, _, summary = found
    paper = summary.set_index(["triple", "method"])["paper_mean"]
    assert paper["(5,5,2)", methods.OPTIMUM] == pytest.approx(231.61)
    assert (out / "small_scale.png").stat().st_size > 10_000


def test_the_paper_has_a_number_for_each_triple():
    assert set(small_scale.TRIPLES.values()) == set(lsa.SMALL_SCALES)
    assert small_scale.PAPER_MBPS["(15,20,8)", methods.OPTIMUM] == 1044.25
    assert ("(12,15,6)", methods.EXHAUSTIVE) not in small_scale.PAPER_MBPS
    assert len(small_scale.PAPER_MBPS) == 7 * 8 - 2 - 4


def test_rows_of_the_paper_above_an_exact_one():
    optimum, exhaustive = methods.OPTIMUM, methods.EXHAUSTIVE
    found = {(row.method, row.other): row for row in small_scale.impossible()}
    assert set(found) == {
        ("LLM (code)", optimum),
        (exhaustive, optimum),
        ("DQN, joint", optimum),
        ("PPO, joint", optimum),
        ("DQN, joint", exhaustive),
    }
    llm, dqn = found["LLM (code)", optimum], found["DQN, joint", optimum]
    assert llm.triples == ("(5,5,1)", "(15,20,4)", "(5,5,2)", "(8,10,4)", "(12,15,6)")
    assert llm.compared == 8 and llm.percent == pytest.approx(100 * (785.02 / 746.99 - 1))
    assert dqn.triples == ("(5,5,1)", "(7,10,2)", "(5,5,2)") and dqn.compared == 6
    assert found["PPO, joint", optimum].triples == ("(5,5,2)",)
    assert found["DQN, joint", exhaustive].triples == ("(5,5,1)", "(5,5,2)")
    assert len(found[exhaustive, optimum].triples) == 6
    said = small_scale.contradictions()
    assert "the LLM at 5 of 8 triples ((5,5,1), (15,20,4)," in said
    assert said.endswith("PPO is below Random at (5,5,1), which can be.")


def test_rows_of_the_same_instances_contradict_nothing():
    same = {("(5,5,1)", name): 100.0 for name in (methods.OPTIMUM, methods.EXHAUSTIVE)}
    same |= {("(5,5,1)", "LLM (code)"): 99.0, ("(5,5,1)", methods.RANDOM): 90.0}
    assert small_scale.impossible(same) == []
    assert "no row is above an exact one" in small_scale.contradictions(same)


def test_notes_and_report_say_the_same_of_the_paper(found):
    _, _, summary = found
    prepared = report_tables.prepared(summary)
    said = small_scale.contradictions()
    assert list(small_scale._notes(Config(objective="throughput"))) == [said]
    assert list(small_scale._notes(Config(setting="fading", objective="throughput"))) == []
    assert report_leads.of_small(prepared).endswith(said)
    assert said not in report_leads.of_small(prepared.assign(paper_mean=float("nan")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"triples": ("(5,5,3)",)}, r"--triples must name one or more of \(5,5,1\)"),
        ({"triples": ()}, "--triples must name"),
        ({"train_s": -1.0}, "--train-s must be at least 0 seconds"),
        ({"max_assignments": 0}, "--max-assignments must be at least 1, got 0"),
        ({"realizations": 0}, "--realizations must be at least 1"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small_scale.check(Config(**options))

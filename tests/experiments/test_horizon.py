"""Scheduling over slots: the loop beside the compiled one, the discounted sum, and options."""

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import horizon, horizon_policies, methods, study
from experiments.horizon import Config
from experiments.horizon_policies import MAX_RATE, PROPORTIONAL, ROUND_ROBIN, WARM_START
from lsajax import scheduling

SCENARIO = horizon.SIZES["(15,20,8)"].replace(**lsa.SETTINGS["multipath"])
SLOTS = 6


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("horizon")
    config = Config(sizes=("(15,20,8)",), model="none", slots=SLOTS, realizations=2, out=out)
    horizon.run(horizon.prepare(config))
    return out, pd.read_parquet(out / "rows.parquet"), config


@pytest.mark.parametrize("name", [pytest.param(PROPORTIONAL, marks=pytest.mark.slow), ROUND_ROBIN])
def test_decisions_one_by_one_are_those_of_the_compiled_loop(name):
    key = study.instance_key(0, SCENARIO, 1)
    policy = {policy.name: policy for policy in horizon_policies.over_slots()}[name]
    slots = horizon_policies.slots_of(key, SCENARIO, SLOTS)
    own = horizon_policies.history(policy, SCENARIO, slots)
    schedule = {PROPORTIONAL: scheduling.proportional_fair, ROUND_ROBIN: scheduling.round_robin}
    whole = scheduling.run(key, SCENARIO, schedule[name], SLOTS)
    np.testing.assert_allclose(own.value, whole.throughput_bps, rtol=1e-5)
    np.testing.assert_array_equal(own.num_requests, whole.state.num_requests)
    per_request = own.total_bps / np.maximum(own.num_requests, 1)
    np.testing.assert_allclose(per_request, whole.mean_rate_bps, rtol=1e-4)


def test_the_optimum_of_each_slot_is_that_of_the_discounted_sum(found):
    _, rows, config = found
    value = rows.pivot(index="realization", columns="method", values="value")
    bound = rows.groupby("realization")["bound"].first()
    np.testing.assert_allclose(value[MAX_RATE], bound, rtol=1e-6)
    np.testing.assert_allclose(value[WARM_START], value[MAX_RATE], rtol=1e-6)
    assert (value.max(axis=1) <= bound * (1 + 1e-6)).all()
    assert (value[methods.RANDOM] < value[methods.GREEDY]).all()
    # By hand, in float64: the optimum of each slot by SciPy, discounted.
    from scipy.optimize import linear_sum_assignment

    key = study.instance_key(config.seed, SCENARIO, 0)
    total = 0.0
    for t, slot in enumerate(horizon_policies.slots_of(key, SCENARIO, SLOTS)):
        rate = np.asarray(lsa.value_matrix(slot.inst.of_rates()), np.float64)
        total += config.discount**t * rate[linear_sum_assignment(rate, maximize=True)].sum()
    assert value.loc[0, MAX_RATE] == pytest.approx(total, rel=1e-5)


def test_traffic_varies_and_all_who_ask_are_served(found):
    _, rows, _ = found
    assert set(rows["slots"]) == {SLOTS}
    assert rows["num_active"].between(2, 8).all() and (rows["num_active"] % 1 != 0).any()
    assert (rows["served_share"] == 1).all() and (rows["unserved"] == 0).all()
    assert rows["jain_index"].between(0, 1).all()


def test_the_summary_its_figure_and_its_resume(found, capsys):
    out, _, config = found
    summary = pd.read_csv(out / "summary.csv").set_index("method")
    assert (summary["throughput_mbps"] > 0).all() and (summary["served_share"] == 1).all()
    own = summary.loc[WARM_START]
    assert 0 < own["warm_s"] < own["seconds"] and own["cold_s"] > 0
    assert summary["warm_s"].notna().sum() == 1
    assert (out / "horizon.png").stat().st_size > 10_000
    horizon.run(horizon.prepare(Config(**{**vars(config), "resume": True})))
    printed = capsys.readouterr().out
    assert (
        "Discounted sum over 6 slots" in printed and "from the duals of the slot before" in printed
    )


def test_a_model_keeps_from_slot_to_slot_what_prompts_share(tmp_path, capsys):
    config = Config(sizes=("(15,20,8)",), slots=3, realizations=1, out=tmp_path / "run")
    horizon.run(horizon.prepare(config))
    own = pd.read_csv(config.out / "summary.csv").set_index("method")
    kept, fresh = own.loc[methods.LLM], own.loc[methods.LLM_COLD]
    assert kept["mean"] == fresh["mean"]  # the same programs
    assert kept["prefill_s"] > 0 and fresh["prefill_s"] > 0
    assert "what it shares with the slot before being kept" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.slow
def test_where_channels_are_short_the_schedulers_differ():
    scenario = horizon.SIZES["crowded"]
    slots = horizon_policies.slots_of(jax.random.key(3), scenario, 8)
    named = {policy.name: policy for policy in horizon_policies.over_slots()}
    fair, fast = (
        horizon_policies.history(named[name], scenario, slots)
        for name in (PROPORTIONAL, WARM_START)
    )

    def jain(history):
        return float(lsa.jain_index(history.total_bps, history.num_requests > 0))

    assert fast.unserved.sum() > 0 and fair.unserved.sum() == fast.unserved.sum()
    assert fast.value.sum() > fair.value.sum() and jain(fair) > jain(fast)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ("IV",)}, r"--sizes must name one or more of \(15,20,8\), crowded, I, II, III"),
        ({"slots": 0}, "--slots must be at least 1, got 0"),
        ({"discount": 1.5}, "--discount must be within 0..1, got 1.5"),
        ({"objective": "fair"}, "--objective must be throughput"),
        ({"setting": "poisson"}, "--setting must not be poisson"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        horizon.check(Config(**options))

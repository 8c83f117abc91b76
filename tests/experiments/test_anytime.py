"""Who is ahead by when: on numbers that are known, and a small run."""

import math

import jax
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import anytime, methods, study
from experiments.anytime import Config

exhaustive, objective_value = map(jax.jit, (lsa.solvers.exhaustive, lsa.objective_value))
AXES = {"setting": "fading", "objective": "throughput", "scale": "I"}


def test_two_budgets_a_decade():
    np.testing.assert_allclose(anytime.budgets(1.0), np.geomspace(1e-3, 1.0, 7))
    np.testing.assert_allclose(anytime.budgets(0.02), [1e-3, 10**-2.5, 1e-2, 0.02])
    assert anytime.budgets(1e-3).tolist() == [1e-3]


def rows_of(realization, by_method):
    """Rows of an instance whose bound is 10; of each method seconds and values."""
    return [
        {
            **AXES,
            "method": method,
            "realization": realization,
            "bound": 10.0,
            "status": "feasible",
            "detail": "",
            "seconds": at_s[-1],
            "value": values[-1],
            **({"curve_s": at_s, "curve_value": values} if len(at_s) > 1 else {}),
        }
        for method, (at_s, values) in by_method.items()
    ]


def test_the_best_answer_that_is_there_on_each_instance():
    found = rows_of(
        0,
        {
            methods.SORTED: ([0.1], [6.0]),
            methods.GROUPED: ([0.2, 0.5, 2.0], [5.0, 8.0, 7.0]),
            methods.OPTIMUM: ([1.0], [10.0]),
        },
    ) + rows_of(
        1,
        {
            methods.SORTED: ([0.15], [6.0]),
            methods.GROUPED: ([0.25, 0.4, 2.0], [5.0, 8.0, 10.0]),
            methods.OPTIMUM: ([0.9], [10.0]),
        },
    )
    known = study.Study(cells=[], seed=0, reference=methods.SORTED)
    summary = anytime.table(known, pd.DataFrame(found))
    # A time is that of the slower instance.
    assert sorted(summary["by_s"].unique()) == [0.15, 0.25, 0.5, 1.0, 2.0]
    mean = summary.set_index(["by_s", "method"])["mean"] * 1e6
    assert methods.GROUPED not in mean[0.15].index and methods.OPTIMUM not in mean[0.5].index
    assert mean[0.25, methods.GROUPED] == pytest.approx(5.0)
    assert mean[0.5, methods.GROUPED] == pytest.approx(8.0)
    # What a longer run lost again is not lost to who has both.
    assert mean[2.0, methods.GROUPED] == pytest.approx(9.0)
    ahead = summary[summary["ahead"]].set_index("by_s")["method"]
    assert ahead.to_dict() == {
        0.15: methods.SORTED,
        0.25: methods.SORTED,
        0.5: methods.GROUPED,
        1.0: methods.OPTIMUM,
        2.0: methods.OPTIMUM,
    }
    (sentence,) = anytime.leads(summary)
    assert sentence == (
        "fading, throughput, I: Sorted matching from 150 ms, Grouped-KM from 500 ms, Exact "
        "optimum from 1e+03 ms."
    )


@pytest.mark.parametrize("objective", ["throughput", "coupled"])
def test_searches_on_a_small_slot(objective):
    scenario = lsa.SMALL_SCALES[10, 15, 3].replace(fading=True, objective=objective)
    key, inst = study.instance(0, scenario, 0)
    for method in anytime.classical(objective):
        outcome = method.run(key, inst, 2e-3)
        value = float(objective_value(inst, outcome.assignment))
        if method.name in (methods.GROUPED, methods.LOCAL_SEARCH):
            # The last is the answer; each is a feasible one of a run of its own.
            assert len(outcome.columns["curve_s"]) == 2
            assert outcome.columns["curve_value"][-1] == pytest.approx(value)
            assert min(outcome.columns["curve_value"]) > 0
        elif method.name == methods.OPTIMUM and objective == "throughput":
            assert value == pytest.approx(float(exhaustive(key, inst).value), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget_s": math.inf}, "--budget-s must be within 0.001..1000, got inf"),
        ({"scales": ("IV",)}, "--scales must name one or more of I, II, III, each once, got IV"),
        ({"settings": ()}, "--settings must name one or more of plain"),
        ({"temperature": -1.0}, "--temperature must be at least 0"),
    ],
)
def test_bad_input_is_a_sentence(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        anytime.prepare(Config(out=tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_and_its_resume(tmp_path, capsys):
    options = {"settings": ("fading",), "scales": ("I",), "budget_s": 0.01, "realizations": 2}
    prepared = anytime.prepare(Config(out=tmp_path / "run", **options))
    anytime.run(prepared)
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert set(summary["objective"]) == {"throughput", "coupled"}
    # One method is ahead at each time.
    assert (summary.groupby([*anytime.AXES, "by_s"])["ahead"].sum() == 1).all()
    assert "Gap in %" in capsys.readouterr().out
    assert (tmp_path / "run" / "anytime.png").stat().st_size > 0
    anytime.run(anytime.prepare(Config(out=tmp_path / "run", resume=True, **options)))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "summary.csv"), summary)

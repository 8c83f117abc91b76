"""The study of powers at its smallest: gains, gaps and options."""

import numpy as np
import pandas as pd
import pytest

from experiments import power_control, power_methods
from experiments.power_control import Config


def run(path, **options):
    power_control.run(power_control.prepare(Config(out=path, realizations=2, **options)))
    return pd.read_csv(path / "summary.csv").set_index("method")


def test_gradients_find_the_closed_form_and_prices_the_bound(tmp_path, capsys):
    options = {
        "problems": ("alone",),
        "settings": ("fading",),
        "sizes": ("(5,5,2)",),
        "tx_power_dbm": (-7.0,),
    }
    summary = run(tmp_path, **options)
    gain = summary["gain_percent"]
    assert gain[power_methods.EQUAL] == 0 and gain[power_methods.WATER_FILLING] > 0.1
    assert gain[power_methods.GRADIENT] == pytest.approx(
        gain[power_methods.WATER_FILLING], abs=0.01
    )
    assert (gain.drop(power_methods.EQUAL) >= gain[power_methods.GRADIENT] - 0.01).all()
    assert (summary["gap_percent"] >= -1e-3).all()
    assert summary["gap_percent"].idxmax() == power_methods.EQUAL
    assert summary.loc[power_methods.GRADIENT, "steps"] > 1
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    value = rows.pivot(index="realization", columns="method", values="value")
    ratio = value[power_methods.PRICED] / value[power_methods.EQUAL]
    assert gain[power_methods.PRICED] == pytest.approx(100 * (ratio.mean() - 1))
    printed = capsys.readouterr().out
    assert "Gain over equal power [%], alone, fading" in printed and "Largest mean gap" in printed
    for name in ("power_control.png", "power_control.pdf", "run.json"):
        assert (tmp_path / name).stat().st_size > 0
    pd.testing.assert_frame_equal(run(tmp_path, resume=True, **options), summary)


@pytest.mark.slow
def test_what_has_no_closed_form(tmp_path):
    summary = run(tmp_path, problems=("shared", "fair"), sizes=("(15,20,8)",), tx_power_dbm=(-7.0,))
    by_place = summary.reset_index().set_index(["problem", "setting", "method"])["gain_percent"]
    for setting in ("plain", "fading"):
        shared, fair = by_place["shared", setting], by_place["fair", setting]
        assert shared[power_methods.GRADIENT] >= shared[power_methods.ITERATIVE] - 0.1
        assert shared[power_methods.GRADIENT] > 10
        assert fair[power_methods.GRADIENT] > max(0, fair[power_methods.WATER_FILLING])
        assert fair[power_methods.ALTERNATING] >= fair[power_methods.GRADIENT] - 0.01
    assert np.isnan(summary["gap_percent"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problems": ("both",)}, "--problems must name one or more of alone, shared, fair"),
        ({"settings": ("poisson",)}, "--settings must name one or more of plain, fading"),
        ({"sizes": ("(5,5,1)",)}, r"--sizes must name one or more of \(7,10,2\)"),
        ({"sizes": ()}, "got none"),
        ({"tx_power_dbm": (3.0, 3.0)}, "--tx-power-dbm must be within -60..60 dBm, each once"),
        ({"tx_power_dbm": (float("nan"),)}, "--tx-power-dbm must be within"),
        ({"realizations": 0}, "--realizations must be at least 1"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        power_control.check(Config(**options))

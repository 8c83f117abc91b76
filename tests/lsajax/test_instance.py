import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa

GOOD = {"received_power_w": [1e-9, 2e-9], "bandwidth_hz": [1e7, 2e7, 1.5e7]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"received_power_w": [1e-9, -1.0]},
            "mean_power_w must be finite and .* 0 W, got -1",
        ),
        (
            {"received_power_w": [np.nan, 1]},
            "mean_power_w must be .* got nan at index \\(0,",
        ),
        ({"bandwidth_hz": [1e7, 0.0]}, "bandwidth_hz must be finite and above 0, got 0.0"),
        ({"interference_w": [1e-9]}, r"interference_w must have shape \(3,\), got \(1,\)"),
        ({"interference_w": [0, np.inf, 0]}, "interference_w must be finite and at least 0"),
        ({"occupied": [True]}, r"occupied must have shape \(3,\)"),
        ({"user_id": [4, 4]}, "user_id must be distinct"),
        ({"received_power_w": [[1e-9]]}, "must be one-dimensional"),
        ({"noise_psd_dbm_hz": -np.inf}, "noise_psd_w_hz must be finite and above 0"),
    ],
)
def test_bad_data_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        lsa.make_instance(**{**GOOD, **changes})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ([0, 3], r"assignment must be within -1..2 .* got 3 for row 1"),
        ([-2, 0], "got -2 for row 0"),
        ([0], r"assignment must be 2 integers, one per user, got shape \(1,\)"),
        ([0.0, 1.0], "of float64"),
    ],
)
def test_bad_assignment_is_named(assignment, message):
    with pytest.raises(ValueError, match=message):
        lsa.check_assignment(lsa.make_instance(**GOOD), np.array(assignment))


def test_good_input_passes():
    inst = lsa.make_instance(**GOOD)
    assignment = lsa.check_assignment(inst, np.array([2, -1]))
    expected = 1.5e7 * np.log2(1 + 1e-9 / (10**-20.4 * 1.5e7))
    np.testing.assert_allclose(lsa.throughput(inst, assignment), expected, rtol=1e-5)
    assert inst.sortable and assignment.dtype == jnp.int32


def test_imports_without_the_language_model_stack():
    code = (
        "import sys; import lsajax; "
        "bad = {'torch', 'transformers', 'trl', 'pandas', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

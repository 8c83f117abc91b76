import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import lsajax as lsa
from lsajax import link, objective

GOOD = {"received_power_w": [1e-9, 2e-9], "bandwidth_hz": [1e7, 2e7, 1.5e7]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"received_power_w": [1e-9, -1.0]},
            "received_power_w must be finite and at least 0, got -1",
        ),
        (
            {"received_power_w": [np.nan, 1]},
            "received_power_w must be .* got nan at index \\(0,",
        ),
        ({"bandwidth_hz": [1e7, 0.0]}, "bandwidth_hz must be finite and above 0, got 0.0"),
        ({"interference_w": [1e-9]}, r"interference_w must have shape \(3,\), got \(1,\)"),
        ({"interference_w": [0, np.inf, 0]}, "interference_w must be finite and at least 0"),
        ({"occupied": [True]}, r"occupied must have shape \(3,\)"),
        ({"user_id": [4, 4]}, "user_id must be distinct"),
        ({"user_id": [-4, 4]}, "user_id must be at least 0 and fit 32 bits, got -4"),
        ({"user_id": [0.5, 0.7]}, "user_id must be integers, got float64"),
        ({"user_id": [-(2**40), 1]}, "user_id must be at least 0 and fit 32 bits, got -1099"),
        ({"occupied": [0, 2, 7]}, "occupied must be True or False per channel, got int64"),
        ({"position_m": [[0, np.nan], [0, 0]]}, "position_m must be finite, got nan"),
        ({"bandwidth_hz": []}, "an instance needs a user and a channel, got 2 and 0"),
        ({"received_power_w": [[1e-9]]}, "received_power_w and .* must be one-dimensional"),
        ({"received_power_w": "strong"}, "received_power_w must be an array of numbers"),
        ({"interference_w": [None, 0, 0]}, "interference_w must be finite .* got nan"),
        ({"user_id": [1, 2**40]}, "user_id must be at least 0 and fit 32 bits"),
        (
            {"noise_psd_dbm_hz": -np.inf},
            "noise_psd_dbm_hz must be a number, and finite .* got -inf",
        ),
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


def test_an_array_behind_a_closed_switch_is_refused():
    inst = lsa.make_instance(**GOOD)
    with pytest.raises(ValueError, match="interference_w must be 0 with interference=False"):
        lsa.check_instance(inst.replace(interference_w=jnp.full(3, 1e-9)))
    with pytest.raises(ValueError, match="carrier_gain must be 1 with wideband=False"):
        lsa.check_instance(inst.replace(carrier_gain=jnp.full(3, 2.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coupling_length_m": 0.0}, "coupling_length_m must be finite and above 0, got 0.0"),
        ({"adjacent_leakage": np.nan}, r"adjacent_leakage must be within \[0, 1\], got nan"),
        ({"adjacent_leakage": 1.5}, r"adjacent_leakage must be within \[0, 1\], got 1.5"),
        ({"coupling_bps": -1.0}, "coupling_bps must be finite and at least 0, got -1.0"),
        ({"coupling_bps": [1.0, 2.0]}, r"coupling_bps must have shape \(\), got \(2,\)"),
        ({"fading_seed": np.zeros(3, np.uint32)}, r"fading_seed must have shape \(2,\)"),
        ({"fading_seed": np.zeros(2)}, "fading_seed must be of type uint32, got float"),
        ({"user_mask": np.ones(2, np.int32)}, "user_mask must be of type bool"),
        ({"bandwidth_hz": np.arange(1, 4)}, "bandwidth_hz must be of type floating, got int"),
        ({"mean_power_w": [-1.0, 1.0]}, "mean_power_w must be finite and at least 0"),
    ],
)
def test_every_field_is_checked(changes, message):
    inst = lsa.make_instance(**GOOD)
    changes = {name: jnp.asarray(value) for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        lsa.check_instance(inst.replace(**changes))


@pytest.mark.parametrize(
    "function", [lsa.throughput, lsa.violations, lsa.repair, lsa.assigned_rate]
)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.uint32, np.int64])
def test_any_integer_type_is_one_assignment(function, dtype):
    inst = lsa.make_instance([1e-9, 2e-9, 3e-9], np.full(300, 1e7))
    given = jnp.asarray(np.array([5, 250 % np.iinfo(dtype).max, 5], dtype))
    expected = function(inst, jnp.asarray(given, jnp.int32))
    for a, b in zip(jax.tree.leaves(function(inst, given)), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_numbers_beyond_int32_are_unknown_channels():
    inst = lsa.make_instance(**GOOD)
    raw = jnp.asarray(np.array([2**32 - 1, 0], np.uint32))
    assert tuple(map(int, lsa.violations(inst, raw))) == (1, 0, 0, 0)
    with jax.enable_x64(True):
        raw = jnp.asarray(np.array([2**40, -(2**40)]))
        assert tuple(map(int, lsa.violations(inst, raw))) == (2, 0, 0, 0)
        assert list(np.asarray(lsa.repair(inst, raw))) == [2, 1]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 2)])
def test_an_assignment_of_another_shape_is_refused(shape):
    inst = lsa.make_instance(**GOOD)
    for function in (link.is_served, objective.channel_load):
        with pytest.raises((ValueError, TypeCheckError), match="assignment"):
            function(inst, jnp.zeros(shape, jnp.int32))
    with pytest.raises(ValueError, match=r"assignment must be 2 integers.* got shape .*; map over"):
        link.as_assignment(inst, jnp.zeros(shape, jnp.int32))
    with pytest.raises(ValueError, match="of float32"):
        link.as_assignment(inst, jnp.zeros(2))


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


def test_fading_of_ones_own_instance_is_not_symmetric():
    inst = lsa.make_instance(np.full(64, 1e-9), np.full(64, 1e7)).replace(fading=True)
    gain = np.asarray(lsa.channel_power(inst))
    above = np.triu_indices(64, 1)
    # |correlation| of 2016 independent pairs; false alarm 1e-4.
    assert abs(np.corrcoef(gain[above], gain.T[above])[0, 1]) < 3.9 / np.sqrt(len(above[0]))


def test_integers_beyond_int32_are_taken_as_floats():
    inst = lsa.make_instance(np.array([1, 2]), np.array([10_000_000, 3_000_000_000]))
    np.testing.assert_allclose(inst.bandwidth_hz, [1e7, 3e9])


def test_version_and_typing_marker():
    assert re.match(r"\d+(\.|\+)", lsa.__version__)
    assert (pathlib.Path(lsa.__file__).parent / "py.typed").exists()

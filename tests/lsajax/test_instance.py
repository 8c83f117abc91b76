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


COUPLED = {"objective": "coupled", "coupling_bps": 1e6, "position_m": [[0, 1], [2, 3]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"received_power_w": [1e-9, -1.0]}, "received_power_w must be finite and at least 0.*-1"),
        ({"received_power_w": [-70, -80.5]}, "got -70.0 at index .*dbm_to_w makes W of dBm"),
        ({"received_power_w": [np.nan, 1]}, r"received_power_w must be .* got nan at index \(0,"),
        ({"received_power_w": "strong"}, "received_power_w must be an array of numbers"),
        (
            {"received_power_w": [[1e-9]]},
            r"received_power_w must have shape \(1,\) or \(1, 3\), got \(1, 1\)",
        ),
        (
            {"received_power_w": np.ones((2, 2, 3))},
            r"received_power_w must be \[users\] or \[users, channels\].*map over a batch",
        ),
        ({"received_power_w": np.full((2, 4), 1.0)}, r"shape \(2,\) or \(2, 3\), got \(2, 4\)"),
        ({"bandwidth_hz": [1e7, 0.0, 1]}, "bandwidth_hz must be finite and above 0, got 0.0"),
        ({"bandwidth_hz": []}, "an instance needs a user and a channel, got 2 and 0"),
        ({"carrier_gain": [1, 1]}, r"carrier_gain must have shape \(3,\), got \(2,\)"),
        ({"carrier_gain": [1, -1, 1]}, "carrier_gain must be finite and above 0, got -1.0"),
        (
            {"interference_w": [1e-9]},
            r"interference_w must have shape \(3,\) or \(2, 3\), got \(1,\)",
        ),
        ({"interference_w": [0, np.inf, 0]}, "interference_w must be finite and at least 0"),
        ({"interference_w": [None, 0, 0]}, "interference_w must be an array of numbers, got .None"),
        ({"occupied": [True]}, r"occupied must have shape \(3,\)"),
        ({"occupied": [0, 2, 7]}, "occupied must be True or False per channel, got int64"),
        ({"user_mask": [1, 0]}, "user_mask must be True or False per user, got int64"),
        ({"user_mask": [True]}, r"user_mask must have shape \(2,\), got \(1,\)"),
        ({"user_id": [4, 4]}, "user_id must be distinct"),
        ({"user_id": [-4, 4]}, "user_id must be at least 0 and fit 32 bits, got -4"),
        ({"user_id": [0.5, 0.7]}, "user_id must be integers, got float64"),
        ({"user_id": [-(2**40), 1]}, "user_id must be at least 0 and fit 32 bits, got -1099"),
        ({"user_id": [1, 2**40]}, "user_id must be at least 0 and fit 32 bits"),
        ({"position_m": [[0, np.nan], [0, 0]]}, "position_m must be finite, got nan"),
        ({"noise_psd_dbm_hz": -np.inf}, "noise_psd_dbm_hz in W/Hz must be .* above 0, got 0.0"),
        ({"snr_gap_db": np.nan}, "snr_gap_db as a ratio must be finite and above 0, got nan"),
        ({"snr_gap_db": "none"}, "snr_gap_db must be an array of numbers, got 'none'"),
        ({"max_spectral_efficiency": 0}, "max_spectral_efficiency must be .* above 0, got 0.0"),
        ({"objective": "fairness"}, "objective must be one of throughput, fair, coupled, got 'fai"),
        ({"objective": "fair", "alpha": -0.5}, "alpha must be finite and at least 0, got -0.5"),
        ({"alpha": 2.0}, "alpha has no effect with objective='throughput'"),
        ({"weight": [0, 0]}, "weight must be above 0 for at least one user, got 0 for all"),
        ({"weight": [0, 1], "user_mask": [True, False]}, "weight must be above 0 for at least"),
        ({"weight": [1, -2]}, "weight must be finite and at least 0, got -2.0"),
        ({"weight": 2.0}, r"weight must have shape \(2,\), got \(\)"),
        ({"min_rate_bps": [1e6] * 3}, r"min_rate_bps must have shape \(2,\), got \(3,\)"),
        ({"min_rate_value": 1.0}, "min_rate_value has no effect without min_rate_bps"),
        ({"coupling": np.zeros((2, 2))}, "coupling has no effect with objective='throughput'"),
        ({"coupling_length_m": 9.0}, "coupling_length_m has no effect with objective='throughpu"),
        ({"objective": "coupled"}, r"coupling_bps \(mu of Eq. \(8\)\) must be given"),
        ({"objective": "coupled", "coupling_bps": 1.0}, "position_m or coupling must be given"),
        ({**COUPLED, "coupling": np.zeros((3, 3))}, r"coupling must have shape \(2, 2\), got \(3,"),
        ({**COUPLED, "coupling": [[0, 1], [2, 0]]}, "coupling must be symmetric and 0 on the diag"),
        ({**COUPLED, "coupling": np.eye(2)}, "coupling must be symmetric and 0 on the diagonal"),
        ({**COUPLED, "leakage": np.zeros((2, 2))}, r"leakage must have shape \(3, 3\), got \(2, 2"),
        ({**COUPLED, "leakage": -np.ones((3, 3))}, "leakage must be finite and at least 0, got -1"),
        (
            {**COUPLED, "coupling": np.zeros((2, 2)), "coupling_length_m": 5.0},
            "coupling_length_m has no effect beside coupling",
        ),
        (
            {**COUPLED, "leakage": np.zeros((3, 3)), "adjacent_leakage": 0.1},
            "adjacent_leakage has no effect beside leakage",
        ),
        (
            {**COUPLED, "adjacent_leakage": 1.5},
            r"adjacent_leakage must be within \[0, 1\], got 1.5",
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


CHANNELS = np.array([2, 0])
value = jax.jit(lsa.objective_value)
PRESENT = {
    "carrier_gain": [0.1, 1.0, 0.2],
    "interference_w": [1e-10, 0.0, 1e-11],
    "fading": lsa.Fading(jnp.zeros(2, jnp.uint32)),
    "snr_gap": 4.0,
    "max_spectral_efficiency": 3.0,
    "weight": [2.0, 0.5],
    "mean_power_w": np.full((2, 3), 1e-10),
    "objective": "fair",
}


@pytest.mark.parametrize("name", PRESENT)
def test_a_part_put_in_takes_effect(name):
    inst = lsa.make_instance(**GOOD)
    part = PRESENT[name]
    part = part if name in ("fading", "objective") else jnp.asarray(part, float)
    changed = inst.replace(**{name: part})
    assert not np.isclose(value(changed, CHANNELS), value(inst, CHANNELS), rtol=1e-3)
    assert name == "mean_power_w" or not changed.sortable or name == "snr_gap"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 2.0}, "alpha has no effect with objective='throughput': replace objective by"),
        ({"coupling": jnp.zeros((2, 2))}, "coupling has no effect with objective='throughput'"),
        ({"leakage": jnp.zeros((3, 3))}, "leakage has no effect with objective='throughput'"),
        ({"coupling_bps": 1e6}, "coupling_bps has no effect .* replace objective by 'coupled' too"),
        ({"min_rate_value": 1.0}, "min_rate_value has no effect without min_rate_bps"),
    ],
)
def test_a_change_that_nothing_reads_is_refused(changes, message):
    changes = {name: jnp.asarray(part) for name, part in changes.items()}
    inst = lsa.make_instance(**GOOD)
    with pytest.raises(ValueError, match=message):
        inst.replace(**changes)
    reader = {"min_rate_value": {"min_rate_bps": jnp.full(2, 1e6)}, "alpha": {"objective": "fair"}}
    (name,) = changes
    coupled = {"objective": "coupled", "coupling_bps": jnp.asarray(1e6)}
    inst.replace(**{**reader.get(name, coupled), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "fairness"}, "objective must be one of throughput, fair, coupled, got 'fai"),
        ({"objective": "coupled"}, "objective 'coupled' has no effect with coupling_bps 0: repl"),
        (
            {"coupling": jnp.zeros((2, 2)), "coupling_length_m": 9.0},
            "coupling_length_m has no effect beside coupling",
        ),
        (
            {"leakage": jnp.zeros((3, 3)), "adjacent_leakage": 0.1},
            "adjacent_leakage has no effect beside leakage",
        ),
    ],
)
def test_an_objective_that_would_be_another_in_silence_is_refused(changes, message):
    coupled = {"objective": "coupled", "coupling_bps": jnp.asarray(1e6)}
    inst = lsa.make_instance(**GOOD)
    with pytest.raises(ValueError, match=message):
        inst.replace(**changes if "objective" in changes else coupled | changes)


def test_an_instance_is_made_under_jit_vmap_and_grad():
    rng = np.random.default_rng(0)
    power, weight = rng.exponential(1e-10, (4, 2, 3)), rng.uniform(1, 2, 2)

    def worth(power, bandwidth, weight, gap_db, alpha):
        inst = lsa.make_instance(
            power, bandwidth, weight=weight, snr_gap_db=gap_db, objective="fair", alpha=alpha,
            interference_w=power / 10, min_rate_bps=1e8, min_rate_value=3.0,
        )  # fmt: skip
        return lsa.objective_value(inst, CHANNELS)

    rest = (np.array(GOOD["bandwidth_hz"]), weight, 3.0, 0.5)
    each = [worth(one, *rest) for one in power]
    np.testing.assert_allclose([jax.jit(worth)(one, *rest) for one in power], each, rtol=1e-5)
    batch = jax.jit(jax.vmap(worth, (0, *(None,) * 4)))(jnp.asarray(power, float), *rest)
    np.testing.assert_allclose(batch, each, rtol=1e-5)
    args = tuple(jnp.asarray(x, float) for x in (power[0], *rest))
    gradients = jax.jit(jax.grad(worth, range(5)))(*args)
    assert all(np.isfinite(g).all() and np.any(g) for g in gradients)
    # What is static is checked all the same.
    with pytest.raises(ValueError, match=r"weight must have shape \(2,\), got \(3,\)"):
        jax.jit(worth)(power[0], rest[0], np.ones(3), 3.0, 0.5)


def test_properties_of_a_batch_are_those_of_one():
    power = jnp.full((5, 2, 3), 1e-9)
    make = jax.vmap(lambda p: lsa.make_instance(p, jnp.full(3, 1e7), interference_w=p))
    batch, one = make(power), lsa.make_instance(power[0], jnp.full(3, 1e7), interference_w=power[0])
    for name in ("num_rows", "num_channels", "power_per_pair", "interference_per_pair",
                 "rate_by_power", "sortable"):  # fmt: skip
        assert getattr(batch, name) == getattr(one, name), name
    assert (one.num_rows, one.num_channels, one.power_per_pair) == (2, 3, True)
    plain = jax.vmap(lambda p: lsa.make_instance(p, jnp.full(3, 1e7)))(power[:, :, 0])
    assert plain.sortable and not plain.power_per_pair


def test_without_coupling():
    coupled = lsa.make_instance(**GOOD, **COUPLED)
    bare = coupled.without_coupling()
    assert bare.objective == "throughput" and lsa.value_matrix(bare).shape == (2, 3)
    assert bare.without_coupling() is bare
    with pytest.raises(ValueError, match="needs a separable objective, got 'coupled'"):
        lsa.value_matrix(coupled)


def test_power_of_a_user_that_is_given_per_pair_is_its_mean_over_idle_channels():
    power = np.array([[1.0, 2.0, 6.0], [3.0, 5.0, 1.0]])
    inst = lsa.make_instance(power, np.ones(3), occupied=np.array([False, True, False]))
    np.testing.assert_allclose(inst.user_power_w, [3.5, 2.0])
    full = inst.replace(occupied=jnp.ones(3, bool))
    np.testing.assert_allclose(full.user_power_w, [3.0, 3.0])
    assert (lsa.repair(full, np.zeros(2, int)) == -1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coupling_length_m": 0.0}, "coupling_length_m must be finite and above 0, got 0.0"),
        ({"adjacent_leakage": np.nan}, r"adjacent_leakage must be within \[0, 1\], got nan"),
        ({"adjacent_leakage": 1.5}, r"adjacent_leakage must be within \[0, 1\], got 1.5"),
        ({"coupling_bps": -1.0}, "coupling_bps must be finite and at least 0, got -1.0"),
        ({"coupling_bps": [1.0, 2.0]}, r"coupling_bps must have shape \(\), got \(2,\)"),
        ({"user_mask": np.ones(2, np.int32)}, "user_mask must be of type bool"),
        ({"bandwidth_hz": np.arange(1, 4)}, "bandwidth_hz must be of type floating, got int"),
        ({"mean_power_w": [-1.0, 1.0]}, "mean_power_w must be finite and at least 0"),
    ],
)
def test_every_field_is_checked(changes, message):
    inst = lsa.make_instance(**GOOD, **COUPLED)
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
    assert tuple(map(int, lsa.violations(inst, raw))) == (1, 0, 0, 0, 0)
    with jax.enable_x64(True):
        raw = jnp.asarray(np.array([2**40, -(2**40)]))
        assert tuple(map(int, lsa.violations(inst, raw))) == (2, 0, 0, 0, 0)
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
    fading = lsa.Fading(jnp.zeros(2, jnp.uint32))
    inst = lsa.make_instance(np.full(64, 1e-9), np.full(64, 1e7), fading=fading)
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

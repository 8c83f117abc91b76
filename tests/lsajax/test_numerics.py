import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import lsajax as lsa
from lsajax import _numerics

pytestmark = pytest.mark.optimised


def others(x, group):
    x = np.asarray(x, np.float64)
    return np.array(
        [np.sum(x[(group == g) & (np.arange(len(x)) != i)]) for i, g in enumerate(group)]
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_sum_of_others_over_any_dynamic_range(dtype):
    """Relative error of a few last places, whatever is 30 decades stronger and where."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == jnp.float64):
        total = jax.jit(_numerics.sum_of_others, static_argnums=2)
        for trial in range(40):
            group = rng.integers(0, 12, 60)
            x = jnp.asarray(10.0 ** rng.uniform(-25, 5, 60), dtype)
            if trial % 4 == 0:  # ties, zeros and near ties
                x = jnp.asarray(rng.choice([0.0, 1e-12, 1.0000001e-12, 1e-3], 60), dtype)
            got = total(x, jnp.asarray(group, jnp.int32), 12)
            expected = others(x, group)
            np.testing.assert_allclose(got, expected, rtol=30 * jnp.finfo(dtype).eps)


def test_sum_of_others_leaves_out_those_without_a_group():
    got = _numerics.sum_of_others(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 3, 0]), 3)
    np.testing.assert_array_equal(got[jnp.array([0, 2])], [4.0, 1.0])


def test_sum_of_others_has_the_gradient_of_a_sum():
    with jax.enable_x64(True):
        group = jnp.array([0, 0, 1, 0, 1], jnp.int32)
        x = jnp.array([3.0, 1.0, 2.0, 3.0, 5.0])
        jacobian = jax.jacobian(lambda v: _numerics.sum_of_others(v, group, 2))(x)
    np.testing.assert_array_equal(jacobian, (group[:, None] == group) & ~np.eye(5, dtype=bool))


def test_log1p_ratio_has_a_finite_gradient_at_a_faint_floor():
    for a, b in ((1e-13, 4e-21), (1e-20, 1e-30), (0.0, 1e-25)):
        slopes = jax.grad(_numerics.log1p_ratio, (0, 1))(jnp.float32(a), jnp.float32(b))
        np.testing.assert_allclose(slopes, [1 / (a + b), -a / b / (a + b)], rtol=1e-5)
    assert np.isfinite(_numerics.log1p_ratio(jnp.float32(1.0), jnp.float32(1e-38 / 4)))
    with jax.enable_x64(True):
        check_grads(lambda a, b: _numerics.log1p_ratio(*map(jnp.asarray, (a, b))), (2.0, 0.3), 2)


@pytest.mark.parametrize("x", [5_800_000_000, np.int64(5_800_000_000), np.array([5_800_000_000])])
def test_integers_beyond_int32_become_floats(x):
    got = _numerics.as_float(x)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, np.asarray(x, float), rtol=1e-7)


NUMBERS = {
    "floats": lambda rng: rng.normal(size=200).astype(np.float32),
    "few values": lambda rng: rng.choice(np.float32([-1, -0.0, 0.0, 1, np.inf, -np.inf]), 200),
    "with NaN": lambda rng: rng.choice(np.float32([np.nan, -np.nan, 2, -3e-45, np.inf]), 200),
    "near 0": lambda rng: rng.choice(np.float32([1e-38, -1e-38, 1.2e-38, -0.0, 0.0]), 200),
    "int32": lambda rng: rng.integers(-(2**31), 2**31, 200).astype(np.int32),
    "few integers": lambda rng: rng.integers(-3, 3, 200).astype(np.int32),
    "uint32": lambda rng: rng.integers(0, 2**32, 200).astype(np.uint32),
    "one": lambda rng: np.float32([3]),
    "none": lambda rng: np.float32([]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_argsort_is_the_stable_one(name):
    rng = np.random.default_rng(0)
    x = np.stack([NUMBERS[name](rng) for _ in range(20)])
    expected = np.argsort(x, axis=1, kind="stable")
    np.testing.assert_array_equal(jax.jit(jax.vmap(_numerics.argsort))(x), expected)
    np.testing.assert_array_equal(jax.vmap(jax.jit(_numerics.argsort))(x), expected)
    alone = _numerics.argsort(jnp.asarray(x[0]))
    assert alone.dtype == jnp.int32
    np.testing.assert_array_equal(alone, expected[0])


def test_argsort_of_float64():
    x = np.random.default_rng(0).normal(size=50)
    with jax.enable_x64(True):
        got = _numerics.argsort(jnp.asarray(x))
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, np.argsort(x, kind="stable"))


def test_argsort_lets_gradients_pass():
    """Within a scan, under vmap, jit and reverse mode: its 64-bit words stay inside."""

    def weighted(x):
        def step(total, row):
            return total + jnp.sum(row[_numerics.argsort(row)] * jnp.arange(row.size)), None

        return jax.lax.scan(step, 0.0, x)[0]

    x = np.random.default_rng(0).normal(size=(3, 4, 7)).astype(np.float32)
    grad = jax.jit(jax.vmap(jax.grad(weighted)))(x)
    assert grad.dtype == jnp.float32
    np.testing.assert_array_equal(grad, np.argsort(np.argsort(x, axis=-1), axis=-1))


def test_a_first_call_outside_of_jit_is_few_programs():
    """As many compilations as a user waits for; each operation by itself would be dozens."""
    scenario = lsa.Scenario(num_users=31, num_channels=37, num_active=17, fading=True)
    key = jax.random.key(0)
    inst = lsa.sample_instance(key, scenario)
    raw = np.arange(17) % 5
    calls = {
        "value_matrix": lambda: lsa.value_matrix(inst),
        "repair": lambda: lsa.repair(inst, raw),
        "objective_value": lambda: lsa.objective_value(inst, raw),
        "violations": lambda: lsa.violations(inst, raw),
    }
    compiled = []

    def listen(event, duration_s, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(duration_s)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for name, call in calls.items():
            jax.clear_caches()
            compiled.clear()
            jax.block_until_ready(call())
            assert 1 <= len(compiled) <= 2, name
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)

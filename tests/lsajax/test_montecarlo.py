"""Studies in memory: beside NumPy, on eight devices, on two processes, and what they refuse."""

import os
import pathlib
import socket
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsajax as lsa
from lsajax import montecarlo
from tests.lsajax.runs import study_program as program

pytestmark = pytest.mark.optimised

ROOT = pathlib.Path(__file__).parents[2]
KEY = jax.random.key(7)


def start(environment=None, **options):
    """The program in a process of its own."""
    import json

    return subprocess.Popen(
        [sys.executable, "-m", "tests.lsajax.runs.study_program", json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})},
    )


def end(process):
    import json

    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    return program.run(rows=True)


def test_values_are_those_of_one_realisation_at_a_time(found):
    rows = found.rows
    assert rows["sum"].shape == (1000,) and rows["rate"].shape == (1000, 8)
    one = jax.jit(lambda i: program.measure(*montecarlo.draw(KEY, program.SCENARIO, i)))
    for index in (0, 15, 16, 517, 999):
        # Sums of floats differ by batch shape.
        np.testing.assert_allclose(rows["rate"][index], one(index)["rate"], rtol=2e-6)
    assert len(np.unique(rows["sum"])) > 990  # no realisation comes twice
    summary = found.summaries["sum"]
    exact = rows["sum"].astype(float)
    assert found.realizations == summary.count == 1000
    assert summary.mean == pytest.approx(exact.mean(), rel=1e-14)
    assert summary.variance == pytest.approx(exact.var(ddof=1), rel=1e-12)
    assert summary.quantile(0.5) == pytest.approx(
        np.quantile(exact, 0.5, method="inverted_cdf"), rel=2e-4
    )
    by_user = found.summaries["rate"]
    np.testing.assert_allclose(by_user.mean, rows["rate"].astype(float).mean(axis=0), rtol=1e-13)
    assert by_user.sketch.counts.sum() == 8000


def test_the_mean_is_the_expectation():
    # Of a measure with a known law: uniform in (0, 1). |mean - 1/2| is beyond 5 standard errors
    # with probability 6e-7.
    found = montecarlo.study(
        KEY, program.SCENARIO, lambda key, inst: jax.random.uniform(key), 20_000, chunk=1000
    )
    assert abs(found.summaries.mean - 0.5) < 5 * np.sqrt(1 / 12 / 20_000)
    assert found.summaries.variance == pytest.approx(1 / 12, rel=0.05)


def test_a_study_of_more_begins_with_the_study_of_fewer(found):
    fewer = program.run(realizations=100, rows=True)
    for name in ("sum", "rate"):
        np.testing.assert_array_equal(fewer.rows[name], found.rows[name][:100])


def test_a_chunk_is_compiled_once_and_progress_counts_realisations():
    traced, seen = [], []

    def measure(key, inst):
        traced.append(1)
        return jnp.sum(inst.mean_power_w)

    montecarlo.study(
        KEY, program.SCENARIO, measure, 90, chunk=16, progress=lambda *at: seen.append(at)
    )
    # Once for the shapes of the outputs, once to compile.
    assert len(traced) == 2
    assert [done for done, _ in seen] == [16, 32, 48, 64, 80, 90] and {n for _, n in seen} == {90}


def test_the_default_chunk_follows_the_memory_that_the_compiler_counts():
    small = lsa.Scenario(num_users=20, num_channels=20, num_active=10)
    large = lsa.Scenario(num_users=2000, num_channels=2000, num_active=1000)

    def matrix(key, inst):
        rates = lsa.rate_matrix(inst)
        return jnp.sum(jnp.cumsum(rates, axis=0)[jnp.argmax(rates, axis=0), 0])

    assert montecarlo.default_chunk(small, lambda key, inst: inst.bandwidth_hz[0]) == 1024
    chunk = montecarlo.default_chunk(large, matrix)
    # A matrix of 8 MB a realisation, twice or so, within 256 MiB.
    assert 4 <= chunk <= 32


def test_eight_devices_and_two_processes_give_the_same_bits(found):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    running = [start(eight), *(start(process=i, port=port) for i in range(2))]
    answers = [end(process) for process in running]
    assert [answer["devices"] for answer in answers] == [8, 2, 2]
    assert {answer["digest"] for answer in answers} == {program.digest(found.summaries)}


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda key, inst: {"a": "word"}, "pytree of numbers that jits; tracing it: "),
        (lambda key, inst: key, "pytree of numbers that jits, each .*'value' came of type key"),
        (lambda key, inst: 1j * inst.bandwidth_hz[0], "'value' came of type complex64"),
        (lambda key, inst: {}, "that jits, got none"),
        (lambda key, inst: None, "that jits, got none"),
        (lambda key, inst: jnp.nonzero(inst.occupied)[0], "that jits; tracing it: Abstract tracer"),
        (lambda key, inst: float(inst.bandwidth_hz[0]), "that jits; tracing it: "),
        (lambda key, inst: inst.bandwidth_hz[inst.occupied], "that jits; tracing it: .*boolean"),
        (lambda inst: 0.0, "that jits; tracing it: .*takes 1 positional argument"),
        (lambda key, inst: {"a.b": 1.0, "a": {"b": 1.0}}, "'a.b' came twice"),
    ],
)
def test_a_measure_that_is_none_is_refused_in_a_sentence(measure, message):
    with pytest.raises(ValueError, match=f"measure must be a function .*{message}"):
        montecarlo.study(KEY, program.SCENARIO, measure, 10, chunk=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"realizations": 0}, "realizations must be within 1..4294967296, got 0"),
        ({"realizations": 2**32 + 1}, "realizations must be within"),
        ({"realizations": 10.0}, "realizations must be an integer, got 10.0"),
        ({"chunk": 0}, "chunk must be within 1..16777216, got 0"),
        ({"chunk": True}, "chunk must be an integer, got True"),
        ({"key": jax.random.split(KEY)}, "key must be one, got a batch"),
        ({"key": 0}, "key must be a key of jax.random.key, got int"),
        ({"workers": 2}, "workers needs out, the folder that processes share; got 2"),
        ({"shard": (0, 2)}, "shard needs out"),
        ({"ray": "local"}, "ray needs out"),
        ({"scenario": program.SCENARIO.replace(radius_m=jnp.ones(3))}, "radius_m has shape"),
        ({"scenario": None}, "scenario must be a Scenario, got NoneType"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(change, message):
    good = {"key": KEY, "scenario": program.SCENARIO, "measure": program.measure}
    with pytest.raises(ValueError, match=message):
        montecarlo.study(**{**good, "realizations": 10, **change})


def test_numbers_of_any_kind_and_scalars_of_python():
    def measure(key, inst):
        return (1, True, jnp.sum(inst.occupied), [inst.bandwidth_hz[0].astype(jnp.bfloat16)])

    found = montecarlo.study(KEY, program.SCENARIO, measure, 50, chunk=8, sketch=True, rows=True)
    one, true, taken, (band,) = found.summaries
    assert one.mean == 1 and one.variance == 0 and true.mean == 1 and true.quantile(0.5) == 1
    assert taken.mean == pytest.approx(found.rows[2].mean()) and band.count == 50
    chex.assert_trees_all_equal_structs(found.rows, (0, 0, 0, [0]))

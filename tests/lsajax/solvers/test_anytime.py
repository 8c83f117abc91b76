"""The driver of wall-clock budgets, on a search that only counts."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from lsajax.solvers import _anytime


def counting(log, chunk=2**20, seconds=0.0):
    """Two phases that note how they are called; the state counts iterations."""

    def advance(phase):
        def step(state, iterations, begin, end):
            log.append((phase, iterations, begin, end))
            time.sleep(seconds)
            return state + iterations

        return step

    phases = (_anytime.Phase(advance(0), 0.25), _anytime.Phase(advance(1), 0.75))
    return _anytime.Search(lambda: jnp.int32(0), phases, lambda s: s, lambda s: s, chunk)


def test_steps_are_shared_out():
    log = []
    assert _anytime.run_steps(counting(log), 100) == 100
    assert log == [(0, 25, 0.0, 1.0), (1, 75, 0.0, 1.0)]


def test_a_budget_is_shared_out_and_kept():
    log = []
    state, trace = _anytime.run_budget(counting(log, seconds=1e-3), 0.2, jnp.zeros(3), "shared")
    log = log[2:]  # the run that compiles
    assert state == sum(iterations for _, iterations, _, _ in log) == trace.value[-1]
    assert (np.diff(trace.time_s) > 0).all() and len(trace.time_s) == len(log)
    first, second = (trace.time_s[[phase == k for phase, *_ in log]] for k in (0, 1))
    assert first[-1] >= 0.05 and second[-1] >= 0.2 and second[-2] < 0.2
    assert log[0][1:3] == (8, 0.0) and all(begin <= end <= 1 for *_, begin, end in log)


def test_a_search_may_look_at_the_clock_after_every_iteration():
    log = []
    _anytime.run_budget(counting(log, chunk=1), 0.01, jnp.zeros(3), "single")
    assert {iterations for _, iterations, _, _ in log} == {1}


def test_what_is_compiled_is_run_once_beforehand():
    def runs(*static, shape=(3,)):
        log = []
        _anytime.run_budget(counting(log), 1e-9, jnp.zeros(shape), *static)
        return len(log) // 2

    assert runs("once") == 2
    assert runs("once") == 1
    assert runs("once", shape=(4,)) == 2
    assert runs("another") == 2
    jax.clear_caches()
    assert runs("once") == 2

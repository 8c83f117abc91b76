"""Weights that ship: they load by name, and decide better than the rule they start from."""

import jax
import numpy as np
import pytest

import lsajax as lsa

pytest.importorskip("flax")
from lsajax.agents import dual, sequential, shipped


def test_names_are_checked():
    with pytest.raises(ValueError, match=r"name must be one of dual, sequential.*, got 'none'"):
        shipped.load("none")
    with pytest.raises(ValueError, match=r"layers \['around', .*got 'dual' with"):
        sequential.load("dual")
    with pytest.raises(ValueError, match="must have the dual head's layers"):
        dual.load("sequential")


@pytest.mark.parametrize(
    "objective", ["throughput", pytest.param("coupled", marks=pytest.mark.slow)]
)
def test_a_shipped_agent_beats_greed(objective):
    """On 32 slots with fading of a size that it was not trained at; by far more than chance."""
    scenario = lsa.SMALL_SCALES[15, 20, 8].replace(fading=True, objective=objective)
    name = "sequential_coupled" if objective == "coupled" else "sequential"
    agent = sequential.make_solver(sequential.load(name))

    @jax.jit
    @jax.vmap
    def values(key):
        inst = lsa.sample_instance(key, scenario)
        found = agent(key, inst)
        broken = lsa.violations(inst, found.assignment)
        return found.value, lsa.solvers.greedy(key, inst).value, broken

    agents, greedy, violations = values(jax.random.split(jax.random.key(3), 32))
    assert all(int(np.sum(count)) == 0 for count in violations)
    gain = np.asarray(agents / greedy - 1)
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(gain.size) > 0

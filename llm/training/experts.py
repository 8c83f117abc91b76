"""What an expert answers: the right program for a cell, and the best mapping for an instance."""

import jax
import numpy as np

import lsajax as lsa
from llm.decision.slot import host_slot
from llm.sandbox import Sandbox
from llm.training.evaluation import right_families
from llm.training.programs import PROGRAMS
from llm.training.prompts import Cell


def right_program(cell: Cell, box: Sandbox, *, seed: int) -> str:
    """The simplest family that is right in a cell, see `evaluation.right_families`.

    Raises:
        ValueError: no program ends in the cell's time budget here.
    """
    found = right_families(box, [cell], seed=seed)[cell]
    if not found:
        raise ValueError(f"no program of an expert is valid in {cell} here: give more time")
    return found[0]


def program_text(family: str) -> str:
    """An expert's program of a family, as the prompt asks for it."""
    return f"```python\n{PROGRAMS[family]}```"


def best_mapping(inst: lsa.Instance, *, seed: int = 0) -> dict[int, int]:
    """User id -> channel id of the best assignment.

    The exact optimum where the objective is separable; under 'coupled' what local search finds.

    Args:
        inst: one instance.
        seed: of the local search.
    """
    with jax.default_device(jax.devices("cpu")[0]):
        found = (
            _coupled(jax.random.key(seed), inst) if inst.objective == "coupled" else _exact(inst)
        )
        assignment = np.asarray(found)
    slot = host_slot(inst)
    channels = assignment[slot.rows]
    pairs = zip(slot.users.tolist(), channels.tolist(), strict=True)
    return {user: channel for user, channel in sorted(pairs) if channel >= 0}


def mapping_text(mapping: dict[int, int]) -> str:
    """A mapping as the prompt asks for it."""
    return f"action = {mapping}"


@jax.jit
def _exact(inst: lsa.Instance) -> jax.Array:
    return lsa.solvers.hungarian(jax.random.key(0), inst).assignment


@jax.jit
def _coupled(key: jax.Array, inst: lsa.Instance) -> jax.Array:
    return lsa.solvers.local_search(key, inst).assignment

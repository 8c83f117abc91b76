"""What an expert answers: the right program for a cell, and the best mapping for an instance."""

from collections.abc import Sequence

import jax
import numpy as np

import lsajax as lsa
from llm.decision.slot import host_slot
from llm.sandbox import Sandbox
from llm.training.prompts import Cell, Stream
from llm.training.rewards import Terms, score

_SORT = """\
order = np.argsort(-power_w.mean(axis=1))
best = np.argsort(-bandwidth_hz)
action = {int(users[i]): int(channels[j]) for i, j in zip(order, best)}
"""

_GREEDY = """\
free = np.ones(len(channels), bool)
action = {}
for i in np.argsort(-power_w.mean(axis=1))[:len(channels)]:
    j = int(np.argmax(np.where(free, value(i, np.arange(len(channels))), -np.inf)))
    free[j] = False
    action[int(users[i])] = int(channels[j])
"""

_LAP = """\
from scipy.optimize import linear_sum_assignment
rows, cols = linear_sum_assignment({of}, maximize=True)
action = {{int(users[i]): int(channels[j]) for i, j in zip(rows, cols)}}
"""

_IMPROVE = """\
import time
from scipy.optimize import linear_sum_assignment
end = time.process_time() + 0.7 * time_budget_s
rows, cols = linear_sum_assignment(values(), maximize=True)
held = np.full(len(users), -1)
held[rows] = cols
top = objective(held)
rng = np.random.default_rng(0)
for _ in range(5000):
    if time.process_time() > end:
        break
    a, c = rng.integers(len(users)), rng.integers(len(channels))
    trial = held.copy()
    trial[held == c], trial[a] = held[a], c
    new = objective(trial)
    if new > top:
        held, top = trial, new
action = {int(users[i]): int(channels[j]) for i, j in enumerate(held) if j >= 0}
"""

PROGRAMS = {
    "sort": _SORT,
    "greedy": _GREEDY,
    "LAP on rates": _LAP.format(of="rate_bps()"),
    "LAP on values": _LAP.format(of="values()"),
    "LAP and local search": _IMPROVE,
}
"""An expert's programs, the simplest first."""

TOLERANCE = 1e-3
"""Of two programs whose reward differs by less the simpler one is right: 0.1 % of the way from the
mean of random answers to the best."""


def completion(code: str) -> str:
    """A program as the prompt asks for it."""
    return f"```python\n{code}```"


def right_program(cell: Cell, box: Sandbox, *, seed: int, slots: int = 4) -> str:
    """The key of `PROGRAMS` that is right for a cell: what runs best there, in its time.

    All run in the sandbox on the same instances, so that a time budget that is too short for one
    of them here rules it out.

    Args:
        cell: what is asked.
        box: runs the programs.
        seed: of the instances.
        slots: instances, at most 4.
    """
    (entry,) = Stream([cell], 1, seed=seed, slots=slots, purpose="experts")
    texts = [completion(code) for code in PROGRAMS.values()]
    scores = score(
        texts,
        [entry] * len(texts),
        box,
        terms=Terms(form="ranked"),
        budget_s=cell.time_budget_s,
    )
    return simplest(list(PROGRAMS), scores.total)


def simplest(names: Sequence[str], totals: np.ndarray) -> str:
    """The first that is as good as the best, within `TOLERANCE`."""
    good = np.asarray(totals) >= np.max(totals) - TOLERANCE
    return names[int(np.argmax(good))]


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

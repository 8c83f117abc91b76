"""What every solver returns."""

import enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int


class Status(enum.IntEnum):
    """How far a solver got; carried as an `i32[]` so that it passes through jit and vmap."""

    FEASIBLE = 0
    """A valid assignment; nothing is claimed about its distance from the optimum."""
    OPTIMAL = 1
    """The exact optimum of the problem that was asked."""
    INFEASIBLE = 2
    """No assignment satisfies the masks; the assignment is -1 everywhere."""
    ITERATION_LIMIT = 3
    """The method ended without a valid assignment; the one that it returns is not to be used."""


def status_name(status: Int[Array, ""] | int) -> str:
    """Lower-case name of a concrete (not traced) status, e.g. `'optimal'`."""
    return Status(int(status)).name.lower()


class Duals(NamedTuple):
    """Dual variables of a linear assignment problem, in its unit.

    For a minimisation they are feasible when `row[i] + column[j] <= cost_matrix[i, j]` (`>=` for a
    maximisation) at every permitted pairing; `certify` checks this.

    Attributes:
        row: of each row.
        column: of each column.
    """

    row: Float[Array | np.ndarray, "n"]
    column: Float[Array | np.ndarray, "m"]


class Trace(NamedTuple):
    """The best value found so far, by time, of a solver that can be stopped at any point.

    Attributes:
        time_s: seconds since the solver began (compile time left out); NaN where not measured
            (jit).
        value: objective after each step, in the objective's unit (bit/s for an instance).
    """

    time_s: Float[Array | np.ndarray, "steps"]
    value: Float[Array | np.ndarray, "steps"]


class Solution(NamedTuple):
    """An assignment with its value and what is known about it.

    Attributes:
        assignment: i32[n], the column (channel) of each row (user), -1 for none.
        value: f[], objective of `assignment` in the unit of the problem.
        status: i32[], a `Status`.
        duals: certificate of optimality, where the method has one.
        trace: progress over time, where the method is an anytime one.
    """

    assignment: Int[Array, "n"]
    value: Float[Array | np.ndarray, ""]
    status: Int[Array, ""]
    duals: Duals | None = None
    trace: Trace | None = None

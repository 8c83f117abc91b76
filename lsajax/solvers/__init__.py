"""Solvers: one file per method, one signature `solver(key, inst, **options) -> Solution`.

The exact solvers return duals, with which `certify` proves the optimum. Matrix-level problems have
their own entries: `linear_sum_assignment` and `quadratic_assignment`.
"""

from lsajax.solvers.certificate import certify
from lsajax.solvers.evolution import evolution
from lsajax.solvers.exhaustive import exhaustive
from lsajax.solvers.greedy import greedy
from lsajax.solvers.grouped import grouped
from lsajax.solvers.hungarian import hungarian
from lsajax.solvers.linear_assignment import assignment_kernel, linear_sum_assignment
from lsajax.solvers.local_search import coupled_bound, local_search
from lsajax.solvers.quadratic_assignment import gilmore_lawler_bound, quadratic_assignment
from lsajax.solvers.random import random
from lsajax.solvers.solution import Duals, Solution, Status, Trace, status_name
from lsajax.solvers.sorted_matching import sorted_matching

__all__ = [
    "Duals",
    "Solution",
    "Status",
    "Trace",
    "assignment_kernel",
    "certify",
    "coupled_bound",
    "evolution",
    "exhaustive",
    "gilmore_lawler_bound",
    "greedy",
    "grouped",
    "hungarian",
    "linear_sum_assignment",
    "local_search",
    "quadratic_assignment",
    "random",
    "sorted_matching",
    "status_name",
]

"""The exact optimum of an instance with a separable objective."""

import jax

from lsajax import objective
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers import linear_assignment
from lsajax.solvers.solution import Duals, Solution
from lsajax.solvers.sorted_matching import sorted_matching

METHODS = ("auto", "sorted", *linear_assignment.METHODS[1:])


def hungarian(
    key: jax.Array,
    inst: Instance,
    *,
    method: str = "auto",
    init_duals: Duals | None = None,
) -> Solution:
    """The best of all assignments (Kuhn-Munkres), LSA Eq. (4)-(7) for one slot.

    `auto` chooses by what is static: sorting in O(N log N) on a `sortable` instance, otherwise
    the fastest exact solver that is there (see `linear_sum_assignment`) on the value matrix.

    Args:
        key: unused; the method is deterministic.
        inst: one slot.
        method: 'auto', 'sorted', 'host' or 'device'.
        init_duals: duals of a similar slot, such as the last one; ignored by 'sorted'.

    Returns:
        Solution with status OPTIMAL and duals, which `certify` checks on `value_matrix(inst)`.

    Raises:
        ValueError: unknown method, 'sorted' on an instance that is not `sortable`, or the objective
            is 'coupled': `inst.without_coupling()` is its linear part.
    """
    check_one_slot(inst)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if method == "sorted" and not inst.sortable:
        raise ValueError(
            "method 'sorted' needs the throughput, power alike on all channels, and no "
            "interference, weights, minimum rates or cap"
        )
    objective.check_separable(inst, "hungarian")
    if inst.sortable and method in ("auto", "sorted"):
        return sorted_matching(key, inst)
    return linear_assignment.linear_sum_assignment(
        objective.value_matrix(inst),
        maximize=True,
        row_mask=inst.user_mask,
        col_mask=~inst.occupied,
        method=method,
        init_duals=init_duals,
    )

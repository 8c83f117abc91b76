"""Local search, for the extended, quadratic objective of Eq. (8) above all."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lsajax import coupling, hashing, link, objective
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.repair import repair
from lsajax.solvers import _anytime, _coupled_quadratic, _local_moves
from lsajax.solvers._local_moves import Start
from lsajax.solvers.certificate import certify
from lsajax.solvers.hungarian import hungarian
from lsajax.solvers.linear_assignment import linear_sum_assignment
from lsajax.solvers.solution import Solution, Status, Trace

DENSE_LIMIT = 64
"""Up to so many users and channels all swaps are valued in each step, and tabu search follows."""
HOT = (0.3, 0.01)
"""First temperatures of the chains, relative to the mean effect of a swap: between these two."""
COLD = 0.01
"""Last temperature relative to the first."""
_ROUNDING = 32  # of a value less its losses, generously [machine epsilons of the value]


def local_search(
    key: jax.Array,
    inst: Instance,
    *,
    steps: int = 2000,
    budget_s: float | None = None,
    chains: int = 16,
    initial: ArrayLike | None = None,
) -> Solution:
    """Maximises the instance's objective by many chains of swaps; made for 'coupled', Eq. (8).

    Starts from the exact optimum of the separable part (or `initial`), and is never worse than
    that; of a separable objective that optimum is the answer. Small instances are a quadratic
    assignment problem with a linear term: annealing, then robust tabu search, with all swaps valued
    in each step, see `_coupled_quadratic`. Large ones use that leakage ends two channels away, see
    `_local_moves`, but for those with a `leakage` of their own, which may reach far. As many users
    are served as there are idle channels.

    Args:
        key: PRNG key.
        inst: one slot.
        steps: steps of each chain; works under jit and vmap.
        budget_s: wall-clock seconds instead, after compilation; needs a concrete instance.
        chains: independent searches.
        initial: i32[users] assignment to start from. It is repaired first (`lsajax.repair`), which
            serves unserved users and ignores padded rows; a concrete one must be feasible.

    Returns:
        Solution with status FEASIBLE, and with `budget_s` a trace; that of `hungarian` where the
        objective is separable and there is no `initial`.

    Raises:
        ValueError: `steps` or `chains` below 1, `budget_s` not above 0, traced input with
            `budget_s`, or a concrete `initial` that is not feasible.
    """
    check_one_slot(inst)
    if steps < 1 or chains < 1:
        raise ValueError(f"steps and chains must be at least 1, got {steps} and {chains}")
    if budget_s is not None:
        _anytime.check_budget(budget_s)
        _anytime.check_concrete("local_search with budget_s", (key, inst, initial))
    if initial is not None:
        initial = _check_initial(inst, initial)
    if inst.objective != "coupled" and initial is None:
        return hungarian(key, inst)
    if max(inst.num_rows, inst.num_channels) < 2:
        steps, budget_s = 0, None
    if budget_s is None:
        return _by_steps(key, inst, initial, steps, chains)
    # Not as single operations: the clock sees what comes before the first move, too.
    search = _search(key, inst, initial, chains)._replace(
        init=partial(_init, key, inst, initial, chains)
    )
    inputs = (key, inst, initial)
    state, trace = _anytime.run_budget(search, budget_s, inputs, "local_search", chains)
    return _solution(inst, state.start.assignment, search.read(state), trace)


def _check_initial(inst: Instance, initial: ArrayLike) -> Int[Array, "users"]:
    start = link.as_assignment(inst, initial)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((inst, start))):
        return start
    with jax.ensure_compile_time_eval():  # known under jit too, if both were closed over
        broken = objective.violations(inst, start)._asdict()
        harmless = ("unserved", "below_min_rate")
        kinds = {
            kind: int(count) for kind, count in broken.items() if kind not in harmless and count
        }
    if kinds:
        raise ValueError(f"initial must be a feasible assignment, got violations {kinds}")
    return start


@partial(jax.jit, static_argnames=("steps", "chains"))
def _by_steps(
    key: jax.Array, inst: Instance, initial: Array | None, steps: int, chains: int
) -> Solution:
    if steps == 0:
        start = _start(key, inst, initial, chains).assignment
        return _solution(inst, start, start, None)
    search = _search(key, inst, initial, chains)
    state = _anytime.run_steps(search, steps)
    return _solution(inst, state.start.assignment, search.read(state), None)


@partial(jax.jit, static_argnames="chains")
def _init(key: jax.Array, inst: Instance, initial: Array | None, chains: int) -> Any:
    return _search(key, inst, initial, chains).init()


def _search(key: jax.Array, inst: Instance, initial: Array | None, chains: int) -> _anytime.Search:
    places = max(inst.num_rows, inst.num_channels)
    small = inst.leakage is not None or places <= max(DENSE_LIMIT, _local_moves.smallest())
    search = _coupled_quadratic.search if small else _local_moves.search
    begin = partial(_start, key, inst, initial, chains)
    return search(hashing.named_key(key, "local search"), inst, COLD, begin)


def _start(key: jax.Array, inst: Instance, initial: Array | None, chains: int) -> Start:
    """Temperatures are relative to the mean change of value when served users move at random.

    How much of it is worth accepting depends on the setting (with fading nearly every move is far
    too bad), so the chains start from different temperatures.
    """
    linear = inst.without_coupling()
    start = hungarian(key, linear).assignment if initial is None else repair(inst, initial)
    served = link.is_served(inst, start)
    idle = jnp.maximum(jnp.sum(~inst.occupied), 1)
    random_value = jnp.sum(objective.value_matrix(linear), axis=1) / idle
    change = jnp.abs(objective.assigned_values(inst, start) - random_value)
    mean = jnp.sum(jnp.where(served, change, 0.0)) / jnp.maximum(jnp.sum(served), 1)
    # With values all alike the coupling alone sets the scale.
    scale = jnp.maximum(mean, _local_moves.most_loss(inst) / 80)
    scale = jnp.maximum(scale, jnp.finfo(scale.dtype).tiny * 1e6)
    hot = scale * jnp.geomspace(*HOT, chains).astype(scale.dtype)
    return Start(start, objective.feasible_value(inst, start), hot)


def _solution(
    inst: Instance, start: Int[Array, "users"], found: Int[Array, "users"], trace: Trace | None
) -> Solution:
    value, before = (objective.feasible_value(inst, a) for a in (found, start))
    assignment = jnp.where(value >= before, found, start)
    value = jnp.maximum(value, before)
    return Solution(assignment, value, jnp.int32(Status.FEASIBLE), trace=trace)


@jax.jit
def coupled_bound(inst: Instance) -> Float[Array, ""]:
    """Upper bound on the objective over assignments that serve as many users as they can.

    In the manner of Gilmore and Lawler: each user on each channel loses at least what it would
    beside the users that it couples least with, as few as there must be; the values less these
    losses are a linear assignment problem. Where idle channels outnumber the users by as many as
    a channel has neighbours (four), all of these may be empty, and the bound is the optimum of the
    separable part alone, as it is for a separable objective.

    Values and what the solver leaves open are rounded up, in float32 by four millionths in all, so
    that the bound is one for exact arithmetic too.
    """
    check_one_slot(inst)
    K = inst.num_rows
    values = objective.value_matrix(inst.without_coupling())
    leakage = jnp.where(inst.occupied, 0.0, coupling.channel_leakage(inst))
    empty = jnp.maximum(jnp.sum(~inst.occupied) - jnp.sum(inst.user_mask), 0)
    others = inst.user_mask & ~jnp.eye(K, dtype=bool)
    weakest = jnp.sort(jnp.where(others, coupling.user_coupling(inst), jnp.inf), axis=1)
    reach = 2 * coupling.LEAKAGE_REACH if inst.leakage is None else inst.num_channels - 1
    near = min(reach, K)
    weakest = jnp.where(jnp.isfinite(weakest[:, :near]), weakest[:, :near], 0.0)
    strongest = -jnp.sort(-leakage, axis=1)[:, :reach]
    # The strongest neighbours stay empty, the next is the least coupled user, and so on.
    order = jnp.arange(strongest.shape[1]) - empty
    taken = (order >= 0) & (order < near)
    weight = weakest[:, jnp.where(taken, order, 0)] * taken if near else jnp.zeros((K, order.size))
    least = jnp.einsum("kp,mp->km", weight, strongest, precision=lax.Precision.HIGHEST)
    # Losses count where they are smaller than the value: its share covers their rounding too.
    values = values * (1 + _ROUNDING * jnp.finfo(values.dtype).eps)
    gain = jnp.maximum(values - _local_moves.strength(inst) * least, 0.0)
    optimum = linear_sum_assignment(gain, maximize=True)
    return jnp.asarray(optimum.value + certify(gain, optimum, maximize=True))

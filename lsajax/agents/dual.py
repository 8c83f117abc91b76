"""The dual head: a network predicts the prices of the channels of one slot, in one pass.

Prices v_m >= 0 of any origin prove a bound, D(v) = sum_i max(0, max_m (v_im - v_m)) + sum_m v_m,
which is the optimum at its minimum. So D trains the network without a label; its prices start the
exact solver, whose answer is exact whatever they are, or guide a greedy decode.

The network pools by means and maxima over ratios, see `_dual_network`: weights that were trained on
dozens of users serve thousands.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from lsajax import objective
from lsajax._numerics import argsort
from lsajax.agents import shipped
from lsajax.agents._dual_network import DualNetwork, complete, dual_objective, predict
from lsajax.agents._dual_training import Config, Metrics, Params, init, train
from lsajax.instance import Instance
from lsajax.repair import repair
from lsajax.solvers.hungarian import hungarian
from lsajax.solvers.linear_assignment import linear_sum_assignment
from lsajax.solvers.solution import Duals, Solution, Status

__all__ = [
    "Config",
    "Metrics",
    "Params",
    "complete",
    "decode",
    "dual_objective",
    "init",
    "load",
    "make_solver",
    "prices",
    "train",
    "unflatten",
]

_LAYERS = {"base_in", "base_hidden", "base_out", "read_in", "read_hidden", "read_out"}


def prices(
    params: Params,
    values: Float[Array, "users channels"],
    user_mask: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
    *,
    candidates: int = 16,
) -> Float[Array, "channels"]:
    """The predicted price of each channel, at least 0, 0 at closed ones, in the values' unit."""
    hidden = params["params"]["base_hidden"]["bias"].shape[0]
    rounds = params["params"]["damping"].shape[0]
    network = DualNetwork(hidden, candidates, rounds)
    return predict(network, params, values, user_mask, idle)


def make_solver(
    params: Params, *, exact: bool = True, candidates: int = 16
) -> Callable[[jax.Array, Instance], Solution]:
    """A solver `(key, inst) -> Solution` that runs the network first; jits and vmaps.

    Args:
        params: of `train`, `init` or `load`; instances may have any size.
        exact: whether the prices start the exact solver, as in `hungarian(init_duals=...)`: status
            OPTIMAL whatever the prices are. Otherwise they guide `decode`: status FEASIBLE, with
            the predicted duals, from which `certify` proves a gap. Under 'coupled' the prices are
            those of the separable part.
        candidates: channels of each user that the network looks at closely.

    Raises (the solver):
        ValueError: `exact` and the objective is 'coupled'; a batch of instances.
    """

    def solve(key: jax.Array, inst: Instance) -> Solution:
        if exact and (inst.sortable or inst.objective == "coupled"):
            return hungarian(key, inst)  # sorts, or says why not
        # One matrix for network and solver: fused into both it would be computed twice.
        values = lax.optimization_barrier(objective.value_matrix(inst.without_coupling()))
        idle = ~inst.occupied
        price = prices(params, values, inst.user_mask, idle, candidates=candidates)
        if not exact:
            duals = complete(price, values, inst.user_mask, idle)
            assignment = decode(inst, values, price)
            value = objective.feasible_value(inst, assignment)
            return Solution(assignment, value, jnp.int32(Status.FEASIBLE), duals)
        return linear_sum_assignment(
            values,
            maximize=True,
            row_mask=inst.user_mask,
            col_mask=idle,
            init_duals=_start(price, values, inst),
        )

    return jax.jit(solve)


def _start(
    price: Float[Array, "channels"], values: Float[Array, "users channels"], inst: Instance
) -> Duals:
    """Duals to start from. The solver reads those of the longer side: row duals with many users."""
    users, idle = inst.user_mask, ~inst.occupied

    def with_rows() -> Array:
        return jnp.asarray(complete(price, values, users, idle).row)

    none = jnp.zeros(users.shape, price.dtype)
    return Duals(lax.cond(jnp.sum(users) > jnp.sum(idle), with_rows, lambda: none), price)


def decode(
    inst: Instance, values: Float[Array, "users channels"], price: Float[Array, "channels"]
) -> Int32[Array, "users"]:
    """A feasible assignment: one by one, users take the channel of the best value less price left.

    First comes the user that loses most without its first choice. Users beyond the number of idle
    channels stay at -1, as after `repair`, which has the last word.
    """
    net = jnp.where(~inst.occupied, values - price, -jnp.inf)
    best = jnp.max(net, axis=1)
    others = jnp.where(net == best[:, None], -jnp.inf, net)
    regret = jnp.where(inst.user_mask, best - jnp.max(others, axis=1), -jnp.inf)
    order = argsort(-regret)

    def take(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        assignment, free = carry
        left = jnp.where(free, net[order[k]], -jnp.inf)
        channel = jnp.argmax(left).astype(jnp.int32)
        return assignment.at[order[k]].set(channel), free.at[channel].set(False)

    count = jnp.minimum(jnp.sum(inst.user_mask), jnp.sum(~inst.occupied))
    start = (jnp.full(inst.num_rows, -1, jnp.int32), ~inst.occupied)
    assignment, _ = lax.fori_loop(0, count, take, start)
    return repair(inst, assignment)


def unflatten(stored: Mapping[str, np.ndarray]) -> Params:
    """The weights that `shipped.flatten` took apart.

    Raises:
        ValueError: these are the weights of another head.
    """
    return _checked(shipped.unflatten(stored))


def load(name: str = "dual") -> Params:
    """Weights of this head that ship with the package, see `weights/README.md`.

    Raises:
        ValueError: there are none of this name, or they are of another head.
    """
    return _checked(shipped.load(name))


def _checked(params: Params) -> Params:
    layers = set(params.get("params", {})) - {"damping"}
    if layers != _LAYERS:
        raise ValueError(
            f"params must have the dual head's layers {sorted(_LAYERS)}, got {sorted(layers)}"
        )
    return params

"""The sequential head: one network for every number of users and channels, and its solver."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from lsajax import objective
from lsajax.agents import shipped
from lsajax.env import features, placement
from lsajax.env.features import CONTEXT_FEATURES, SequentialObservation
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers.solution import Solution, Status

HIDDEN = 128
"""Units of a hidden layer, as in the paper."""
_SPREAD = CONTEXT_FEATURES.index("spread of the user's values over their mean")
_PLACED = CONTEXT_FEATURES.index("share of users placed")


class SequentialNetwork(nn.Module):
    """Scores of a user's candidates, by one perceptron that all share, and a value.

    Each candidate is seen beside the mean of all and the context. What the network learns is in
    units of the user's spread: the value starts from what the users left would get if nobody stood
    in their way, and so do Q-values, from which the network takes its scores away.

    Attributes:
        hidden: units of each hidden layer.
        q_values: whether the scores are Q-values in units of the return; else they are logits.
        score_scale: of the last layer's orthogonal weights.
    """

    hidden: int = HIDDEN
    q_values: bool = False
    score_scale: float = 0.01

    @nn.compact
    def __call__(
        self, obs: SequentialObservation
    ) -> tuple[Float[Array, "candidates"], Float[Array, ""]]:
        """Scores and value of one observation."""
        each = nn.tanh(self._dense("candidate")(obs.candidates))
        share = obs.action_mask / jnp.sum(obs.action_mask)
        around = jnp.concatenate([share @ each, obs.context])
        joined = self._dense("beside")(each) + self._dense("around")(around)
        scores = self._dense("score", 1, self.score_scale)(nn.tanh(joined))[:, 0]
        hidden = nn.tanh(self._dense("value_hidden")(around))
        value = self._dense("value", 1, self.score_scale)(hidden)[0]
        spread, left = obs.context[_SPREAD], 1.0 - obs.context[_PLACED]
        value = obs.remaining + left * spread * value
        return (value + obs.unit * spread * scores if self.q_values else scores), value

    def _dense(self, name: str, units: int | None = None, scale: float = 2**0.5) -> nn.Dense:
        init = nn.initializers.orthogonal(scale)
        return nn.Dense(units or self.hidden, kernel_init=init, name=name)


def make_solver(
    params: Any, network: nn.Module | None = None, *, order: str = placement.ORDERS[0]
) -> Callable[[jax.Array, Instance], Solution]:
    """A solver that decodes instances of any size with trained parameters, greedily.

    Args:
        params: of the network.
        network: whose parameters they are; `SequentialNetwork()` if None.
        order: that of the environment in which they were trained.

    Returns:
        solver(key, inst) -> Solution with status FEASIBLE; the key is not used. Works under jit and
        vmap.
    """
    placement.check_order(order)
    network = SequentialNetwork() if network is None else network

    def solver(key: jax.Array, inst: Instance) -> Solution:
        del key
        check_one_slot(inst)
        return _decode(params, inst, network, order)

    return solver


def load(name: str = "sequential") -> Any:
    """Weights of this head that ship with the package, see `weights/README.md`.

    Raises:
        ValueError: there are none of this name, or they are of another head.
    """
    params = shipped.load(name)
    layers = set(params["params"])
    if layers != _LAYERS:
        raise ValueError(
            f"name must be one of weights with layers {sorted(_LAYERS)}, got {name!r} with "
            f"{sorted(layers)}"
        )
    return params


_LAYERS = {"candidate", "beside", "around", "score", "value_hidden", "value"}


def first_candidate_solver(
    order: str = placement.ORDERS[0],
) -> Callable[[jax.Array, Instance], Solution]:
    """What an order alone gives: the solver by which each user takes his best free channel."""
    placement.check_order(order)

    def solver(key: jax.Array, inst: Instance) -> Solution:
        del key
        check_one_slot(inst)
        return _decode(None, inst, None, order)

    return solver


@partial(jax.jit, static_argnames=("network", "order"))
def _decode(params: Any, inst: Instance, network: nn.Module | None, order: str) -> Solution:
    def choose(obs: SequentialObservation) -> Array:
        if network is None:
            return jnp.int32(0)
        return jnp.argmax(jnp.where(obs.action_mask, network.apply(params, obs)[0], -jnp.inf))

    def step(progress: placement.Progress, _: None) -> tuple[placement.Progress, None]:
        progress = placement.turn(inst, progress, order)
        action = choose(features.observe(inst, progress))
        return placement.place(inst, progress, action)[0], None

    progress, _ = jax.lax.scan(step, placement.begin(inst), length=inst.num_rows)
    value = objective.feasible_value(inst, progress.assignment)
    return Solution(progress.assignment, value, jnp.int32(Status.FEASIBLE))

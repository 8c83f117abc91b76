"""Training of the dual head on its own bound, in one jit."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from lsajax import hashing, objective
from lsajax.agents._dual_network import DualNetwork, complete, dual_objective, predict
from lsajax.sampling import sample_instance
from lsajax.scenario import Scenario
from lsajax.solvers.linear_assignment import linear_sum_assignment

Params = Any
"""Weights, a pytree of arrays as Flax makes it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """How to train.

    Attributes:
        steps: of Adam.
        batch: instances of each scenario in a step.
        learning_rate: at its peak, a cosine after a warm-up of a twentieth of the steps.
        overprice: added weight of the prices in the loss. Above 0 the prices tend to be too low
            rather than too high: a price that nobody pays costs the exact solver a search.
        hidden: see `DualNetwork`.
        candidates: see `DualNetwork`.
        rounds: see `DualNetwork`.
        held_out: instances of each scenario on which the metrics are measured.
        measurements: how often they are.
    """

    steps: int = 400
    batch: int = 8
    learning_rate: float = 3e-3
    overprice: float = 0.0
    hidden: int = 32
    candidates: int = 16
    rounds: int = 16
    held_out: int = 32
    measurements: int = 20

    def __post_init__(self) -> None:
        counts = ("steps", "batch", "hidden", "candidates", "rounds", "held_out", "measurements")
        for name in counts:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if self.candidates < 2:
            raise ValueError(f"candidates must be at least 2, got {self.candidates}")
        if self.steps % self.measurements:
            raise ValueError(
                f"steps must be a multiple of measurements={self.measurements}, got {self.steps}"
            )

    @property
    def network(self) -> DualNetwork:
        """The network that is trained."""
        return DualNetwork(self.hidden, self.candidates, self.rounds)


class Metrics(NamedTuple):
    """Progress of a training, from before the first step on.

    Attributes:
        step: steps done.
        loss: mean of the steps since the last measurement; NaN before the first.
        dual_gap: mean over the held-out instances of D / optimum - 1, by scenario.
    """

    step: Int32[Array, "measurements+1"]
    loss: Float[Array, "measurements+1"]
    dual_gap: Float[Array, "measurements+1 scenarios"]


def init(key: jax.Array, config: Config | None = None) -> Params:
    """Weights before training: base prices of additive values, then belief propagation."""
    network = (config or Config()).network
    values, users, channels = jnp.ones((2, 3)), jnp.ones(2, bool), jnp.ones(3, bool)
    return network.init(key, values, users, channels)


@partial(jax.jit, static_argnames="config")
def train(
    key: jax.Array, scenario: Scenario | Sequence[Scenario], config: Config | None = None
) -> tuple[Params, Metrics]:
    """Trains on fresh instances of the scenarios, without labels; under vmap over seeds.

    The loss of an instance is (D_w(v) - D(0)) / (K scale) where the prices of D_w have the weight
    1 + `overprice`, and scale is the mean over the users of best less mean value.

    Args:
        key: PRNG key.
        scenario: one, or several, each of which has its share of every step; 'coupled' is taken as
            its separable part.
        config: sizes of network and training (static).

    Returns:
        The weights, and the progress on instances that are not trained on.
    """
    config = config or Config()
    scenarios = (scenario,) if isinstance(scenario, Scenario) else tuple(scenario)
    optimiser = optax.adam(
        optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, max(config.steps // 20, 1), config.steps
        )
    )
    params = init(hashing.named_key(key, "weights"), config)
    held_out = _sample(hashing.named_key(key, "held out"), scenarios, config.held_out)
    optima = [jax.vmap(_optimum)(*problem) for problem in held_out]

    def loss_of(params: Params, key: jax.Array) -> Array:
        problems = _sample(key, scenarios, config.batch)
        losses = [jax.vmap(partial(_loss, params, config))(*problem) for problem in problems]
        return jnp.mean(jnp.concatenate(losses))

    def step(carry: tuple[Params, Any], i: Array) -> tuple[tuple[Params, Any], Array]:
        params, state = carry
        own = jax.random.fold_in(hashing.named_key(key, "steps"), i)
        loss, gradient = jax.value_and_grad(loss_of)(params, own)
        update, state = optimiser.update(gradient, state, params)
        return (optax.apply_updates(params, update), state), loss

    def gaps(params: Params) -> Array:
        parts = [
            jax.vmap(partial(_bound, params, config))(*problem) / best - 1
            for problem, best in zip(held_out, optima, strict=True)
        ]
        by_scenario = jnp.concatenate(parts).reshape(-1, config.held_out)
        order = [i for _, numbers in _by_shape(scenarios) for i in numbers]
        return jnp.mean(by_scenario, axis=1)[np.argsort(order)]

    def measured(carry: tuple[Params, Any], steps: Array) -> tuple[tuple[Params, Any], Metrics]:
        before = gaps(carry[0])
        carry, losses = lax.scan(step, carry, steps)
        return carry, Metrics(steps[0], jnp.mean(losses), before)

    steps = jnp.arange(config.steps).reshape(config.measurements, -1)
    (params, _), seen = lax.scan(measured, (params, optimiser.init(params)), steps)
    return params, Metrics(
        jnp.append(seen.step, config.steps),
        jnp.insert(seen.loss, 0, jnp.nan),
        jnp.concatenate([seen.dual_gap, gaps(params)[None]]),
    )


class _Problem(NamedTuple):
    values: Float[Array, "*batch users channels"]
    user_mask: Bool[Array, "*batch users"]
    idle: Bool[Array, "*batch channels"]


def _by_shape(scenarios: Sequence[Scenario]) -> list[tuple[tuple[int, int], list[int]]]:
    """Which scenarios have instances of one shape: they share a batch, and what is compiled."""
    shapes = [(s.max_active, s.num_channels) for s in scenarios]
    return [(one, [i for i, s in enumerate(shapes) if s == one]) for one in dict.fromkeys(shapes)]


def _sample(key: jax.Array, scenarios: Sequence[Scenario], count: int) -> list[_Problem]:
    """For each shape, `count` instances of each of its scenarios."""

    def one(scenario: Scenario, key: jax.Array) -> _Problem:
        inst = sample_instance(key, scenario).without_coupling()
        return _Problem(objective.value_matrix(inst), inst.user_mask, ~inst.occupied)

    def many(i: int) -> _Problem:
        keys = jax.random.split(hashing.named_key(key, "scenario", i), count)
        return jax.vmap(partial(one, scenarios[i]))(keys)

    return [
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *map(many, numbers))
        for _, numbers in _by_shape(scenarios)
    ]


def _loss(
    params: Params, config: Config, values: Array, user_mask: Array, idle: Array
) -> Float[Array, ""]:
    price = predict(config.network, params, values, user_mask, idle)
    unpriced = complete(jnp.zeros_like(price), values, user_mask, idle).row
    change = complete(price, values, user_mask, idle).row - unpriced
    mean = jnp.mean(values, axis=1, where=idle)
    scale = jnp.sum(jnp.where(user_mask, unpriced - mean, 0.0))
    return (jnp.sum(change) + (1 + config.overprice) * jnp.sum(price)) / scale


def _bound(
    params: Params, config: Config, values: Array, user_mask: Array, idle: Array
) -> Float[Array, ""]:
    price = predict(config.network, params, values, user_mask, idle)
    return dual_objective(complete(price, values, user_mask, idle))


def _optimum(values: Array, user_mask: Array, idle: Array) -> Float[Array, ""]:
    best = linear_sum_assignment(values, True, row_mask=user_mask, col_mask=idle)
    return jnp.asarray(best.value)

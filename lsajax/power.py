"""Transmit powers under a total budget: closed form, gradients, and jointly with the assignment.

A power factor s_i >= 0 is a user's share of the budget in units of the scenario's P_t: with s_i = 1
each user sends with P_t, and the factors of a slot with K requesting users sum up to K. A slot with
other powers is an instance like any other, `with_factors(inst, factor)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int32, Integer

from lsajax import link, objective
from lsajax._numerics import argsort
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers.hungarian import hungarian
from lsajax.solvers.linear_assignment import linear_sum_assignment

_NATS = 0.6931471805599453  # of a bit
_LEAST_LOGIT = -60.0  # a factor of e^-60 is none, and its logarithm is finite
_SLACK = 2e-7  # relative: float32 cannot tell values that are nearer
_LEAST_RATE = 1e-7


class Ascent(NamedTuple):
    """Where an ascent ended.

    Attributes:
        factor: power factors.
        value: there, in the objective's unit.
        steps: gradients that it took.
        gap: most that the linearisation there promises beyond `value`; of a concave objective no
            powers are worth more than `value + gap` (Frank and Wolfe).
    """

    factor: Float[Array, "users"]
    value: Float[Array, ""]
    steps: Int32[Array, ""]
    gap: Float[Array, ""]


class Joint(NamedTuple):
    """An assignment with its powers.

    Attributes:
        assignment: channel of each user.
        factor: power factors.
        value: of both, in the objective's unit.
        steps: rounds, prices or gradients that it took.
        bound: no assignment and powers are worth more; infinite where the method has no bound.
    """

    assignment: Int32[Array, "users"]
    factor: Float[Array, "users"]
    value: Float[Array, ""]
    steps: Int32[Array, ""]
    bound: Float[Array, ""]


class _AscentState(NamedTuple):
    logit: Array
    value: Array
    gradient: Array
    rate: Array
    steps: Array


class _Round(NamedTuple):
    assignment: Array
    factor: Array
    value: Array
    gained: Array
    rounds: Array


def budget(inst: Instance) -> Float[Array, ""]:
    """What the factors sum up to: the number of requesting users."""
    return jnp.sum(inst.user_mask, dtype=float)


def equal(inst: Instance) -> Float[Array, "users"]:
    """A factor of 1 for each requesting user, 0 for padding."""
    return inst.user_mask.astype(float)


def with_factors(inst: Instance, factor: Float[ArrayLike, "users"]) -> Instance:
    """The instance with each user's power times its factor."""
    factor = jnp.asarray(factor)
    scale = factor[:, None] if inst.power_per_pair else factor
    return inst.replace(mean_power_w=inst.mean_power_w * scale)


def value_of(
    inst: Instance, assignment: Integer[ArrayLike, "users"], factor: Float[ArrayLike, "users"]
) -> Float[Array, ""]:
    """`objective_value` with these powers; users on one channel interfere with each other."""
    return objective.objective_value(with_factors(inst, factor), assignment)


def water_filling(
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    co_channel_w: Float[ArrayLike, "users"] | float = 0.0,
) -> Float[Array, "users"]:
    """The factors that maximise sum_i w_i B_i log2(1 + gamma_i s_i), in closed form.

    s_i = max(0, w_i B_i v - 1 / gamma_i), gamma_i the SINR at s_i = 1, and the level v is such that
    the factors sum up to the budget: users are taken in the order of w_i B_i gamma_i for as long as
    the last one has power. Needs, utilities and a highest spectral efficiency are not looked at.

    Args:
        inst: one slot.
        assignment: [users] channel of each user; who has none gets no power.
        co_channel_w: interference of others on the same channel that is taken as given [W].

    References:
        Cover and Thomas, Elements of Information Theory, 2nd ed., section 9.4.
    """
    placed = link.place(inst, assignment)
    power = link.assigned_power(inst, assignment)
    bandwidth = inst.bandwidth_hz[placed.channel]
    floor = inst.noise_psd_w_hz * bandwidth + link.assigned_interference(inst, assignment)
    floor = (floor + co_channel_w) * (1.0 if inst.snr_gap is None else inst.snr_gap)
    weight = bandwidth if inst.weight is None else bandwidth * inst.weight
    weight = jnp.where(placed.served & (power > 0), weight / jnp.max(inst.bandwidth_hz), 0.0)
    needed = jnp.where(weight > 0, floor / jnp.where(weight > 0, power, 1.0), 0.0)
    order = argsort(jnp.where(weight > 0, needed / weight, jnp.inf))
    level = (budget(inst) + jnp.cumsum(needed[order])) / jnp.maximum(
        jnp.cumsum(weight[order]), jnp.finfo(weight.dtype).tiny
    )
    has_power = (weight[order] > 0) & (level * weight[order] > needed[order])
    last = jnp.maximum(jnp.sum(has_power) - 1, 0)
    return jnp.where(weight > 0, jnp.maximum(level[last] * weight - needed, 0.0), 0.0)


def iterative_water_filling(
    inst: Instance, assignment: Integer[ArrayLike, "users"], *, num_rounds: int = 50
) -> Float[Array, "users"]:
    """Water-filling where users share channels: each round takes the last one's interference.

    Rounds are averaged with what was before, since they swing otherwise. No round looks at the harm
    that a user's power does to others; the end is an equilibrium, not an optimum.

    References:
        Yu, Ginis and Cioffi, IEEE J. Sel. Areas Commun. 20 (2002).
    """

    def one_round(_: Array, factor: Array) -> Array:
        rivals = objective.co_channel_power(with_factors(inst, factor), assignment)
        return (factor + water_filling(inst, assignment, rivals)) / 2

    return lax.fori_loop(0, num_rounds, one_round, equal(inst))


def ascend(
    value: Callable[[Float[Array, "users"]], Float[Array, ""]],
    start: Float[Array, "users"],
    *,
    tolerance: float = 1e-5,
    max_steps: int = 500,
) -> Ascent:
    """Gradient ascent on the factors' logarithms, kept to the budget by a softmax.

    That is mirror ascent with the entropy: s_i <- s_i exp(eta g_i), scaled to the sum of `start`.
    The rate eta grows while the value does, and falls where it does not.

    Args:
        value: of the factors; differentiable, positive.
        start: positive factors, 0 for users that take no part.
        tolerance: of `Ascent.gap` in units of the value, at which it ends.
        max_steps: gradients at most.

    References:
        Beck and Teboulle, Operations Research Letters 31 (2003).
    """
    total, taking_part = jnp.sum(start), start > 0
    evaluate = jax.value_and_grad(value)

    def factor_of(logit: Array) -> Array:
        return total * jnp.where(taking_part, jax.nn.softmax(logit, where=taking_part), 0.0)

    def gap_of(state: _AscentState) -> Array:
        best = jnp.max(state.gradient, where=taking_part, initial=-jnp.inf)
        return total * best - jnp.sum(factor_of(state.logit) * state.gradient)

    def goes_on(state: _AscentState) -> Array:
        open_ = gap_of(state) > tolerance * jnp.abs(state.value)
        return open_ & (state.steps < max_steps) & (state.rate > _LEAST_RATE)

    def step(state: _AscentState) -> _AscentState:
        factor = factor_of(state.logit)
        scale = jnp.sum(jnp.abs(factor * state.gradient)) / total
        direction = jnp.where(taking_part, state.gradient / scale, 0.0)
        logit = state.logit + state.rate * direction
        logit = jnp.maximum(
            logit - jnp.max(logit, where=taking_part, initial=-jnp.inf), _LEAST_LOGIT
        )
        found, gradient = evaluate(factor_of(logit))
        better = found >= state.value - _SLACK * jnp.abs(state.value)
        moved = _AscentState(logit, found, gradient, 1.3 * state.rate, state.steps + 1)
        stayed = state._replace(rate=0.3 * state.rate, steps=state.steps + 1)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), moved, stayed)

    logit = jnp.log(jnp.where(taking_part, start, 1.0))
    begun = _AscentState(logit, *evaluate(factor_of(logit)), jnp.ones(()), jnp.int32(1))
    last = lax.while_loop(goes_on, step, begun)
    return Ascent(factor_of(last.logit), last.value, last.steps, gap_of(last))


def alternate(
    key: jax.Array,
    inst: Instance,
    powers: Callable[[Instance, Int32[Array, "users"]], Float[Array, "users"]] = water_filling,
    *,
    max_rounds: int = 20,
) -> Joint:
    """The best assignment for given powers, powers for that assignment, and so on, from s_i = 1.

    Each half is optimal where `powers` is, so that the value never falls; it ends where a round
    gains nothing, which need not be the best pair.
    """

    def one_round(state: _Round) -> _Round:
        assignment = hungarian(key, with_factors(inst, state.factor)).assignment
        factor = powers(inst, assignment)
        value = value_of(inst, assignment, factor)
        gained = value > state.value * (1 + _SLACK)
        found = _Round(assignment, factor, value, gained, state.rounds + 1)
        kept = state._replace(gained=gained, rounds=state.rounds + 1)
        return jax.tree.map(lambda a, b: jnp.where(gained, a, b), found, kept)

    nobody = jnp.full(inst.num_rows, -1, jnp.int32)
    begun = _Round(nobody, equal(inst), jnp.zeros(()), jnp.array(True), jnp.int32(0))
    last = lax.while_loop(lambda s: s.gained & (s.rounds < max_rounds), one_round, begun)
    return Joint(last.assignment, last.factor, last.value, last.rounds, jnp.array(jnp.inf))


def ascend_through_solver(key: jax.Array, inst: Instance, *, max_steps: int = 100) -> Joint:
    """Gradient ascent on powers, through the value of the best assignment for them.

    The value of an assignment problem has a gradient wherever its optimum is unique, that of the
    best assignment's own value: each step solves the problem anew.
    """

    def value(factor: Array) -> Array:
        return jnp.asarray(hungarian(key, with_factors(inst, factor)).value)

    found = ascend(value, equal(inst), max_steps=max_steps)
    assignment = hungarian(key, with_factors(inst, found.factor)).assignment
    return Joint(assignment, found.factor, found.value, found.steps, jnp.array(jnp.inf))


def priced(key: jax.Array, inst: Instance, *, num_prices: int = 30) -> Joint:
    """Assignment and powers by a price on power, with a bound on what any others are worth.

    At a price lambda each pair of user and channel takes the power that is best for it, in closed
    form, and the best assignment of what is left after the price is a linear assignment problem.
    Its value plus lambda K bounds the joint optimum from above, for any lambda. Bisection finds
    the price at which the powers sum up to the budget; the assignments on both sides of it are
    water-filled, and the better one is the answer.

    Args:
        key: not used.
        inst: one slot with objective 'throughput', without needs and spectral efficiency cap.
        num_prices: assignment problems that are solved.

    Raises:
        ValueError: another objective.
    """
    del key
    check_one_slot(inst)
    capped = inst.min_rate_bps is not None or inst.max_spectral_efficiency is not None
    if inst.objective != "throughput" or capped:
        raise ValueError(
            "inst must have objective 'throughput', without needs and without a highest spectral "
            f"efficiency, got {inst.objective!r}"
        )
    bandwidth = jnp.broadcast_to(inst.bandwidth_hz, (inst.num_rows, inst.num_channels))
    weight = bandwidth if inst.weight is None else bandwidth * inst.weight[:, None]
    floor = inst.noise_psd_w_hz * bandwidth + link.interference_at(inst, None, None)
    floor = floor * (1.0 if inst.snr_gap is None else inst.snr_gap)
    needed = floor / jnp.maximum(link.channel_power(inst), jnp.finfo(floor.dtype).tiny)
    rows, columns = inst.user_mask, ~inst.occupied

    def respond(price: Array) -> tuple[Array, Array, Array]:
        factor = jnp.maximum(weight / (price * _NATS) - needed, 0.0)
        worth = weight * jnp.log1p(factor / needed) / _NATS - price * factor
        found = linear_sum_assignment(worth, True, row_mask=rows, col_mask=columns)
        placed = link.place(inst, found.assignment)
        own = factor[jnp.arange(inst.num_rows), placed.channel]
        used = jnp.sum(jnp.where(placed.served, own, 0.0))
        return found.assignment, used, jnp.asarray(found.value) + price * budget(inst)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        low, high, at_low, at_high, bound = carry
        middle = jnp.sqrt(low * high)
        assignment, used, above = respond(middle)
        dear = used < budget(inst)
        low, high = jnp.where(dear, low, middle), jnp.where(dear, middle, high)
        at_low = jnp.where(dear, at_low, assignment)
        at_high = jnp.where(dear, assignment, at_high)
        return (low, high, at_low, at_high, jnp.minimum(bound, above)), None

    # Each user's factor is at most w B / (lambda ln 2), so that at `high` the budget is not used.
    high = jnp.max(weight) / _NATS
    nobody = jnp.full(inst.num_rows, -1, jnp.int32)
    begun = (1e-5 * high, high, nobody, nobody, jnp.array(jnp.inf))
    (_, _, at_low, at_high, bound), _ = lax.scan(step, begun, None, length=num_prices)
    steps = jnp.int32(num_prices)

    def filled(assignment: Array) -> Joint:
        factor = water_filling(inst, assignment)
        return Joint(assignment, factor, value_of(inst, assignment, factor), steps, bound)

    one, other = filled(at_low), filled(at_high)
    return jax.tree.map(lambda a, b: jnp.where(one.value >= other.value, a, b), one, other)

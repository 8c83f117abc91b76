"""The performance gain of Eq. (13) and the random baseline that it is measured against."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from lsajax import assignments, hashing, link, objective, units
from lsajax._numerics import as_float, one_program
from lsajax.coupling import expected_random_loss
from lsajax.instance import Instance

_RESOLVED = 64  # of the best value, between it and the baseline [machine epsilons]


@one_program
def expected_random_value(inst: Instance) -> Float[Array, ""]:
    """Exact mean of the objective over all random valid assignments, with no sampling.

    A user's channel is uniform over the idle ones, so the mean is sum_i mean_m v_im. With more
    users than idle channels each is served with probability idle / K. With the objective 'coupled'
    less `coupling.expected_random_loss`.
    """
    idle = jnp.sum(~inst.occupied)
    users = jnp.sum(inst.user_mask)
    share = 1.0 / jnp.maximum(jnp.maximum(idle, users), 1)
    value = objective.sum_of_values(inst) * share
    return value - expected_random_loss(inst) if inst.objective == "coupled" else value


def sampled_random_value(key: jax.Array, inst: Instance, num_samples: int) -> Float[Array, ""]:
    """Mean of the objective over `num_samples` random valid assignments; unbiased."""
    stream = hashing.named_key(key, "random baseline")
    assignment = assignments.random(stream, inst, num_samples)
    return jnp.mean(jax.vmap(lambda a: objective.feasible_value(inst, a))(assignment))


def collision_factor(
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    *,
    penalty: ArrayLike = 0.5,
    threshold_db: ArrayLike = 0.0,
) -> Float[Array, ""]:
    """eta of Eq. (13): `penalty` where users of a duplicated channel disturb each other, else 1.

    They do where some user's co-channel interference exceeds noise plus I_m by more than
    `threshold_db` [dB].
    """
    assignment = link.as_assignment(inst, assignment)
    co_channel_w = objective.co_channel_power(inst, assignment)
    return _collision_factor(inst, assignment, co_channel_w, penalty, threshold_db)


@one_program
def _collision_factor(
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    co_channel_w: Float[Array, "users"],
    penalty: ArrayLike,
    threshold_db: ArrayLike,
) -> Float[Array, ""]:
    channel = link.place(inst, assignment).channel
    floor_w = inst.noise_psd_w_hz * inst.bandwidth_hz[channel]
    floor_w = floor_w + link.assigned_interference(inst, assignment)
    hit = jnp.any(co_channel_w > units.db_to_linear(threshold_db) * floor_w)
    return jnp.where(hit, penalty, 1.0)


def performance_gain(
    key: jax.Array,
    inst: Instance,
    raw: Integer[ArrayLike, "*group users"],
    *,
    num_samples: int | None = None,
    baseline: ArrayLike | None = None,
    best: ArrayLike | None = None,
    kappa: ArrayLike = 2.0,
    penalty: ArrayLike = 0.5,
    threshold_db: ArrayLike = 0.0,
) -> Float[Array, "*group"]:
    """R_p = kappa (eta C(a) - C(a_rand)) / C(a_rand), LSA Eq. (13), for one raw assignment or many.

    C is the objective of the instance; raw assignments are valued as they are: no repair. The
    baseline depends on the instance alone and is computed once for a whole group.

    With `best` the gain is anchored at both ends: (eta C(a) - C(a_rand)) / (best - C(a_rand)) is 0
    for a random answer and 1 for the best one, in every setting and for every objective. Eq. (13)
    by itself rewards more where the gap between random and best is wide, and has no meaning where
    C(a_rand) is not above 0, as it may be under 'coupled'. Where all answers are worth the same, up
    to rounding, the anchored gain is 0.

    Args:
        key: for the sampled baseline; unused otherwise.
        inst: one slot.
        raw: [..., users] raw assignments, any integers; leading axes are a group.
        num_samples: B random valid assignments whose mean is C(a_rand); None for their exact
            expectation, which has no sampling noise.
        baseline: C(a_rand), where the caller has it; `num_samples` is then ignored.
        best: objective of the optimum, or a bound on it; None for Eq. (13) as it stands.
        kappa: scale of Eq. (13); unused with `best`.
        penalty: eta where a duplicated channel's interference passes `threshold_db`.
        threshold_db: see `collision_factor` [dB].

    Raises:
        ValueError: the last axis of `raw` is not [users], or `num_samples` is below 1.
    """
    raw = raw if isinstance(raw, jax.Array) else np.asarray(raw)
    if not np.issubdtype(raw.dtype, np.integer):
        raise ValueError(f"raw must be integers, got {raw.dtype}")
    if raw.ndim < 1 or raw.shape[-1] != inst.num_rows:
        raise ValueError(f"raw must end in an axis of {inst.num_rows} users, got shape {raw.shape}")
    if num_samples is not None and num_samples < 1:
        raise ValueError(f"num_samples must be at least 1 or None, got {num_samples}")
    if baseline is not None:
        baseline = as_float(baseline)
    elif num_samples is None:
        baseline = expected_random_value(inst)
    else:
        baseline = sampled_random_value(key, inst, num_samples)
    each = link.as_channels(inst, raw).reshape(-1, inst.num_rows)
    values = _penalised(inst, each, penalty, threshold_db).reshape(raw.shape[:-1])
    span, scale, least = baseline, kappa, jnp.zeros(())
    if best is not None:
        best = as_float(best)
        # A difference that is rounding alone ranks nothing: every answer is as good as any other.
        span, scale = best - baseline, 1.0
        least = _RESOLVED * jnp.finfo(best.dtype).eps * abs(best)
    safe = jnp.where(span > least, span, 1.0)
    return jnp.where(span > least, scale * (values - baseline) / safe, 0.0)


@one_program
def _penalised(
    inst: Instance, raw: Array, penalty: ArrayLike, threshold_db: ArrayLike
) -> Float[Array, "group"]:
    """eta C(a) of each raw assignment, from one look at its collisions."""

    def value(assignment: Array) -> Array:
        co_channel_w = objective.co_channel_power(inst, assignment)
        eta = _collision_factor(inst, assignment, co_channel_w, penalty, threshold_db)
        rate = link.assigned_rate(inst, assignment, co_channel_w)
        worth = objective.value_of_rates(inst, assignment, rate)
        # A negative value is not made better by its collisions.
        return jnp.minimum(eta * worth, worth)

    return jax.vmap(value)(raw)

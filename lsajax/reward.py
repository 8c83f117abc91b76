"""The performance gain of Eq. (13) and the random baseline that it is measured against."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from lsajax import assignments, hashing, link, objective, units
from lsajax._numerics import as_float
from lsajax.instance import Instance


def expected_random_throughput(inst: Instance) -> Float[Array, ""]:
    """Exact mean of C(a) over all random valid assignments [bit/s].

    A user's channel is uniform over the idle ones, so the mean is sum_i mean_m r_im: the mean of
    the rate matrix, with no sampling. With more users than idle channels each is served with
    probability idle / K.
    """
    idle = jnp.sum(~inst.occupied)
    users = jnp.sum(inst.user_mask)
    share = 1.0 / jnp.maximum(jnp.maximum(idle, users), 1)
    return jnp.sum(link.rate_matrix(inst)) * share


def sampled_random_throughput(key: jax.Array, inst: Instance, num_samples: int) -> Float[Array, ""]:
    """Mean of C(a) over `num_samples` random valid assignments [bit/s]; unbiased."""
    stream = hashing.named_key(key, "random baseline")
    assignment = assignments.random(stream, inst, num_samples)
    rate = jax.vmap(lambda a: jnp.sum(link.assigned_rate(inst, a)))(assignment)
    return jnp.mean(rate)


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
    co_channel_w = objective.co_channel_power(inst, assignment)
    return _collision_factor(inst, assignment, co_channel_w, penalty, threshold_db)


def _collision_factor(
    inst: Instance,
    assignment: Integer[ArrayLike, "users"],
    co_channel_w: Float[Array, "users"],
    penalty: ArrayLike,
    threshold_db: ArrayLike,
) -> Float[Array, ""]:
    channel = link.place(inst, assignment).channel
    floor_w = inst.noise_psd_w_hz * inst.bandwidth_hz[channel]
    if inst.interference:
        floor_w = floor_w + inst.interference_w[channel]
    hit = jnp.any(co_channel_w > units.db_to_linear(threshold_db) * floor_w)
    return jnp.where(hit, penalty, 1.0)


def performance_gain(
    key: jax.Array,
    inst: Instance,
    raw: Integer[ArrayLike, "*group users"],
    *,
    num_samples: int | None = None,
    baseline_bps: ArrayLike | None = None,
    kappa: ArrayLike = 2.0,
    penalty: ArrayLike = 0.5,
    threshold_db: ArrayLike = 0.0,
) -> Float[Array, "*group"]:
    """R_p = kappa (eta C(a) - C(a_rand)) / C(a_rand), LSA Eq. (13), for one raw assignment or many.

    They are valued as they are: no repair. The baseline depends on the instance alone and
    is computed once for a whole group.

    Args:
        key: for the sampled baseline; unused otherwise.
        raw: [..., users] raw assignments, any integers; leading axes are a group.
        num_samples: B random valid assignments whose mean is C(a_rand); None for their exact
            expectation, which has no sampling noise.
        baseline_bps: C(a_rand) [bit/s], where the caller has it; `num_samples` is then ignored.
        kappa: scale of the reward.
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
    if baseline_bps is not None:
        baseline = as_float(baseline_bps)
    elif num_samples is None:
        baseline = expected_random_throughput(inst)
    else:
        baseline = sampled_random_throughput(key, inst, num_samples)

    def value(assignment: Array) -> Array:
        co_channel_w = objective.co_channel_power(inst, assignment)
        eta = _collision_factor(inst, assignment, co_channel_w, penalty, threshold_db)
        return eta * jnp.sum(link.assigned_rate(inst, assignment, co_channel_w))

    each = link.as_channels(inst, raw).reshape(-1, inst.num_rows)
    values = jax.vmap(value)(each).reshape(raw.shape[:-1])
    safe = jnp.where(baseline > 0, baseline, 1.0)
    return jnp.where(baseline > 0, kappa * (values - baseline) / safe, 0.0)

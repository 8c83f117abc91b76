"""What a sequential agent sees: local and scale-free, so that size does not matter.

Everything is a rank, a share, a logarithm of a ratio, or a difference of values in units of the
user's own spread, and nothing is a sum over users or channels: a network of 20 nodes and one of
2000 look alike. That is what lets weights trained on the one serve the other.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lsajax import coupling, link, objective
from lsajax.env import placement
from lsajax.env.placement import NUM_CANDIDATES, Demand, Progress
from lsajax.instance import OBJECTIVES, Instance

CANDIDATE_FEATURES = (
    "rank, 0 to 1",
    "value less the user's mean one",
    "loss against the best candidate",
    "log power gain less the candidates' mean",
    "log bandwidth less the idle channels' mean",
    "leakage to and from users already placed",
    "share of the channels within leakage's reach that are taken",
    "share of them that are occupied or beyond the band",
    "rivals who like it best",
    "rivals in whose tables it is",
    "largest loss of a rival who likes it best",
    "loss of all rivals who like it best",
    "largest worth to a rival over the best of his other channels",
)
"""Columns of `SequentialObservation.candidates`; differences in units of the user's own spread."""

CONTEXT_FEATURES = (
    "share of users placed",
    "users per channel",
    "share of channels idle",
    "users left per free channel",
    "spread of the user's values over their mean",
    "log power less the mean of all users, over 5",
    "the user's regret",
    "mean regret of the users left",
    *OBJECTIVES,
)
"""Entries of `SequentialObservation.context`."""


LIMIT = 10.0
"""Features are cut to within this of 0."""
UNWANTED = 2.0
"""Loss, in units of the user's spread, at which a channel counts that is in no rival's table."""


class SequentialObservation(NamedTuple):
    """What a sequential agent sees when a user chooses.

    Attributes:
        candidates: `CANDIDATE_FEATURES` of each candidate channel, the best first; 0 where there
            are not so many.
        context: `CONTEXT_FEATURES`.
        remaining: what the users left would add to the return if each got his best free channel: a
            bound without the coupling, and the place where a critic starts. Not a feature.
        unit: share of a mean user in the return, 1 / K. Not a feature.
        action_mask: candidates that exist.
    """

    candidates: Float[Array, "candidates features"]
    context: Float[Array, "context"]
    remaining: Float[Array, ""]
    unit: Float[Array, ""]
    action_mask: Bool[Array, "candidates"]


def observe(inst: Instance, progress: Progress) -> SequentialObservation:
    """The observation of the user whose turn it is."""
    wants = placement.demand(inst, progress)
    exists = progress.value > -jnp.inf
    left = jnp.sum(inst.user_mask & (progress.assignment < 0))
    users = jnp.maximum(jnp.sum(inst.user_mask), 1)
    best_of_left = jnp.sum(jnp.where(inst.user_mask & (progress.assignment < 0), wants.best, 0.0))
    candidates = _candidates(inst, progress, wants, exists)
    context = _context(inst, progress, wants, left / users)
    return SequentialObservation(
        candidates=jnp.where(exists[:, None], jnp.clip(candidates, -LIMIT, LIMIT), 0.0),
        context=jnp.clip(context, -LIMIT, LIMIT),
        remaining=best_of_left / placement.scale(inst, progress),
        unit=1.0 / users.astype(wants.best.dtype),
        action_mask=placement.action_mask(progress),
    )


def _candidates(
    inst: Instance, progress: Progress, wants: Demand, exists: Bool[Array, "candidates"]
) -> Float[Array, "candidates features"]:
    row, channel = progress.row, progress.channel
    std = progress.std[row]
    value = jnp.where(exists, progress.value, 0.0)
    own = objective.value_at(inst, row, channel)
    bandwidth = jnp.log(inst.bandwidth_hz)
    idle = ~inst.occupied
    mean_bandwidth = jnp.sum(jnp.where(idle, bandwidth, 0.0)) / jnp.maximum(jnp.sum(idle), 1)
    log_gain = jnp.log(jnp.maximum(link.power_at(inst, row, channel), 1e-30))
    log_gain = jnp.broadcast_to(log_gain, channel.shape)
    taken, closed = _neighbours(inst, progress)
    columns = (
        jnp.arange(NUM_CANDIDATES) / (NUM_CANDIDATES - 1),
        (value - progress.mean[row]) / std,
        (value[0] - value) / std,
        log_gain - jnp.sum(jnp.where(exists, log_gain, 0.0)) / jnp.maximum(jnp.sum(exists), 1),
        4.0 * (bandwidth[channel] - mean_bandwidth),
        (own - value) / std,
        taken,
        closed,
        *_rivals(progress, wants, std),
    )
    return jnp.stack(columns, axis=-1)


def _neighbours(inst: Instance, progress: Progress) -> tuple[Array, Array]:
    """Shares of the channels around each candidate that are taken, and that are closed."""
    reach = coupling.LEAKAGE_REACH
    apart = jnp.concatenate([jnp.arange(-reach, 0), jnp.arange(1, reach + 1)])
    near = progress.channel[:, None] + apart
    inside = (near >= 0) & (near < inst.num_channels)
    near = jnp.where(inside, near, 0)
    taken = inside & (progress.holder[near] >= 0)
    return jnp.mean(taken, axis=1), jnp.mean(~inside | inst.occupied[near], axis=1)


def _rivals(progress: Progress, wants: Demand, std: Array) -> tuple[Array, ...]:
    """How many others want each candidate, and what they would lose; counts as n / (1 + n)."""
    other = jnp.arange(wants.best.shape[0]) != progress.row
    first = (wants.best_channel == progress.channel[:, None]) & other
    lost = jnp.where(first, wants.regret, 0.0) / std
    listed = progress.table_channel == progress.channel[:, None, None]
    listed = listed & wants.free & other[:, None]
    is_best = progress.table_channel == wants.best_channel[:, None]
    over = progress.table_value - wants.best[:, None]
    over = jnp.where(is_best, wants.regret[:, None], over) / std
    num_first = jnp.sum(first, axis=-1)
    num_listed = jnp.sum(jnp.any(listed, axis=-1), axis=-1)
    return (
        num_first / (1.0 + num_first),
        num_listed / (1.0 + num_listed),
        jnp.max(lost, axis=-1),
        jnp.log1p(jnp.sum(lost, axis=-1)),
        jnp.max(jnp.where(listed, over, -UNWANTED), axis=(1, 2)),
    )


def _context(
    inst: Instance, progress: Progress, wants: Demand, left: Float[Array, ""]
) -> Float[Array, "context"]:
    K, M = jnp.sum(inst.user_mask), inst.num_channels
    row, idle = progress.row, jnp.sum(~inst.occupied)
    std = progress.std[row]
    placed = jnp.sum(progress.holder >= 0)
    power = inst.mean_power_w
    log_power = jnp.log(jnp.maximum(power.mean(axis=-1) if inst.power_per_pair else power, 1e-30))
    mean_power = jnp.sum(jnp.where(inst.user_mask, log_power, 0.0)) / jnp.maximum(K, 1)
    entries = (
        1.0 - left,
        K / M,
        idle / M,
        (K - placed) / jnp.maximum(idle - placed, 1),
        progress.std[row] / jnp.maximum(jnp.abs(progress.mean[row]), 1e-30),
        (log_power[row] - mean_power) / 5.0,
        wants.regret[row] / std,
        jnp.sum(wants.regret) / jnp.maximum(K - placed, 1) / std,
        *(jnp.asarray(float(inst.objective == name)) for name in OBJECTIVES),
    )
    return jnp.stack([jnp.asarray(entry, std.dtype) for entry in entries])

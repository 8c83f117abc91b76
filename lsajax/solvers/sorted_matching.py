"""Strong users on wide channels: exact in O(N log N) where power is alike on all channels."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from lsajax import link, objective
from lsajax._numerics import argsort, exact_sum
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.solvers.solution import Duals, Solution, Status


class _Ranked(NamedTuple):
    """The k-th strongest user beside the k-th widest idle channel.

    Attributes:
        user: rows by descending power.
        channel: channels by descending bandwidth.
        power_w: of the users in that order, 0 from the last one on [W].
        bandwidth_hz: of the channels in that order, 0 from the last idle one on [Hz].
    """

    user: Int32[Array, "users"]
    channel: Int32[Array, "channels"]
    power_w: Float[Array, "ranks"]
    bandwidth_hz: Float[Array, "ranks"]


@jax.jit
def sorted_matching(key: jax.Array, inst: Instance) -> Solution:
    r"""The k-th strongest user by power gets the k-th widest idle channel.

    Where received power does not depend on the channel and I_m = 0, the rate
    r(P, B) = B log2(1 + P / (N_0 B)) grows in both arguments and d2r / dP dB > 0: exchanging two
    pairs that are in order never gains, so the matching is optimal. Its duals are sums along the
    ranks (rank k below is the k-th strongest user or the k-th widest channel):

        g_k = sum_{l >= k} r(P_{l+1}, B_l) - r(P_{l+1}, B_{l+1}),    f_k = r(P_k, B_k) - g_k

    with zeros beyond the last user or channel.

    Of the fair utility that holds for small alpha alone: the more it asks for the weak, the sooner
    the weak belong on the wide channels. The same sums of its values are then checked against all
    pairs, in O(K M).

    Args:
        key: unused; the method is deterministic.
        inst: one slot; where rates do not go by power alone (`rate_by_power`), or users differ by
            weights and needs, the matching goes by mean power and is a heuristic.

    Returns:
        Solution with status OPTIMAL, with duals for `certify`, where the inequalities that prove
        it hold numerically; else FEASIBLE.
    """
    del key
    check_one_slot(inst)
    ranked = _rank(inst)
    K, M = inst.num_rows, inst.num_channels
    by_rank = jnp.full(K, -1, jnp.int32).at[: min(K, M)].set(ranked.channel[:K])
    by_rank = jnp.where(_served(inst), by_rank, -1)
    assignment = jnp.full(K, -1, jnp.int32).at[ranked.user].set(by_rank)
    values = objective.assigned_values(inst, assignment)
    value = exact_sum(values)
    if inst.objective == "coupled":
        value = objective.feasible_value(inst, assignment)
    by_rank_alone = inst.rate_by_power and inst.weight is None and inst.min_rate_bps is None
    if not by_rank_alone or inst.objective == "coupled":
        return Solution(assignment, value, jnp.int32(Status.FEASIBLE))
    price, ordered = _prices(inst, ranked) if inst.sortable else _utility_prices(inst, ranked)
    column = jnp.zeros(M, values.dtype).at[ranked.channel].set(price[:M])
    row = jnp.maximum(values - jnp.where(assignment >= 0, column[assignment], 0.0), 0.0)
    duals = Duals(row, column)
    proven = ordered if inst.sortable else ordered & _cover(inst, duals)
    status = jnp.where(proven, Status.OPTIMAL, Status.FEASIBLE).astype(jnp.int32)
    return Solution(assignment, value, status, duals)


def _served(inst: Instance) -> Bool[Array, "users"]:
    """Which ranks of users are served."""
    count = jnp.minimum(jnp.sum(inst.user_mask), jnp.sum(~inst.occupied))
    return jnp.arange(inst.num_rows) < count


def _rank(inst: Instance) -> _Ranked:
    K, M = inst.num_rows, inst.num_channels
    power = jnp.where(inst.user_mask, inst.user_power_w, -1.0)
    bandwidth = jnp.where(inst.occupied, -1.0, inst.bandwidth_hz)
    user = argsort(-power)
    channel = argsort(-bandwidth)
    ranks = max(K, M) + 1
    return _Ranked(
        user,
        channel,
        jnp.zeros(ranks, power.dtype).at[:K].set(jnp.maximum(power[user], 0.0)),
        jnp.zeros(ranks, bandwidth.dtype).at[:M].set(jnp.maximum(bandwidth[channel], 0.0)),
    )


def _prices(inst: Instance, ranked: _Ranked) -> tuple[Float[Array, "ranks"], Bool[Array, ""]]:
    """g by rank of the channel, and whether neighbouring ranks satisfy the inequalities."""
    power, wide, narrow = ranked.power_w, ranked.bandwidth_hz[:-1], ranked.bandwidth_hz[1:]
    noise = inst.noise_psd_w_hz if inst.snr_gap is None else inst.noise_psd_w_hz * inst.snr_gap
    own, own_size = _rate_step(power[:-1], wide, narrow, noise)
    weaker, _ = _rate_step(power[1:], wide, narrow, noise)
    # A rank's user values the wider channel at least as much as the next user does; both gain.
    slack = 16 * jnp.finfo(own.dtype).eps * own_size
    ordered = (power[:-1] >= power[1:]) & (wide >= narrow)
    verified = jnp.all(ordered & (weaker >= -slack) & (own >= weaker - slack))
    price = jnp.cumsum(jnp.maximum(weaker, 0.0)[::-1])[::-1]
    return jnp.append(price, 0.0), verified


def _utility_prices(
    inst: Instance, ranked: _Ranked
) -> tuple[Float[Array, "ranks"], Bool[Array, ""]]:
    """g by rank of the channel for any value that grows with the rate, and whether it is >= 0."""
    power, wide, narrow = ranked.power_w[1:], ranked.bandwidth_hz[:-1], ranked.bandwidth_hz[1:]
    step = _value_of(inst, power, wide) - _value_of(inst, power, narrow)
    price = jnp.cumsum(step[::-1])[::-1]
    return jnp.append(price, 0.0), jnp.all(price >= 0)


def _value_of(inst: Instance, power_w: Array, bandwidth_hz: Array) -> Array:
    rate = link.rate_of(inst, power_w, jnp.where(bandwidth_hz > 0, bandwidth_hz, 1.0), 0.0)
    return objective.user_values(inst, jnp.where(bandwidth_hz > 0, rate, 0.0))


def _cover(inst: Instance, duals: Duals) -> Bool[Array, ""]:
    """Whether no pair is worth more than its two duals, up to rounding; a row at a time."""
    limit = 16 * jnp.finfo(duals.row.dtype).eps

    def of_row(i: Array) -> Array:
        value = objective.value_at(inst, i, None)
        dual = duals.row[i] + duals.column
        fits = value <= dual + limit * jnp.maximum(jnp.abs(value), jnp.abs(dual))
        return jnp.all(fits | inst.occupied) | ~inst.user_mask[i]

    return jnp.all(lax.map(of_row, jnp.arange(inst.num_rows), batch_size=64))


def _rate_step(
    power_w: Array, wide_hz: Array, narrow_hz: Array, noise_psd_w_hz: Array
) -> tuple[Array, Array]:
    """r(P, wide) - r(P, narrow) without the cancellation of two rates near 1e8 bit/s.

    With s = P / (N_0 B): (B' - B) log2(1 + s') + B log2(1 + (s' - s) / (1 + s)). At an SNR far
    below 1 these two cancel in their turn; the second result is the sum of their magnitudes.
    """
    seen = power_w / noise_psd_w_hz
    safe_wide = jnp.where(wide_hz > 0, wide_hz, 1.0)
    safe_narrow = jnp.where(narrow_hz > 0, narrow_hz, 1.0)
    difference = wide_hz - narrow_hz
    gain = difference * jnp.log1p(seen / safe_wide)
    change = -(seen / safe_wide) * (difference / safe_narrow) / (1.0 + seen / safe_narrow)
    loss = jnp.where(narrow_hz > 0, narrow_hz * jnp.log1p(change), 0.0)
    step = jnp.stack([gain + loss, gain + jnp.abs(loss)]) * (1 / math.log(2))
    return tuple(jnp.where(wide_hz > 0, step, 0.0))

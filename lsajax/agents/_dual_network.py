"""The network behind `agents.dual`: a price for each channel of a value matrix of any size.

Two ideas that are exact in a limit each, with learned numbers in between:

- Where values are a sum a_i + c_m, the optimal prices are max(0, c_m - t) with t the worth of the
  K-th best channel. A perceptron per channel makes the base price of that.
- Where they are independent draws, belief propagation converges to the optimal duals in a few
  rounds, whatever the size (Salez and Shah, Math. Oper. Res. 34, 2009). Rounds of it run on each
  user's best few channels at the base prices, and a second perceptron reads the final bids.

All that the perceptrons see is a ratio, and all pooling over users or channels is a mean or a
maximum: nothing depends on the size or on the unit of the values.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lsajax._numerics import exact_sum
from lsajax.solvers.solution import Duals

_CLOSED = -3e38  # finite: a bit pattern is written over the last bits of it
_LANES = 64  # at least so many groups of channels
_CHUNKS = 32  # at most so many channels in a group
_MOST = 8.0  # bound of what a perceptron sees
_LEAST = 1e-4  # price that counts, relative to the numbers it is a difference of


class Candidates(NamedTuple):
    """The best channels of each user, the best one first.

    Attributes:
        channel: their indices; M where there is none.
        value: value less price there, to 18 bits; `_CLOSED` where there is none.
    """

    channel: Int[Array, "users candidates"]
    value: Float[Array, "users candidates"]


class DualNetwork(nn.Module):
    """Prices of the channels, at least 0, in the unit of the values.

    Attributes:
        hidden: units of both perceptrons.
        candidates: channels of each user that take part in the rounds.
        rounds: of belief propagation.
    """

    hidden: int = 32
    candidates: int = 16
    rounds: int = 16

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "users channels"],
        user_mask: Bool[Array, "users"],
        idle: Bool[Array, "channels"],
    ) -> Float[Array, "channels"]:
        """One pass. Values at closed channels and of padded users are not looked at."""
        seen = _overview(values, user_mask, idle)
        gate, bias, rest = self._perceptron(seen.features, 3, "base")
        # At the first step of training the base price is that of additive values.
        base = seen.scale * nn.relu(2 * nn.sigmoid(gate) * seen.above + bias)
        base = jnp.where(idle, base, 0.0)
        found = best_channels(values, jnp.where(idle, base, -_CLOSED), self.candidates)
        exists = user_mask[:, None] & (found.channel < idle.size)
        last = jnp.min(jnp.where(exists, found.value, jnp.inf), axis=1, keepdims=True)
        lead = jnp.where(exists, found.value - last, 0.0)
        unit = _ratio(jnp.sum(lead[:, 0]), jnp.sum(user_mask))
        unit = jnp.where(unit > 0, unit, seen.scale)
        # A price does not fall below 0, nor below what users who do not list a channel would pay.
        floor = -jnp.minimum(base / unit, nn.softplus(rest))
        channel, lead = jnp.where(exists, found.channel, idle.size), lead / unit
        first, second = self._rounds(channel, lead, floor)
        share, shift = self._read(seen, first, second, floor, unit)
        above = jnp.maximum(second + share * (first - second) + shift, floor)
        above = jnp.minimum(above, _offers(channel, lead, above, floor))
        price = base + unit * above
        # What rounding leaves of 0 would cost the exact solver a search for each idle channel.
        return jnp.where(idle & (price > _LEAST * (base + unit)), price, 0.0)

    def _rounds(
        self,
        channel: Int[Array, "users candidates"],
        lead: Float[Array, "users candidates"],
        floor: Float[Array, "channels"],
    ) -> tuple[Float[Array, "channels"], Float[Array, "channels"]]:
        """The two highest bids on each channel, above its base price, at least `floor`."""
        damping = self.param("damping", nn.initializers.constant(3.0), (self.rounds,))
        at = jnp.minimum(channel, floor.size - 1)

        def exchange(ask: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
            net = lead - ask
            top = jnp.max(net, axis=1, keepdims=True)
            is_top = net == top
            runner_up = jnp.max(jnp.where(is_top, -jnp.inf, net), axis=1, keepdims=True)
            # A user's channels beyond the last candidate are worth no more to it than that: lead 0.
            bid = lead - jnp.maximum(jnp.where(is_top, runner_up, top), 0.0)
            first = floor.at[channel].max(bid, mode="drop")
            wins = bid >= first[at]
            second = floor.at[jnp.where(wins, floor.size, channel)].max(bid, mode="drop")
            rivals = jnp.where(wins, second[at], first[at])
            keep = nn.sigmoid(weight)
            return keep * rivals + (1 - keep) * ask, (first, second)

        # What each channel costs each user at present; nothing above the base price at first.
        ask = jnp.maximum(floor[at], 0.0)
        ask, _ = lax.scan(lambda ask, w: (exchange(ask, w)[0], None), ask, damping[:-1])
        return exchange(ask, damping[-1])[1]

    def _read(
        self,
        seen: "Overview",
        first: Float[Array, "channels"],
        second: Float[Array, "channels"],
        floor: Float[Array, "channels"],
        unit: Float[Array, ""],
    ) -> tuple[Float[Array, "channels"], Float[Array, "channels"]]:
        """Where between its two highest bids a channel's price lies, and what is added to it."""
        fine = jnp.broadcast_to(unit / seen.scale, first.shape)
        more = jnp.stack([first, second, first - second, floor, fine], axis=-1)
        more = jnp.clip(more, -_MOST, _MOST)
        share, shift = self._perceptron(jnp.concatenate([seen.features, more], -1), 2, "read")
        return nn.sigmoid(share), shift

    def _perceptron(self, x: Array, outputs: int, name: str) -> tuple[Array, ...]:
        x = nn.relu(nn.Dense(self.hidden, name=f"{name}_in")(x))
        x = nn.relu(nn.Dense(self.hidden, name=f"{name}_hidden")(x))
        zeros = nn.initializers.zeros
        x = nn.Dense(outputs, kernel_init=zeros, name=f"{name}_out")(x)
        return tuple(jnp.moveaxis(x, -1, 0))


def _offers(
    channel: Int[Array, "users candidates"],
    lead: Float[Array, "users candidates"],
    above: Float[Array, "channels"],
    floor: Float[Array, "channels"],
) -> Float[Array, "channels"]:
    """What each channel may cost so that some user would still choose it (the c-transform).

    A price above that is paid by nobody: lower it, and the bound falls by as much.
    """
    at = jnp.minimum(channel, floor.size - 1)
    best = jnp.max(lead - above[at], axis=1, keepdims=True)
    return floor.at[channel].max(lead - jnp.maximum(best, 0.0), mode="drop")


class Overview(NamedTuple):
    """What means over all users say.

    Attributes:
        scale: mean over the users of the best value less the mean one.
        above: mean worth of each channel above that of the K-th best one, in `scale`.
        features: of each channel, clipped ratios.
    """

    scale: Float[Array, ""]
    above: Float[Array, "channels"]
    features: Float[Array, "channels features"]


def _overview(
    values: Float[Array, "users channels"],
    user_mask: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
) -> Overview:
    on, open_ = user_mask.astype(values.dtype), idle.astype(values.dtype)
    users, channels = jnp.sum(on), jnp.sum(open_)
    worth = _ratio(on @ values, users)
    mean = _ratio(worth @ open_, channels)
    best = jnp.max(jnp.where(idle, values, _CLOSED), axis=1)
    scale = _ratio(on @ jnp.where(user_mask, best, 0.0), users) - mean
    scale = jnp.where(scale > 0, scale, 1.0)
    worth = jnp.where(idle, (worth - mean) / scale, 0.0)
    above = worth - _largest(worth, idle, jnp.minimum(users, channels))
    spread = jnp.sqrt(_ratio(jnp.sum(worth**2), channels))
    load = _ratio(users, channels)
    alike = (jnp.ones_like(worth) * x for x in (spread, load, jnp.log(jnp.maximum(load, 1e-3))))
    relative = worth / jnp.where(spread > 0, spread, 1.0)
    features = jnp.stack([worth, above, relative, *alike], axis=-1)
    return Overview(scale, above, jnp.clip(features, -_MOST, _MOST))


def _ratio(total: Array, count: Array) -> Array:
    return total / jnp.maximum(count, 1)


def _largest(
    x: Float[Array, "n"], among: Bool[Array, "n"], count: Float[Array, ""]
) -> Float[Array, ""]:
    """The largest t that `count` members reach, to 2^-24 of their range; a sort takes longer."""
    low = jnp.min(x, where=among, initial=jnp.inf)
    high = jnp.max(x, where=among, initial=-jnp.inf)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = jnp.sum(among & (x >= middle)) >= count
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = lax.fori_loop(0, 24, halve, (low, high))
    return jnp.where(jnp.isfinite(low), low, 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def best_channels(
    values: Float[Array, "users channels"], cost: Float[Array, "channels"], count: int
) -> Candidates:
    """The `count` best channels of each user by value less cost, nearly.

    A sort of whole rows takes longer than solving the problem. Channels are dealt into at least 64
    groups, of each of which the best two are found in one vectorised pass and the best of those
    sorted; up to 64 channels that is exact, and the best two of a user are so always. Where each
    was found is written over the last bits of the value, at most five.

    Args:
        values: finite.
        cost: of each channel; 3e38 closes it.
        count: how many.
    """
    channels = values.shape[1]
    chunks = min(max(-(-channels // _LANES), 1), _CHUNKS)
    lanes = -(-channels // chunks)
    bits = math.ceil(math.log2(chunks))
    word = jnp.dtype(f"int{8 * values.dtype.itemsize}")

    def tagged(chunk: int) -> Array:
        part = slice(chunk * lanes, min((chunk + 1) * lanes, channels))
        net = values[:, part] - cost[part]
        lacking = lanes - net.shape[1]
        net = jnp.pad(net, ((0, 0), (0, lacking)), constant_values=_CLOSED) if lacking else net
        raw = lax.bitcast_convert_type(net, word) >> bits << bits
        return lax.bitcast_convert_type(raw | chunk, values.dtype)

    first = tagged(0)
    second = jnp.full_like(first, _CLOSED)
    for chunk in range(1, chunks):
        other = tagged(chunk)
        second = jnp.maximum(second, jnp.minimum(first, other))
        first = jnp.maximum(first, other)
    both = first if chunks == 1 else jnp.concatenate([first, second], axis=1)
    value, place = lax.top_k(both, min(count, both.shape[1]))
    tag = lax.bitcast_convert_type(value, word) & ((1 << bits) - 1)
    channel = (tag * lanes + place % lanes).astype(jnp.int32)
    found = value > _CLOSED / 2
    return Candidates(jnp.where(found, channel, channels), jnp.where(found, value, _CLOSED))


@best_channels.defjvp
def _best_channels_jvp(count: int, primals: tuple, tangents: tuple) -> tuple:
    """The derivative that bit patterns do not have: that of reading the entries."""
    found = best_channels(*primals, count)
    exists = found.channel < primals[1].size
    at = jnp.where(exists, found.channel, 0)
    read = jnp.take_along_axis(tangents[0], at, axis=1) - tangents[1][at]
    none: Any = np.zeros(found.channel.shape, jax.dtypes.float0)
    return found, Candidates(none, jnp.where(exists, read, 0.0))


def predict(
    network: DualNetwork,
    params: Any,
    values: Float[Array, "users channels"],
    user_mask: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
) -> Float[Array, "channels"]:
    """What the network with these weights says."""
    price: Any = network.apply(params, values, user_mask, idle)
    return price


def complete(
    price: Float[Array, "channels"],
    values: Float[Array, "users channels"],
    user_mask: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
) -> Duals:
    """The feasible duals of these prices: f_i = max(0, max_m (v_im - v_m)), 0 for padded users."""
    best = jnp.max(jnp.where(idle, values - price, -jnp.inf), axis=1, initial=0.0)
    return Duals(jnp.where(user_mask, best, 0.0), price)


def dual_objective(duals: Duals) -> Float[Array, ""]:
    """D, an upper bound on every assignment's value where the duals are feasible."""
    return exact_sum(jnp.asarray(duals.row)) + exact_sum(jnp.asarray(duals.column))

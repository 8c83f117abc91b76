"""Swap neighbourhoods of quadratic assignment, for many chains at once: tabu search and annealing.

All swaps of a chain are valued in each iteration, from a matrix that one swap changes by a rank-two
update. With Bp[u, v] = B[p_u, p_v] and

    S[u, v] = sum_k A[k, u] Bp[k, v] + A[u, k] Bp[v, k] + L[u, p_v]

exchanging the places of u and v changes the cost sum A_uv B_{p_u p_v} + sum L[u, p_u] by

    D[u, v] = S[u, v] + S[v, u] - S[u, u] - S[v, v] + a[u, v] b[p_u, p_v],
    a[u, v] = A[u, u] + A[v, v] - A[u, v] - A[v, u],  b likewise from B.

Chains are the last axis of every array, so that each step is vector instructions across chains:
that is why the chain axis is written out here instead of left to vmap, which would put it first.

References:
    E. Taillard, "Robust taboo search for the quadratic assignment problem", Parallel Computing 17
    (1991). J. W. Greene, K. J. Supowit, "Simulated annealing without rejected moves", IEEE Trans.
    CAD 5 (1986).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from lsajax import hashing
from lsajax.solvers._anytime import Phase


class Problem(NamedTuple):
    """Minimise sum A_uv B_{p_u p_v} + sum L[u, p_u] over permutations p.

    Attributes:
        flow: A.
        distance: B.
        linear: L.
    """

    flow: Float[Array, "n n"]
    distance: Float[Array, "n n"]
    linear: Float[Array, "n n"]


class Chains(NamedTuple):
    """State of all chains; the last axis is the chain.

    Attributes:
        place: p.
        cost: of p, up to rounding of the swaps since `start`.
        near: Bp.
        sums: S.
        until: u may not return to the place of v before this iteration.
        best_place: p of the lowest cost so far.
        best: that cost.
        iteration: swaps made.
    """

    place: Int[Array, "n chains"]
    cost: Float[Array, "chains"]
    near: Float[Array, "n n chains"]
    sums: Float[Array, "n n chains"]
    until: Int[Array, "n n chains"]
    best_place: Int[Array, "n chains"]
    best: Float[Array, "chains"]
    iteration: Int[Array, ""]


class State(NamedTuple):
    """A search under way, see `phases`.

    Attributes:
        problem: what is minimised.
        chains: where the chains are.
        hot: first temperature of each chain.
        start: what the caller wants to find again at the end.
    """

    problem: Problem
    chains: Chains
    hot: Float[Array, "chains"]
    start: Any = None


def phases(key: jax.Array, *, cooling: float, tabu_share: float) -> tuple[Phase, ...]:
    """Annealing, then tabu search from the best places of all chains.

    Args:
        key: PRNG key.
        cooling: last temperature over the first.
        tabu_share: share of the tabu search; with 1 there is no annealing.
    """
    annealing_seed, tabu_seed = (
        hashing.seeds(hashing.named_key(key, name), 1)[0] for name in ("annealing", "tabu")
    )

    def cool(s: State, count: int, begin: float, end: float) -> State:
        hot, cold = s.hot * cooling**begin, s.hot * cooling**end
        chains = anneal(annealing_seed, s.problem, s.chains, jnp.int32(count), hot, cold)
        return s._replace(chains=chains)

    def descend(s: State, count: int, begin: float, end: float) -> State:
        chains = s.chains
        if begin == 0.0:
            chains = chains._replace(place=chains.best_place)
        return s._replace(chains=tabu(tabu_seed, s.problem, chains, jnp.int32(count)))

    both = (Phase(cool, 1.0 - tabu_share), Phase(descend, tabu_share))
    return both if tabu_share < 1.0 else both[1:]


@jax.jit
def start(p: Problem, place: Int[Array, "n chains"]) -> Chains:
    """Fresh chains at the given permutations."""
    near = p.distance[place[:, None], place[None]]
    linear = p.linear[:, place]  # [u, v, chain] = L[u, p_v]
    # On a GPU the default precision would round each factor to ten bits.
    product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    sums = product("ku,kvc->uvc", p.flow, near) + product("uk,vkc->uvc", p.flow, near)
    n = place.shape[0]
    diagonal = jnp.arange(n)
    cost = product("uv,uvc->c", p.flow, near) + linear[diagonal, diagonal].sum(0)
    until = jnp.zeros(near.shape, jnp.int32)
    return Chains(place, cost, near, sums + linear, until, place, cost, jnp.int32(0))


def refresh(p: Problem, s: Chains) -> Chains:
    """The same chains with cost and sums computed anew: rounding does not build up."""
    fresh = start(p, s.place)
    return s._replace(cost=fresh.cost, near=fresh.near, sums=fresh.sums)


@jax.jit
def swap_costs(p: Problem, s: Chains) -> Float[Array, "n n chains"]:
    """D[u, v] of every chain."""
    a, b = _own_terms(p.flow[:, :, None]), _own_terms(s.near)
    own = _diagonal(s.sums)
    return s.sums + s.sums.transpose(1, 0, 2) - own[:, None] - own[None] + a * b


def _diagonal(x: Float[Array, "n n chains"]) -> Float[Array, "n chains"]:
    i = jnp.arange(x.shape[0])
    return x[i, i]


def _own_terms(x: Float[Array, "n n chains"]) -> Float[Array, "n n chains"]:
    own = _diagonal(x)
    return own[:, None] + own[None] - x - x.transpose(1, 0, 2)


@jax.jit
def tabu(seed: UInt32[Array, "2"], p: Problem, s: Chains, iterations: Int[Array, ""]) -> Chains:
    """`iterations` of robust tabu search: the best swap that is allowed, be it worse.

    A swap is forbidden while both items would return to places left lately, unless it gives a new
    best of its chain. The tenure of each prohibition is random in [0, 8 n), small ones more often.
    """
    n = s.place.shape[0]

    def choose(s: Chains, change: Float[Array, "n n chains"]) -> Float[Array, "n n chains"]:
        forbidden = (s.until > s.iteration) & (s.until.transpose(1, 0, 2) > s.iteration)
        return jnp.where(forbidden & (s.cost + change >= s.best), jnp.inf, change)

    def tenure(s: Chains) -> Int[Array, "2 chains"]:
        counter = s.iteration * 2 + jnp.arange(2)[:, None]
        draw = hashing.uniform(seed, counter, jnp.arange(s.cost.shape[0]))
        return s.iteration + 1 + (8 * n * draw**3).astype(jnp.int32)

    def body(_: Array, s: Chains) -> Chains:
        return _swap_best(p, s, choose, tenure)

    return lax.fori_loop(0, iterations, body, refresh(p, s))


@jax.jit
def anneal(
    seed: UInt32[Array, "2"],
    p: Problem,
    s: Chains,
    iterations: Int[Array, ""],
    hot: Float[Array, "chains"],
    cold: Float[Array, "chains"],
) -> Chains:
    """`iterations` accepted moves of simulated annealing, cooling geometrically from hot to cold.

    Metropolis accepts swap (u, v) at the rate min(1, exp(-D / T)); the first one accepted is drawn
    at once, as the first arrival of exponential clocks with these rates. At low temperature, where
    nearly all proposals would be rejected, each iteration stands for as many of them as there are
    swaps and more.
    """
    n, chains = s.place.shape
    pair = jnp.arange(n * n).reshape(n, n, 1) * chains + jnp.arange(chains)

    def body(k: Array, s: Chains) -> Chains:
        share = k / jnp.maximum(iterations, 1)
        temperature = (hot * (cold / hot) ** share).astype(s.cost.dtype)

        def choose(s: Chains, change: Float[Array, "n n chains"]) -> Float[Array, "n n chains"]:
            wait = -jnp.log(hashing.uniform(seed ^ hashing.bits(seed, s.iteration), pair))
            return jnp.log(wait).astype(change.dtype) + jnp.maximum(change, 0.0) / temperature

        return _swap_best(p, s, choose, None)

    return lax.fori_loop(0, iterations, body, refresh(p, s))


def _swap_best(
    p: Problem,
    s: Chains,
    choose: Callable[[Chains, Array], Array],
    tenure: Callable[[Chains], Array] | None,
) -> Chains:
    """Each chain makes the swap of the lowest score."""
    n, chains = s.place.shape
    item, chain = jnp.arange(n), jnp.arange(chains)
    change = swap_costs(p, s)
    upper = (item[:, None] < item)[:, :, None]
    score = jnp.where(upper, choose(s, change), jnp.inf)
    # Not the place where the score equals its minimum: the compiler may round the two otherwise.
    # With everything forbidden (n of 2 or 3) all scores are inf, and the first swap is made.
    pick = jnp.maximum(score.reshape(n * n, chains).argmin(0), 1)
    r, q = pick // n, pick % n
    moved = _apply(p, s, r, q)
    cost = s.cost + change[r, q, chain]
    if tenure is not None:
        expiry = tenure(s)
        until = moved.until.at[r, q, chain].set(expiry[0]).at[q, r, chain].set(expiry[1])
        moved = moved._replace(until=until)
    better = cost < s.best
    return moved._replace(
        cost=cost,
        best_place=jnp.where(better, moved.place, s.best_place),
        best=jnp.where(better, cost, s.best),
        iteration=s.iteration + 1,
    )


def _apply(p: Problem, s: Chains, r: Int[Array, "chains"], q: Int[Array, "chains"]) -> Chains:
    """Exchanges the places of items r and q of each chain."""
    n, chains = s.place.shape
    item, chain = jnp.arange(n)[:, None], jnp.arange(chains)
    both = jnp.stack([r, q])  # [2, chain]
    at_r, at_q = item == r, item == q  # [item, chain]

    def exchanged(x: Array) -> Array:  # [v, chain]
        return jnp.where(at_r, x[q, chain], jnp.where(at_q, x[r, chain], x))

    def columns_exchanged(x: Array) -> Array:  # [u, v, chain]
        pair = x[:, both, chain]
        return jnp.where(at_r, pair[:, 1][:, None], jnp.where(at_q, pair[:, 0][:, None], x))

    out_flow, in_flow = p.flow[both], p.flow.T[both]  # [2, chain, u]
    near_rows = s.near[both, :, chain]  # [2, chain, v]
    near_columns = s.near[:, both, chain]  # [v, 2, chain]
    out_step = exchanged((near_rows[1] - near_rows[0]).T)
    in_step = exchanged(near_columns[:, 1] - near_columns[:, 0])
    sums = (
        columns_exchanged(s.sums)
        + (out_flow[0] - out_flow[1]).T[:, None] * out_step
        + (in_flow[0] - in_flow[1]).T[:, None] * in_step
    )
    near = columns_exchanged(s.near)
    rows = near[both, :, chain]
    near = jnp.where(at_r[:, None], rows[1].T, jnp.where(at_q[:, None], rows[0].T, near))
    place, until = exchanged(s.place), columns_exchanged(s.until)
    return s._replace(place=place, near=near, sums=sums, until=until)

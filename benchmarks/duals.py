"""What duals to start from save the exact solver: the network's, the last slot's, the best ones.

`python -m benchmarks.duals [--quick]` follows traces of slots at scales I to III and shares K / M
of requesting users. On each slot the contestants take turns on the same value matrix, so that other
work on the machine meets all alike: only their ratios to the cold solve of the same turn are to be
quoted. JSON and a figure are written beside each other.

- `cold`: the exact solver as it is.
- `network`: the forward pass alone; `network + warm`: with the solve from its prices, one program.
- `network's duals`, `slot before's duals`, `exact duals`: the solve alone, from given prices; the
  last are this slot's own and the best there can be.
- `untrained + warm`: the same network before training: belief propagation.
- `auction round + warm`: prices after one bid of every user, no network.
- `slot, cold` and `slot, network`: with the computation of the value matrix, from the instance on.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Bool, Float

import lsajax as lsa
from benchmarks.duals_figure import figure
from benchmarks.timing import interleave, ratio, write
from lsajax import hashing, solvers, traffic
from lsajax.agents import dual

SHARES = (0.2, 0.5, 0.75, 0.95)
COLD = "cold"
_PAIRS = {"slot, network": "slot, cold"}  # what is not compared with `cold`


@dataclasses.dataclass(frozen=True)
class Config:
    """The benchmark of duals to start from.

    Args:
        quick: small networks, few slots.
        weights: name of shipped weights.
        settings: what rates depend on.
        slots: of each trace, after the first one.
        turns: on each slot.
        seed: of the traces.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    weights: str = "dual"
    settings: tuple[str, ...] = ("fading", "multipath")
    slots: int = 4
    turns: int = 4
    seed: int = 1
    out: pathlib.Path = pathlib.Path("results/benchmarks/duals.json")


def trace(key: jax.Array, scenario: lsa.Scenario, slots: int) -> Iterator[lsa.Instance]:
    """Consecutive slots of one network with bursty users and Markov primary users."""
    step = jax.jit(lambda key, state: traffic.step(key, scenario, state))
    build = jax.jit(lambda state: lsa.slot_instance(key, scenario, state))
    state = traffic.init(hashing.named_key(key, "traffic"), scenario)
    for slot in range(slots):
        if slot:
            state = step(hashing.named_key(key, "step", slot), state)
        yield build(state)


def auction_round(
    values: Float[Array, "users channels"],
    users: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
) -> Float[Array, "channels"]:
    """Each user bids for its best channel what that is worth above its second best."""
    net = jnp.where(idle, values, -jnp.inf)
    best, channel = jnp.max(net, axis=1), jnp.argmax(net, axis=1)
    column = jnp.arange(idle.size)
    second = jnp.max(jnp.where(column == channel[:, None], -jnp.inf, net), axis=1)
    bid = jnp.where(users, best - second, -jnp.inf)
    high = jnp.zeros(idle.size, values.dtype).at[channel].max(bid)
    # The second highest bid is what a channel costs: only one user has it at the highest.
    others = jnp.where(bid == high[channel], -jnp.inf, bid)
    return jnp.zeros(idle.size, values.dtype).at[channel].max(others)


def solve(
    values: Float[Array, "users channels"],
    users: Bool[Array, "users"],
    idle: Bool[Array, "channels"],
    price: Float[Array, "channels"] | None = None,
) -> solvers.Solution:
    """The exact solver, from prices where they are given."""
    start = None
    if price is not None:
        start = solvers.Duals(jnp.zeros(users.shape, values.dtype), price)
    return solvers.linear_sum_assignment(
        values, True, row_mask=users, col_mask=idle, init_duals=start
    )


cold = jax.jit(lambda *given: solve(*given))
warm = jax.jit(solve)
network = jax.jit(dual.prices)
slot_cold = jax.jit(solvers.hungarian)


@jax.jit
def with_network(params: dual.Params, *given: Array) -> solvers.Solution:
    """Prices and the solve from them; weights are an argument, so that others run the same."""
    return solve(*given, dual.prices(params, *given))


@jax.jit
def with_auction(*given: Array) -> solvers.Solution:
    """A round of bids and the solve from it."""
    return solve(*given, auction_round(*given))


@jax.jit
def slot_network(params: dual.Params, key: jax.Array, inst: lsa.Instance) -> solvers.Solution:
    """Value matrix, prices and solve."""
    return dual.make_solver(params)(key, inst)


def measure(config: Config, params: dual.Params, cell: dict[str, Any]) -> dict[str, Any]:
    """One row: medians over slots and turns of seconds and of ratios, and what the prices miss."""
    size, users = cell["num_channels"], cell["num_active"]
    scenario = lsa.Scenario(num_users=size, num_channels=size, num_active=users)
    scenario = scenario.replace(**lsa.SETTINGS[cell["setting"]])
    key = hashing.named_key(jax.random.key(config.seed), *cell.values())
    untrained = dual.init(jax.random.key(0))
    seconds: dict[str, list[np.ndarray]] = {}
    gaps, before = [], None
    for inst in trace(key, scenario, config.slots + 1):
        given = (lsa.value_matrix(inst), inst.user_mask, ~inst.occupied)
        best = jax.block_until_ready(cold(*given))
        price = network(params, *given)
        if before is not None:
            starts = {
                "network's duals": price,
                "slot before's duals": before.column,
                "exact duals": best.duals.column,
            }
            contestants = {
                COLD: functools.partial(cold, *given),
                "network": functools.partial(network, params, *given),
                **{n: functools.partial(warm, *given, start) for n, start in starts.items()},
                "network + warm": functools.partial(with_network, params, *given),
                "untrained + warm": functools.partial(with_network, untrained, *given),
                "auction round + warm": functools.partial(with_auction, *given),
                "slot, cold": functools.partial(slot_cold, key, inst),
                "slot, network": functools.partial(slot_network, params, key, inst),
            }
            for name, call in contestants.items():
                if name != "network":
                    assert np.isclose(call().value, best.value, rtol=1e-6), name
            for name, taken in interleave(contestants, config.turns).items():
                seconds.setdefault(name, []).append(taken)
            bound = dual.dual_objective(dual.complete(price, *given))
            gaps.append(float(bound / best.value - 1))
        before = best.duals
    taken = {name: np.concatenate(parts) for name, parts in seconds.items()}
    over = {n: ratio(s, taken[_PAIRS.get(n, COLD)]) for n, s in taken.items()}
    return {
        **cell,
        "share": users / size,
        "turns": len(taken[COLD]),
        "median_ms": {name: float(np.median(s)) * 1e3 for name, s in taken.items()},
        "over_cold": over,
        "dual_gap_percent": float(np.mean(gaps)) * 100,
    }


def main(config: Config) -> None:
    """Measures, prints and writes."""
    params = dual.load(config.weights)
    scales = {"I": 200} if config.quick else {n: s.num_channels for n, s in lsa.SCALES.items()}
    if config.quick:
        config = dataclasses.replace(config, slots=2, turns=2)
    print(f"seconds over a cold solve of the same turn; {solvers.assignment_kernel()}")
    rows = []
    for setting in config.settings:
        for scale, size in scales.items():
            for share in SHARES:
                cell = {
                    "setting": setting,
                    "scale": scale,
                    "num_channels": size,
                    "num_active": round(share * size),
                }
                row = measure(config, params, cell)
                rows.append(row)
                over = ", ".join(f"{n} {r:.2f}" for n, r in row["over_cold"].items() if n != COLD)
                cold, gap = row["median_ms"][COLD], row["dual_gap_percent"]
                where = f"{setting} {scale} K/M {share}"
                print(f"{where}: cold {cold:.2f} ms; {over}; gap {gap:.3f} %", flush=True)
    kernel = solvers.assignment_kernel().split(" (")[0]  # without its path
    write(config.out, {"weights": config.weights, "kernel": kernel, "rows": rows})
    figure(rows, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.duals", description=__doc__))

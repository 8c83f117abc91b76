"""Monte Carlo of a measure of one's own: who is left with less than 100 Mbit/s, and how often?

A measure is any function `(key, inst)` of one instance that JAX can trace; what it returns is
averaged over as many realisations as asked for, and memory is bounded by a chunk of them.

    python examples/monte_carlo.py --realizations 20000
    python examples/monte_carlo.py --realizations 1000000 --out results/outage --workers 2

With `--out` the work is on disk as it goes: killed and started again, it goes on. Its command line
needs the extra `runs`: `pip install '.[runs]'`.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import tyro

import lsajax as lsa

SCENARIO = lsa.Scenario(num_users=200, num_channels=200, num_active=100, fading=True)
TARGET_BPS = 100e6
SOLVERS = {
    "random": lsa.solvers.random,
    "sorted_matching": lsa.solvers.sorted_matching,
    "greedy": lsa.solvers.greedy,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """How much is sampled, and where.

    Args:
        realizations: instances; every solver sees the same ones.
        chunk: realisations computed at once, which bounds the memory; chosen if not given.
        seed: of instances and solvers.
        out: folder for the parts of a long run; none is needed for a short one.
        workers: processes on this machine, with --out.
    """

    realizations: int = 4096
    chunk: int | None = None
    seed: int = 0
    out: pathlib.Path | None = None
    workers: int | None = None


def outage(key: jax.Array, inst: lsa.Instance) -> dict[str, jax.Array]:
    """Share of the users of one realisation below the target, by solver."""
    shares = {}
    for name, solver in SOLVERS.items():
        solution = solver(lsa.hashing.named_key(key, name), inst)
        shares[name] = jnp.mean(lsa.user_rates(inst, solution.assignment) < TARGET_BPS)
    return shares


def main(config: Config) -> dict[str, float]:
    """Prints and returns the mean outage by solver, with 95 % intervals, on common instances."""
    found = lsa.montecarlo.study(
        jax.random.key(config.seed),
        SCENARIO,
        outage,
        config.realizations,
        chunk=config.chunk,
        sketch=True,
        out=config.out,
        workers=config.workers,
    )
    assert found is not None  # there are no shards
    for name, share in found.summaries.items():
        worst = share.quantile(0.99)
        print(
            f"{name:16} outage {100 * share.mean:6.2f} ± {100 * share.half_width():.2f} %, "
            f"in one of 100 slots above {100 * worst:.0f} %"
        )
    return {name: float(share.mean) for name, share in found.summaries.items()}


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

"""Monte Carlo of a measure of one's own: who is left with less than 100 Mbit/s, and how often?

A measure is any function of one instance. `vmap` makes it one of a chunk of realisations, `jit`
compiles it once, and memory is bounded by the chunk, however many realisations there are.

    python examples/monte_carlo.py --realizations 20000

Its command line needs the extra `runs`: `pip install '.[runs]'`.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lsajax as lsa

SCENARIO = lsa.Scenario(num_users=200, num_channels=200, num_active=100, fading=True)
TARGET_BPS = 100e6


@dataclasses.dataclass(frozen=True)
class Config:
    """How much is sampled.

    Args:
        realizations: instances; every solver sees the same ones.
        chunk: realisations computed at once; bounds the memory.
        seed: of instances and solvers.
    """

    realizations: int = 4096
    chunk: int = 512
    seed: int = 0


def outage(solver: Callable[..., lsa.solvers.Solution], key: jax.Array) -> jax.Array:
    """Share of the users of one realisation below the target, with the solver's assignment."""
    inst = lsa.sample_instance(lsa.hashing.named_key(key, "instance"), SCENARIO)
    solution = solver(lsa.hashing.named_key(key, "solver"), inst)
    return jnp.mean(lsa.user_rates(inst, solution.assignment) < TARGET_BPS)


def main(config: Config) -> dict[str, float]:
    """Prints and returns the mean outage by solver, with 95 % intervals, on common instances."""
    realizations, chunk = config.realizations, config.chunk
    keys = jax.random.split(jax.random.key(config.seed), math.ceil(realizations / chunk) * chunk)
    means = {}
    for name in ("random", "sorted_matching", "greedy"):
        solver = getattr(lsa.solvers, name)
        measure = jax.jit(jax.vmap(lambda key, solver=solver: outage(solver, key)))
        chunks = [measure(keys[i : i + chunk]) for i in range(0, len(keys), chunk)]
        values = np.concatenate(chunks)[:realizations]
        half = 1.96 * values.std(ddof=1) / math.sqrt(realizations)
        means[name] = float(values.mean())
        print(f"{name:16} outage {100 * means[name]:6.2f} ± {100 * half:.2f} %")
    return means


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

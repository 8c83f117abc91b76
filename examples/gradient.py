"""The rate model inside a gradient loop of one's own: share a total power among the users.

Everything from the link budget to the objective is differentiable, so a power allocation under a
sum constraint, here for proportional fairness, is plain gradient ascent on the shares' logits.

    python examples/gradient.py --steps 50

Its command line needs the extra `runs`: `pip install '.[runs]'`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import tyro

import lsajax as lsa

SCENARIO = lsa.Scenario(
    num_users=50, num_channels=50, num_active=20, fading=True, objective="fair", alpha=1.0
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The gradient ascent.

    Args:
        steps: of the ascent.
        learning_rate: step over gradient.
        seed: of the instance.
    """

    steps: int = 50
    learning_rate: float = 1.0
    seed: int = 0


def main(config: Config) -> tuple[float, float]:
    """Prints and returns Jain's index of the rates before and after the optimisation."""
    key = jax.random.key(config.seed)
    inst = jax.jit(lsa.sample_instance)(key, SCENARIO)
    assignment = jax.jit(lsa.solvers.hungarian)(key, inst).assignment

    def powered(logits: jax.Array) -> lsa.Instance:
        # As much power in total as before, split by a softmax: one factor per user.
        factor = inst.num_rows * jax.nn.softmax(logits)
        return inst.replace(mean_power_w=inst.mean_power_w * factor)

    def fair_value(logits: jax.Array) -> jax.Array:
        return lsa.objective_value(powered(logits), assignment)

    @jax.jit
    def ascend(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.value_and_grad(fair_value)(logits)
        return logits + config.learning_rate * slope, value

    logits = jnp.zeros(inst.num_rows)
    for step in range(config.steps):
        logits, value = ascend(logits)
        if step % (max(config.steps // 10, 1)) == 0:
            print(f"step {step:4d}   sum of log(1 + Mbit/s) {value:8.4f}")
    before, after = (lsa.user_rates(i, assignment) for i in (inst, powered(logits)))
    for name, rate in (("before", before), ("after", after)):
        print(
            f"{name:7} throughput {jnp.sum(rate) / 1e6:7.1f} Mbit/s   "
            f"weakest user {jnp.min(rate) / 1e6:6.1f} Mbit/s   "
            f"Jain's index {lsa.jain_index(rate):.4f}"
        )
    return float(lsa.jain_index(before)), float(lsa.jain_index(after))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))

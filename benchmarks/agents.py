"""Training steps per second of PPO here, and of its peers, by the number of environments.

`python -m benchmarks.agents [--quick]` prints medians and ratios and writes them as JSON, with a
figure. Stable-Baselines3 trains the same network with as many steps, epochs and minibatches on the
same environment: on a NumPy version of it behind its own `DummyVecEnv`, as a user would write it,
and on ours, all environments in one compiled call. A loop in PureJaxRL's form runs on gymnax's
CartPole beside our PPO there. Peers that are not installed are left out.

Beside it stand the environments alone, with random actions and nothing learned, and the floating
point operations that learning takes a second: what is left to win.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import lsajax as lsa
from benchmarks.timing import interleave, ratio, write
from lsajax.agents import joint, ppo, rollout

SCENARIO = lsa.SMALL_SCALES[7, 10, 2]
LEAST_STEPS = 2048
"""Of all environments in an update."""
OURS, OURS_CART_POLE = "ours", "ours, CartPole"
OURS_ALONE, NUMPY_ALONE = "our environments alone", "NumPy environments alone"
SB3_NUMPY, SB3_COMPILED, PURE = "SB3, NumPy", "SB3, our environment", "PureJaxRL form, CartPole"


@dataclasses.dataclass(frozen=True)
class Config:
    """The benchmark of trainings.

    Args:
        quick: few runs, two numbers of environments.
        out: file of the JSON; the figure is written beside it.
    """

    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/agents.json")


def sizes(num_envs: int) -> ppo.Config:
    """As many steps for every contestant, four epochs over four minibatches."""
    num_steps = max(4, LEAST_STEPS // num_envs)
    return ppo.Config(num_envs=num_envs, num_steps=num_steps, num_minibatches=4, num_epochs=4)


def ours(env: Any, config: ppo.Config) -> Callable[[], Any]:
    """One update of our PPO per call."""
    state = [jax.jit(lambda key: ppo.init(key, env, config))(jax.random.key(0))]
    update = jax.jit(ppo.update, donate_argnums=0)

    def call() -> Any:
        state[0], metrics = update(state[0])
        return metrics

    return call


def contestants(num_envs: int) -> dict[str, Callable[[], Any]]:
    """A call each for one update, of those that are installed."""
    config = sizes(num_envs)
    found = {OURS: ours(joint.environment(SCENARIO), config)}
    if importlib.util.find_spec("stable_baselines3"):
        from benchmarks import agents_sb3

        found[SB3_NUMPY] = agents_sb3.trainer(agents_sb3.numpy_envs(SCENARIO, num_envs), config)
        compiled = agents_sb3.CompiledEnvs(joint.environment(SCENARIO), num_envs)
        found[SB3_COMPILED] = agents_sb3.trainer(compiled, config)
    if importlib.util.find_spec("gymnax"):
        import gymnax

        from benchmarks import agents_purejaxrl

        cart_pole, params = gymnax.make("CartPole-v1")
        found[OURS_CART_POLE] = ours(cart_pole, config)
        found[PURE] = agents_purejaxrl.trainer(cart_pole, params, config)
    return found


def stepping(num_envs: int) -> dict[str, Callable[[], Any]]:
    """A call each for the steps of an update, of environments alone with random actions."""
    config, env = sizes(num_envs), joint.environment(SCENARIO)

    @jax.jit
    def ours_alone(key: jax.Array) -> jax.Array:
        def one_step(envs: rollout.Envs, key: jax.Array) -> tuple[rollout.Envs, jax.Array]:
            action = jax.random.randint(key, (num_envs,), 0, env.num_actions)
            envs, transition = rollout.step(key, env, env.default_params, envs, action)
            return envs, jnp.sum(transition.reward) + jnp.sum(envs.obs.features)

        envs = rollout.reset(key, env, env.default_params, num_envs)
        keys = jax.random.split(key, config.num_steps)
        return jnp.sum(jax.lax.scan(one_step, envs, keys)[1])

    found: dict[str, Callable[[], Any]] = {OURS_ALONE: lambda: ours_alone(jax.random.key(0))}
    if importlib.util.find_spec("stable_baselines3"):
        from benchmarks import agents_sb3

        envs = agents_sb3.numpy_envs(SCENARIO, num_envs)
        envs.reset()
        rng = np.random.default_rng(0)

        def numpy_alone() -> None:
            for _ in range(config.num_steps):
                envs.step(rng.integers(env.num_actions, size=num_envs))

        found[NUMPY_ALONE] = numpy_alone
    return found


def measure(num_envs: int, runs: int) -> dict[str, Any]:
    """Steps per second of each, and ratios to ours, turn by turn."""
    config = sizes(num_envs)
    seconds = interleave(contestants(num_envs), runs) | interleave(stepping(num_envs), runs)
    of_ours = {PURE: OURS_CART_POLE, OURS_CART_POLE: OURS_CART_POLE}
    of_ours |= {OURS_ALONE: OURS_ALONE, NUMPY_ALONE: OURS_ALONE}
    found = {
        name: {
            "steps_per_s": config.steps_per_update / float(np.median(own)),
            "ours_over_it": ratio(own, seconds[of_ours.get(name, OURS)]),
        }
        for name, own in seconds.items()
    }
    flops = ppo.flops(ppo.init(jax.random.key(0), joint.environment(SCENARIO), config))
    found[OURS]["gflop_per_s"] = flops / float(np.median(seconds[OURS])) / 1e9
    return found


def figure(table: dict[int, dict[str, Any]], path: pathlib.Path) -> None:
    """Steps per second over the number of environments, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawing, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name in next(iter(table.values())):
        values = [row[name]["steps_per_s"] for row in table.values()]
        style = "-" if name.startswith("our") else "--"
        axes.loglog(list(table), values, style, marker="o", ms=3, label=name)
    axes.set_xlabel("Environments")
    axes.set_ylabel("Training steps per second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, frameon=False)
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(drawing)


def main(config: Config) -> None:
    """Measures, prints and writes."""
    runs = 3 if config.quick else 9
    table = {}
    for num_envs in (1, 64) if config.quick else (1, 64, 1024, 4096):
        table[num_envs] = measure(num_envs, runs)
        for name, row in table[num_envs].items():
            print(
                f"{num_envs:5d} environments {name:26s} {row['steps_per_s']:9.0f} steps/s, "
                f"ours {row['ours_over_it']:6.2f} x",
                flush=True,
            )
        print(f"{'':25s} ours: {table[num_envs][OURS]['gflop_per_s']:.0f} GFLOP/s of learning")
    print(f"medians of {runs} interleaved turns, an update each, of rollout and learning together")
    write(config.out, {"runs": runs, "table": table})
    figure(table, config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.agents", description=__doc__))

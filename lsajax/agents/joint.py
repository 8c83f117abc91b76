"""The paper's head: one output per way to give K users different channels.

There are M! / (M - K)! of them, which is where deep reinforcement learning on joint actions ends:
what it would take is computed before anything is made, and refused where it does not fit. In the
paper's output layer each has weights of its own, and learns from its own trials alone; `PairSums`
scores pairs of user and channel, and an output is the sum of its pairs.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from lsajax import objective, reward
from lsajax._numerics import argsort
from lsajax.agents import dqn, networks, ppo
from lsajax.env import joint
from lsajax.instance import Instance
from lsajax.link import check_one_slot
from lsajax.scenario import Scenario
from lsajax.solvers.solution import Solution, Status

FEATURES = "values and occupied channels, strongest user first"
"""What the observation shows, for the description of a checkpoint."""

_FLOAT = 4  # bytes


class ActionSpaceTooLarge(ValueError):  # noqa: N818 - the action space is at fault, not the code
    """A joint head does not fit into memory: the paper's N/A.

    Attributes:
        needed_bytes: what a training would take.
        available_bytes: what there is.
    """

    def __init__(self, scenario: Scenario, needed_bytes: int, available_bytes: int) -> None:
        self.needed_bytes, self.available_bytes = needed_bytes, available_bytes
        N, M, K = scenario.num_users, scenario.num_channels, scenario.num_active
        super().__init__(
            f"a joint head for ({N},{M},{K}) has {_count(math.perm(M, K))} outputs and needs "
            f"{_size(needed_bytes)} ({_count(needed_bytes)} bytes), but {_size(available_bytes)} "
            f"({available_bytes} bytes) are available: use the sequential head"
        )


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a training of one seed keeps in memory at its peak [bytes].

    Attributes:
        params: weights and biases.
        gradients: of them.
        optimiser: Adam's two moments.
        target: of DQN's target network.
        activations: scores of a batch, their log-softmax, and the gradient of either; with sums
            also which pairs an action has.
        observations: kept for learning: of a rollout, or in the replay buffer.
    """

    params: int
    gradients: int
    optimiser: int
    target: int
    activations: int
    observations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(dataclasses.astuple(self))


class PairSums(nn.Module):
    """A perceptron that scores K x M pairs; the score of a joint action is the sum of its pairs.

    Attributes:
        num_users: K.
        num_channels: M.
        pairs: perceptron with K M scores.
    """

    num_users: int
    num_channels: int
    pairs: networks.MLP

    @property
    def num_actions(self) -> int:
        """Outputs."""
        return math.perm(self.num_channels, self.num_users)

    def __call__(self, obs: Any) -> tuple[Float[Array, "actions"], Float[Array, ""]]:
        """Scores and value of one observation."""
        scores, value = self.pairs(obs)
        K, M = self.num_users, self.num_channels
        channels = joint.decode(jnp.arange(self.num_actions), K, M)
        # A product, not a gather: its gradient is a product too, and no scatter.
        used = jax.nn.one_hot(channels, M).reshape(self.num_actions, K * M)
        return used @ scores, value


def network(scenario: Scenario, algorithm: str, *, sums: bool = False) -> networks.MLP | PairSums:
    """The head of a scenario: 'ppo' takes logits and a value, 'dqn' Q-values.

    Args:
        scenario: sizes.
        algorithm: 'ppo' or 'dqn'.
        sums: `PairSums` in place of an output layer with weights for each joint action.
    """
    make = {"ppo": networks.policy, "dqn": networks.q_values}[algorithm]
    K, M = scenario.num_active, scenario.num_channels
    return PairSums(K, M, make(K * M)) if sums else make(math.perm(M, K))


def environment(scenario: Scenario) -> joint.JointAccess:
    """A slot per episode: what is done in a slot has no effect on the next."""
    return joint.JointAccess(scenario, num_slots=1, end_is_terminal=True)


def memory(scenario: Scenario, config: ppo.Config | dqn.Config, *, sums: bool = False) -> Memory:
    """What a training takes, from shapes alone, whatever the number of outputs; see `network`."""
    algorithm = "ppo" if isinstance(config, ppo.Config) else "dqn"
    actions = math.perm(scenario.num_channels, scenario.num_active)
    features = _num_features(scenario)
    if sums:
        pairs = network(scenario, algorithm, sums=True).pairs
        params, fixed = _param_bytes(pairs, features), actions * pairs.num_actions * _FLOAT
    else:
        # Affine in the number of outputs, which may be too many for an array's shape.
        dense = network(scenario, algorithm)
        one, two = (_param_bytes(dense.clone(num_actions=n), features) for n in (1, 2))
        params, fixed = one + (actions - 1) * (two - one), 0
    obs = features * _FLOAT + actions  # the mask is a byte for each
    if isinstance(config, ppo.Config):
        # The acting environments score too, but a step at a time, when no gradient is held.
        batch = max(config.steps_per_update // config.num_minibatches, config.num_envs)
        kept, scored, target = config.steps_per_update + batch, 4 * batch, 0
    else:
        batch = max(config.batch_size, config.num_envs)
        kept, scored, target = 2 * (config.capacity + batch), 4 * batch, params
    return Memory(
        params=params,
        gradients=params,
        optimiser=2 * params,
        target=target,
        activations=scored * actions * _FLOAT + fixed,
        observations=kept * obs,
    )


def check_memory(
    scenario: Scenario,
    config: ppo.Config | dqn.Config,
    *,
    sums: bool = False,
    num_seeds: int = 1,
    memory_bytes: int | None = None,
) -> int:
    """Bytes that a training of `num_seeds` side by side takes.

    Args:
        scenario: sizes.
        config: of the algorithm.
        sums: see `network`.
        num_seeds: trained side by side.
        memory_bytes: available; what this machine or its accelerator has if None.

    Raises:
        ActionSpaceTooLarge: they are more than are available.
    """
    needed = num_seeds * memory(scenario, config, sums=sums).total
    available = available_bytes() if memory_bytes is None else memory_bytes
    if needed > available:
        raise ActionSpaceTooLarge(scenario, needed, available)
    return needed


def available_bytes() -> int:
    """Memory of the accelerator, or what this process may still take of the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    meminfo, cgroup = pathlib.Path("/proc/meminfo"), pathlib.Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        lines = [line.split() for line in meminfo.read_text().splitlines()]
        limits += [1024 * int(line[1]) for line in lines if line[0] == "MemAvailable:"]
    if cgroup.exists() and (limit := cgroup.read_text().strip()).isdigit():
        limits.append(int(limit))
    return min(limits)


def make_solver(params: Any, head: nn.Module) -> Callable[[jax.Array, Instance], Solution]:
    """A solver that takes the joint action of the highest score.

    Args:
        params: of the network.
        head: the network, see `network`; for the sizes it was trained with.

    Returns:
        `solver(key, inst) -> Solution`, which draws nothing; it raises ValueError on an instance of
        other sizes than the head's.
    """

    def solver(key: jax.Array, inst: Instance) -> Solution:
        del key
        check_one_slot(inst)
        K, M = inst.num_rows, inst.num_channels
        if K > M or math.perm(M, K) != head.num_actions:
            raise ValueError(
                f"the joint head has {head.num_actions} outputs, and {K} users on {M} channels "
                f"need {_count(math.perm(M, K))}: it must be trained for these sizes"
            )
        order = argsort(-inst.mean_power_w)
        rows = inst_rows(inst, order)
        scale = reward.expected_random_value(rows.without_coupling())
        obs = joint.JointObservation(
            joint.joint_features(rows, scale), joint.joint_mask(inst.occupied, K)
        )
        scores, _ = head.apply(params, obs)
        action = jnp.argmax(networks.masked(scores, obs))
        chosen = joint.decode(action, K, M)
        assignment = jnp.zeros(K, jnp.int32).at[order].set(chosen)
        # With fewer idle channels than users no action is free of occupied ones.
        assignment = jnp.where(inst.occupied[assignment] | ~inst.user_mask, -1, assignment)
        value = objective.feasible_value(inst, assignment)
        return Solution(assignment, value, jnp.int32(Status.FEASIBLE))

    return solver


def inst_rows(inst: Instance, order: Array) -> Instance:
    """The same slot with its rows in another order."""
    names = ("user_id", "user_mask", "position_m", "mean_power_w", "weight", "min_rate_bps")
    found = {name: getattr(inst, name) for name in names}
    return inst.replace(**{name: x[order] for name, x in found.items() if x is not None})


def _num_features(scenario: Scenario) -> int:
    K, M = scenario.num_active, scenario.num_channels
    return K * M + M + (K * K if scenario.objective == "coupled" else 0)


def _param_bytes(head: nn.Module, features: int) -> int:
    shapes = jax.eval_shape(head.init, jax.random.key(0), jnp.zeros(features))
    return sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in jax.tree.leaves(shapes))


_LARGEST = 10**15
"""From here on digits say nothing, and far beyond a float holds no such number."""


def _count(number: int) -> str:
    return str(number) if number < _LARGEST else f"10^{math.log10(number):.0f}"


def _size(num_bytes: float) -> str:
    if num_bytes >= 1000 * _LARGEST:
        return f"10^{math.log10(num_bytes) - 15:.0f} PB"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} PB"

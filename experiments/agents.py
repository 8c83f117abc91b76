"""Agents of deep reinforcement learning as methods of a study: how they are made and trained."""

import dataclasses
import functools
import hashlib
import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

import lsajax as lsa
from experiments.methods import ORDER, Method, Outcome, from_solver
from lsajax import hashing
from lsajax.agents import costs, dqn, joint, networks, ppo, sequential
from lsajax.env import CANDIDATE_FEATURES, CONTEXT_FEATURES, SequentialAccess
from lsajax.runs import training

ALGORITHMS: dict[str, Any] = {"ppo": ppo, "dqn": dqn}

TRAINING: dict[tuple[str, str], ppo.Config | dqn.Config] = {
    ("ppo", "joint"): ppo.Config(
        num_updates=200,
        num_envs=256,
        num_steps=4,
        num_minibatches=4,
        num_epochs=4,
        learning_rate=1e-3,
        discount=1.0,
        entropy=0.005,
    ),
    ("dqn", "joint"): dqn.Config(
        num_updates=2000,
        num_envs=256,
        num_steps=1,
        num_gradients=4,
        batch_size=256,
        capacity=4096,
        learning_starts=2048,
        target_interval=1,
        learning_rate=1e-3,
        discount=1.0,
        epsilon_steps=100_000.0,
        huber=1.0,
    ),
    ("ppo", "sequential"): ppo.Config(
        num_updates=300,
        num_envs=64,
        num_steps=32,
        num_minibatches=4,
        num_epochs=4,
        learning_rate=1e-3,
        discount=1.0,
        gae_lambda=0.95,
        entropy=0.005,
    ),
    ("dqn", "sequential"): dqn.Config(
        num_updates=3000,
        num_envs=64,
        num_steps=4,
        num_gradients=4,
        batch_size=256,
        capacity=50_000,
        learning_starts=2048,
        target_interval=200,
        learning_rate=1e-3,
        discount=1.0,
        epsilon_steps=100_000.0,
        huber=1.0,
    ),
}
TRAINING |= {(a, "joint-sums"): TRAINING[a, "joint"] for a in ALGORITHMS}
"""Sizes and rates by algorithm and head; a slot is an episode, whose return is not discounted."""


@dataclasses.dataclass(frozen=True)
class Head:
    """What an action is, and the network that scores actions.

    Attributes:
        environment: `(scenario, **options) -> env`, a slot per episode.
        network: `(scenario, algorithm) -> module`.
        make_solver: `(params, network, **options) -> solver(key, inst)`.
        features: names what the observation shows; other weights do not fit.
        decisions: `(scenario) -> passes of the network per slot`.
    """

    environment: Callable[..., Any]
    network: Callable[[lsa.Scenario, str], nn.Module]
    make_solver: Callable[..., Callable[..., lsa.solvers.Solution]]
    features: str
    decisions: Callable[[lsa.Scenario], int]


def _digest(names: tuple[str, ...]) -> str:
    return hashlib.sha256(repr(names).encode()).hexdigest()[:12]


HEADS = {
    "joint": Head(
        joint.environment,
        joint.network,
        joint.make_solver,
        joint.FEATURES,
        lambda scenario: 1,
    ),
    "joint-sums": Head(
        joint.environment,
        functools.partial(joint.network, sums=True),
        joint.make_solver,
        joint.FEATURES,
        lambda scenario: 1,
    ),
    "sequential": Head(
        functools.partial(SequentialAccess, num_slots=1, end_is_terminal=True),
        lambda scenario, algorithm: sequential.SequentialNetwork(q_values=algorithm == "dqn"),
        sequential.make_solver,
        _digest((*CANDIDATE_FEATURES, *CONTEXT_FEATURES)),
        lambda scenario: scenario.max_active,
    ),
}


@dataclasses.dataclass(frozen=True)
class Agent:
    """A kind of agent, trained with several seeds side by side.

    Attributes:
        algorithm: 'ppo' or 'dqn'.
        head: a name of `HEADS`.
        scenario: what it is trained on.
        config: sizes and rates of the training.
        num_seeds: seeds.
        seed: of the run.
        options: of environment and solver of the head, JSON-able: the order of the sequential one.
    """

    algorithm: str
    head: str
    scenario: lsa.Scenario
    config: ppo.Config | dqn.Config
    num_seeds: int
    seed: int
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """In tables: algorithm and head."""
        return f"{self.algorithm.upper()}, {self.head}"

    def network(self) -> nn.Module:
        """The network of its head."""
        return HEADS[self.head].network(self.scenario, self.algorithm)

    def environment(self) -> Any:
        """An environment of its head.

        Raises:
            ValueError: there is none for the scenario.
        """
        return HEADS[self.head].environment(self.scenario, **self.options)

    def start(self) -> Any:
        """States [seeds] before the first update; seed i is the same whatever their number."""
        module = ALGORITHMS[self.algorithm]
        env, network = self.environment(), self.network()
        root = jax.random.key(self.seed)
        keys = jax.numpy.stack(
            [hashing.named_key(root, "training", "seed", i) for i in range(self.num_seeds)]
        )

        def init(key: jax.Array) -> Any:
            return module.init(key, env, self.config, network=network)

        # One by one: orthogonal weights of several seeds at once block each other on a CPU.
        return jax.jit(lambda keys: jax.lax.map(init, keys))(keys)

    def update(self, states: Any) -> Any:
        """One update of all seeds."""
        return jax.vmap(ALGORITHMS[self.algorithm].update)(states)

    def flops_per_update(self, states: Any) -> float:
        """Floating point operations of an update of all seeds."""
        one = jax.tree.map(lambda leaf: leaf[0], states)
        return self.num_seeds * ALGORITHMS[self.algorithm].flops(one)

    def decision_flops(self, params: Any, states: Any) -> float:
        """Floating point operations of the network in one slot, without features and decoding."""
        obs = jax.tree.map(lambda leaf: leaf[0, 0], states.envs.obs)
        once = costs.flops(self.network().apply, params, obs)
        return HEADS[self.head].decisions(self.scenario) * once

    def description(self) -> dict[str, Any]:
        """What a checkpoint or weights are of, JSON-able."""
        found: dict[str, Any] = {
            "algorithm": self.algorithm,
            "head": self.head,
            "features": HEADS[self.head].features,
            "hidden": networks.HIDDEN,
            **self.options,
        }
        if self.head != "sequential":
            s = self.scenario
            found["triple"] = [s.num_users, s.num_channels, s.num_active]
        return found

    def methods(self, trained: training.Trained) -> list[Method]:
        """A method per seed, named `NAME 0`, `NAME 1`, ...

        With the sequential head also `ORDER`: what an agent has to beat to have learned anything.
        """
        network, make_solver = self.network(), HEADS[self.head].make_solver

        @jax.jit
        def solve(params: Any, key: jax.Array, inst: lsa.Instance) -> lsa.solvers.Solution:
            return make_solver(params, network, **self.options)(key, inst)

        solve_all = jax.jit(jax.vmap(solve, (None, 0, 0)))

        params = trained.state.params
        one = jax.tree.map(lambda leaf: leaf[0], params)
        spent = {
            "training_s": trained.seconds / self.num_seeds,
            "training_flops": trained.flops / self.num_seeds,
            "decision_flops": self.decision_flops(one, trained.state),
        }
        found = [
            _method(
                f"{self.name} {i}",
                solve,
                solve_all,
                jax.tree.map(operator.itemgetter(i), params),
                {**spent, "agent": self.name, "agent_seed": i},
            )
            for i in range(self.num_seeds)
        ]
        if self.head == "sequential":
            found.append(from_solver(ORDER, sequential.first_candidate_solver(**self.options)))
        return found


def _method(
    name: str,
    solve: Callable[..., lsa.solvers.Solution],
    solve_all: Callable[..., lsa.solvers.Solution],
    params: Any,
    columns: Mapping[str, Any],
) -> Method:
    """Like `methods.from_solver`, but the weights are an argument: all seeds compile once."""

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        start = time.perf_counter()
        solution = jax.block_until_ready(solve(params, key, inst))
        seconds = time.perf_counter() - start
        status = lsa.solvers.status_name(solution.status)
        return Outcome(np.asarray(solution.assignment), seconds, status, columns=dict(columns))

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solve(params, jax.random.key(0), inst))

    def batch(keys: jax.Array, instances: lsa.Instance) -> Any:
        return jax.block_until_ready(solve_all(params, keys, instances))

    return Method(name, run, prepare, batch=batch)

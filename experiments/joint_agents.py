"""The paper's PPO and DQN at a study's own sizes: trained where they fit, N/A where they do not."""

import dataclasses
import pathlib
from typing import Literal, Protocol

from experiments import train_agent
from experiments.config import Objective, Setting
from experiments.methods import Method, not_applicable
from experiments.study import Study
from lsajax.agents.joint import ActionSpaceTooLarge
from lsajax.runs.training import BudgetTooSmall

ALGORITHMS: tuple[Literal["dqn", "ppo"], ...] = ("dqn", "ppo")


class Options(Protocol):
    """What a study's options say of the trainings."""

    @property
    def setting(self) -> Setting: ...

    @property
    def objective(self) -> Objective | None: ...

    @property
    def seed(self) -> int: ...

    @property
    def train_s(self) -> float: ...


def added(config: Options, study: Study, folder: pathlib.Path) -> Study:
    """The study with the paper's PPO and DQN, trained for the sizes of each cell.

    Args:
        config: with the seconds of each training; 0 leaves them out.
        study: its cells' sources are scenarios.
        folder: of the study; checkpoints are below it.
    """
    if not config.train_s:
        return study
    more = []
    for cell in study.cells:
        triple = cell.source.num_users, cell.source.num_channels, cell.source.num_active
        found = {}
        for algorithm in ALGORITHMS:
            asked = train_agent.Config(
                algorithm=algorithm,
                head="joint",
                triple=triple,
                setting=config.setting,
                objective=config.objective,
                seed=config.seed,
                seeds=1,
                budget_s=config.train_s,
            )
            name = f"{algorithm}-{'x'.join(map(str, triple))}"
            method = trained(asked, folder / "agents" / name)
            found[method.name] = method
        more.append(dataclasses.replace(cell, methods={**cell.methods, **found}))
    return dataclasses.replace(study, cells=more)


def trained(config: train_agent.Config, folder: pathlib.Path) -> Method:
    """An agent with a joint head as a method, trained by this call, or before.

    Args:
        config: algorithm, triple and budget; one seed.
        folder: of its checkpoints, from which a training goes on that was stopped.

    Returns:
        Named as `Agent.name` says; it skips every instance, with what it would take, where the
        head does not fit into memory or an update into the budget.
    """
    name = f"{config.algorithm.upper()}, {config.head}"
    try:
        agent = train_agent.make_agent(config)
        found = agent.methods(train_agent.train(config, agent, folder))
    except (ActionSpaceTooLarge, BudgetTooSmall) as error:
        return not_applicable(name, str(error))
    return dataclasses.replace(found[0], name=name)

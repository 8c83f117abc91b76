"""The paper's PPO and DQN at a study's own sizes: trained where they fit, N/A where they do not."""

import dataclasses
import pathlib

from experiments import train_agent
from experiments.methods import Method, not_applicable
from lsajax.agents.joint import ActionSpaceTooLarge
from lsajax.runs.training import BudgetTooSmall


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

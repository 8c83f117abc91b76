"""An agent of one's own as a method of a study: the first training in a folder of `train_agent`."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from experiments import config as options
from experiments import train_agent
from lsajax.runs.folder import RUN

if TYPE_CHECKING:
    from experiments.methods import Method

_ABOUT = ("algorithm", "head", "num_active_min", "order", "setting", "objective", "seeds", "seed")
"""Of the training: what says how its weights are used, without its triple."""


@dataclasses.dataclass(frozen=True)
class Config(options.SlotConfig):
    """Options of studies that can show an agent of one's own.

    Args:
        agent: a folder that `python -m experiments.train_agent` wrote, shown as one more method; of
            its trainings side by side the first decides (0 in its tables), whatever the others
            earned. Sizes that a joint head was not trained for are N/A.
    """

    agent: pathlib.Path | None = None


def check(config: Config) -> None:
    """Raises ValueError, naming the option, where there is no agent that can decide."""
    if config.agent is None:
        return
    training, objective = read(config.agent), options.resolved(config).objective
    own = options.resolved(training).objective
    if training.head != "sequential" and (own == "coupled") != (objective == "coupled"):
        raise ValueError(
            f"--agent must see what --objective {objective} counts: leakage is a part of what a "
            f"joint head sees with --objective coupled alone, got {config.agent}, trained with "
            f"--objective {own}"
        )


def read(folder: pathlib.Path) -> train_agent.Config:
    """What the weights in a folder are of, as options of their training.

    Raises:
        ValueError: it is no folder of a training that ended.
    """
    try:
        found = json.loads((folder / RUN).read_text())["config"]
        if found["study"] != "train_agent":
            raise ValueError(f"its {RUN} is of {found['study']}")
        if not (folder / train_agent.WEIGHTS).is_file():
            raise ValueError(f"it has no {train_agent.WEIGHTS}")
        own = {name: found[name] for name in _ABOUT}
        training = train_agent.Config(triple=tuple(found["triple"]), **own)
        train_agent.check(training)
    except (KeyError, TypeError) as error:
        raise _refused(folder, f"its {RUN} is no record of a training ({error!r})") from None
    except (OSError, ValueError) as error:
        raise _refused(folder, str(error)) from None
    return training


def _refused(folder: pathlib.Path, reason: str) -> ValueError:
    wanted = "a folder that `python -m experiments.train_agent` wrote"
    return ValueError(f"--agent must be {wanted}, got {folder}: {reason}")


def record(config: Config) -> dict[str, str]:
    """What a run's configuration has of it: other weights are another run."""
    if config.agent is None:
        return {}
    content = (config.agent / train_agent.WEIGHTS).read_bytes()
    own = {"agent": config.agent.resolve().name}
    return own | {"agent_sha256": hashlib.sha256(content).hexdigest()}


def out_folder(config: Config, folder: pathlib.Path) -> pathlib.Path:
    """The study's folder; with an agent one beside it, unless `--out` named it."""
    if config.agent is None or config.out is not None:
        return folder
    return folder.with_name(f"{folder.name}-agent-{config.agent.resolve().name}")


def methods(config: Config, metadata: dict[str, Any]) -> "list[Method]":
    """The agent as a method, if the options name one.

    Args:
        config: of the study.
        metadata: of its run, to which is added what the agent is.

    Raises:
        ValueError: its weights cannot be read, or are of another version of its head.
    """
    if config.agent is None:
        return []
    import jax

    from experiments import agents
    from experiments.methods import from_solver
    from lsajax.runs import checkpoints

    training = read(config.agent)
    # Nothing is trained here: the memory that a training takes does not matter.
    agent = train_agent.make_agent(dataclasses.replace(training, memory_bytes=sys.maxsize))
    like = jax.eval_shape(agent.start).params
    try:
        path = config.agent / train_agent.WEIGHTS
        every = checkpoints.load_weights(path, like, agent.description())
    except checkpoints.BadCheckpoint as error:
        raise _refused(config.agent, str(error)) from None
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf[0]), every)
    shown = {option: getattr(training, option) for option in (*_ABOUT, "triple")}
    metadata["agent"] = shown | agent.description() | {"agent_seed": 0}
    solver = agents.HEADS[agent.head].make_solver(params, agent.network(), **agent.options)
    _, M, K = training.triple

    def other_sizes(inst: lsa.Instance) -> str | None:
        if agent.head == "sequential" or (inst.num_rows, inst.num_channels) == (K, M):
            return None
        return (
            f"its joint head is for {K} users on {M} channels, not for {inst.num_rows} on "
            f"{inst.num_channels}: it must be trained for these sizes"
        )

    return [from_solver(f"Agent, from {config.agent.resolve().name}", solver, other_sizes)]

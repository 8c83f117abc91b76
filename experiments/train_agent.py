"""Deep reinforcement learning on spectrum access, trained here and compared on fresh instances.

PPO or double DQN learns on slots that are drawn anew, with several seeds side by side; then every
seed's policy decides the held-out instances that the other studies use too, beside the exact
optimum (with leakage: a bound), greedy, sorted matching and random. What training and decisions
cost stands in every row.
"""

import contextlib
import dataclasses
import math
import pathlib
from typing import TYPE_CHECKING, Any, Literal, get_args

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from experiments.agents import Agent
    from experiments.study import Study
    from lsajax.runs.training import Trained

TIME = "a minute for a joint head of few actions, ten for the sequential one on 2 cores"

Head = Literal["joint", "joint-sums", "sequential"]
# None of these changes what is trained.
_FREE = ("realizations", "evaluate_at", "ship")
_SAVE_EVERY_S = 10.0
CHECKPOINTS, WEIGHTS, CURVE = "checkpoints", "weights.msgpack", "curve.parquet"


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Training of an agent, and its evaluation.

    Args:
        algorithm: ppo, or dqn (double DQN).
        head: joint: an output per way to give K users different channels, as in the paper;
            joint-sums: as many outputs, each the sum of scores of its pairs of user and channel;
            sequential: one user at a time, the same weights for every size.
        triple: N users, M channels, K of the users request: what is trained on.
        num_active_min: fewest requesting users of a training slot, with the sequential head; K if
            not given.
        order: whose turn is next with the sequential head: strength, the default, the strongest
            user's; or regret, his who would lose most by his second best free channel.
        setting: what rates depend on, see `python -m experiments.scaling --help`.
        objective: what an assignment is worth: throughput (the default), fair or coupled.
        seeds: trainings side by side.
        updates: of a training; each algorithm and head has its own default.
        chunk: updates between two looks at budget and clock; a checkpoint follows one every ten
            seconds.
        learning_rate: of Adam; each algorithm and head has its own default.
        budget_s: seconds of all seeds' training together, without compilation.
        budget_flops: floating point operations of all seeds' training together.
        memory_bytes: that a joint head may take; what the machine has if not given.
        evaluate_at: other sizes for the sequential head, without training: I, II, III, or N,M,K.
        realizations: held-out instances of each size.
        ship: file (.npz) for the sequential head's weights, of the seed that earned most in the
            last tenth of its training; what the package ships was written so.
    """

    algorithm: Literal["ppo", "dqn"] = "ppo"
    head: Head = "sequential"
    triple: tuple[int, int, int] = (10, 15, 3)
    num_active_min: int | None = None
    order: Literal["regret", "strength"] | None = None
    setting: options.Setting = "plain"
    objective: options.Objective | None = None
    seeds: int = 5
    updates: int | None = None
    chunk: int = 20
    learning_rate: float | None = None
    budget_s: float | None = None
    budget_flops: float | None = None
    memory_bytes: int | None = None
    evaluate_at: tuple[str, ...] = ()
    realizations: int = 64
    ship: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run with all of it checked, and its folder, locked."""

    config: Config
    agent: "Agent"
    folder: RunFolder
    resources: contextlib.ExitStack


def check(config: Config) -> None:
    """Raises ValueError, naming the option, on a value out of range."""
    options.check_run(config)
    for option, accepted in (
        ("algorithm", get_args(Literal["ppo", "dqn"])),
        ("head", get_args(Head)),
        ("setting", get_args(options.Setting)),
    ):
        value = getattr(config, option)
        if value not in accepted:
            raise ValueError(f"--{option} must be one of {', '.join(accepted)}, got {value!r}")
    for option in ("seeds", "updates", "chunk", "memory_bytes"):
        value = getattr(config, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option.replace('_', '-')} must be at least 1, got {value}")
    for option in ("learning_rate", "budget_s", "budget_flops"):
        value = getattr(config, option)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{option.replace('_', '-')} must be above 0, finite, got {value}")
    if config.head != "sequential" and config.num_active_min is not None:
        raise ValueError("--num-active-min needs --head sequential: a joint head has one K")
    if config.order is not None and (
        config.head != "sequential" or config.order not in ("regret", "strength")
    ):
        raise ValueError(
            f"--order must be regret or strength, with --head sequential, got {config.order}"
        )
    if config.head != "sequential" and config.evaluate_at:
        raise ValueError(
            "--evaluate-at needs --head sequential: a joint head serves the sizes it was trained "
            f"for and no others, got {', '.join(config.evaluate_at)}"
        )
    if config.ship is not None and config.head != "sequential":
        raise ValueError("--ship needs --head sequential: other heads serve one size alone")
    for place in config.evaluate_at:
        sizes(place)
    scenario(config, config.triple)  # raises where the sizes do not fit together


def sizes(place: str) -> tuple[int, int, int]:
    """N, M, K of a value of `--evaluate-at`.

    Raises:
        ValueError: see `experiments.config.scenario_of`.
    """
    found = options.scenario_of("--evaluate-at", place)
    return found.num_users, found.num_channels, found.num_active


def scenario(config: Config, triple: tuple[int, int, int]) -> lsa.Scenario:
    """What slots of these sizes are drawn from."""
    num_users, num_channels, num_active = triple
    plain = lsa.Scenario(num_users=num_users, num_channels=num_channels, num_active=num_active)
    resolved = options.resolved(config)
    return plain.replace(**{**lsa.SETTINGS[resolved.setting], "objective": resolved.objective})


def prepare(config: Config) -> Prepared:
    """Checks everything that can be checked before the training, cheap checks first."""
    check(config)
    config = options.quickened(config, seeds=2, updates=20, realizations=8)
    config = options.resolved(config)
    out = config.out or _default_folder(config)
    record = options.record("train_agent", config, without=_FREE)
    folder = RunFolder(
        out, record, identity=("size", "method", "realization"), resume=config.resume
    )
    if (out / CHECKPOINTS).exists() and not config.resume:
        raise ValueError(
            f"--out {out} holds checkpoints already; give --resume to go on from the last one, or "
            "another folder"
        )
    agent = make_agent(config)
    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    return Prepared(config, agent, folder, resources)


def make_agent(config: Config) -> "Agent":
    """The agent that these options train.

    Raises:
        ActionSpaceTooLarge: its joint head does not fit into memory.
        ValueError: it has no environment.
    """
    from experiments import agents
    from lsajax.agents import joint

    training_config = agents.TRAINING[config.algorithm, config.head]
    changes: dict[str, Any] = {}
    if config.updates is not None:
        changes["num_updates"] = config.updates
    if config.learning_rate is not None:
        changes["learning_rate"] = config.learning_rate
    agent = agents.Agent(
        config.algorithm,
        config.head,
        scenario(config, config.triple).replace(num_active_min=config.num_active_min),
        dataclasses.replace(training_config, **changes),
        config.seeds,
        config.seed,
        {"order": config.order or "strength"} if config.head == "sequential" else {},
    )
    if config.head != "sequential":
        joint.check_memory(
            agent.scenario,
            agent.config,
            sums=config.head == "joint-sums",
            num_seeds=config.seeds,
            memory_bytes=config.memory_bytes,
        )
    agent.environment()  # raises where there is none
    return agent


def _default_folder(config: Config) -> pathlib.Path:
    sizes = "x".join(str(size) for size in config.triple)
    parts = [config.algorithm, config.head, sizes, config.setting, str(config.objective)]
    if config.quick:
        parts.append("quick")
    return pathlib.Path("results") / "train_agent" / "-".join(parts)


def run(prepared: Prepared) -> None:
    """Trains from where it stopped, evaluates, and writes table and figure."""
    from experiments import outputs, study, tables
    from lsajax.runs import checkpoints

    config, agent, folder = prepared.config, prepared.agent, prepared.folder
    with prepared.resources:
        trained = train(config, agent, folder.path)
        params = trained.state.params
        checkpoints.save_weights(folder.path / WEIGHTS, params, agent.description())
        if config.ship is not None:
            ship(config.ship, trained)
        curve = curve_table(agent, trained)
        curve.to_parquet(folder.path / CURVE, index=False)
        folder.metadata["training"] = costs(agent, trained)
        compared = evaluation(config, agent, trained)
        rows = study.run(compared, folder, config.realizations)
        summary = table(compared, rows)
        outputs.write_summary(folder, summary)
        figure(config, summary, curve, folder.path / "train_agent")
    tables.print_table(
        summary[summary["agent_seed"].isna()],
        axes=compared.axes,
        title=f"{agent.name}, trained at {config.triple}, {config.setting}, {config.objective}",
        reference=compared.reference,
        best="bound" if config.objective == "coupled" else "optimum",
        notes=notes(agent, trained),
    )
    print(f"wrote rows, curve, weights, summary and figure in {folder.path}/")


def train(config: Config, agent: "Agent", out: pathlib.Path) -> "Trained":
    """Trains all seeds, with progress, from the last checkpoint if there is one."""
    from rich.console import Console

    from experiments.study import progress_bar
    from lsajax.runs import training

    states = agent.start()
    flops = agent.flops_per_update(states)
    if config.budget_flops is not None:
        # The learning rate falls over the updates that there will be.
        affordable = max(1, math.floor(config.budget_flops / flops))
        fewer = min(agent.config.num_updates, affordable)
        config_fewer = dataclasses.replace(agent.config, num_updates=fewer)
        agent = dataclasses.replace(agent, config=config_fewer)
        states = agent.start()
    with progress_bar(Console(stderr=True)) as progress:
        task = progress.add_task("compiling the training", total=agent.config.num_updates)

        def show(trained: "Trained") -> None:
            last = trained.curve["episode_return"][:, -1].mean()
            text = f"{agent.name}: return {last:.3f} of a random agent's 1"
            progress.update(task, completed=trained.num_updates, description=text)

        return training.train(
            states,
            agent.update,
            num_updates=agent.config.num_updates,
            chunk=config.chunk,
            flops_per_update=flops,
            budget=training.Budget(config.budget_s, config.budget_flops),
            folder=out / CHECKPOINTS,
            description=agent.description() | options.record("train_agent", config, without=_FREE),
            save_every_s=_SAVE_EVERY_S,
            on_chunk=show,
        )


def ship(path: pathlib.Path, trained: "Trained") -> None:
    """Writes the weights of the seed with the highest return in the last tenth of its updates."""
    import io

    import jax
    import numpy as np

    from lsajax.agents import shipped
    from lsajax.runs import provenance

    earned = trained.curve["episode_return"]
    best = int(np.argmax(earned[:, -max(1, earned.shape[1] // 10) :].mean(axis=1)))
    params = jax.tree.map(lambda leaf: leaf[best], trained.state.params)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **shipped.flatten(params))
    provenance.replace_file(path, buffer.getvalue())
    print(f"wrote the weights of seed {best} to {path}")


def curve_table(agent: "Agent", trained: "Trained") -> "pd.DataFrame":
    """A row per seed and update: the metrics of the algorithm's `update`."""
    import pandas as pd

    return pd.concat(
        [
            pd.DataFrame({"agent_seed": i, "update": range(trained.num_updates)}).assign(
                **{name: values[i] for name, values in trained.curve.items()}
            )
            for i in range(agent.num_seeds)
        ],
        ignore_index=True,
    )


def costs(agent: "Agent", trained: "Trained") -> dict[str, Any]:
    """What the training took, for `run.json`; of all seeds together."""
    return {
        "updates": trained.num_updates,
        "steps": int(trained.curve["steps"].sum(0)[-1]),
        "seconds": round(trained.seconds, 3),
        "compile_s": round(trained.compile_s, 3),
        "flops": trained.flops,
        "seeds": agent.num_seeds,
    }


def evaluation(config: Config, agent: "Agent", trained: "Trained") -> "Study":
    """Held-out instances at the trained size, and at others."""
    from experiments import methods
    from experiments.study import Cell, Study

    objective = str(config.objective)
    others = [m for m in methods.classical(objective) if m.name != methods.GROUPED]
    compared = {m.name: m for m in [*agent.methods(trained), *others]}
    places = [",".join(str(size) for size in config.triple), *config.evaluate_at]
    cells: list[Cell] = [
        Cell({"size": place}, scenario(config, sizes(place)), compared, config.setting)
        for place in dict.fromkeys(places)
    ]
    return Study(cells=cells, seed=config.seed, reference=methods.GREEDY)


def table(study: "Study", rows: "pd.DataFrame") -> "pd.DataFrame":
    """A row per size and method, and one per size for all seeds of the agent together.

    That one's intervals are over seeds, each the mean over the instances; all others' are over
    instances.
    """
    import pandas as pd

    from experiments.summary import over_seeds, summarise

    each = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    names = ["agent_seed", "agent", "training_s", "training_flops", "decision_flops"]
    about = rows.groupby([*study.axes, "method"], sort=False)[names].first().reset_index()
    each = each.merge(about, on=[*study.axes, "method"], how="left")
    blocks = []
    for _, block in each.groupby(study.axes, sort=False):
        blocks += [over_seeds(block), block]
    return pd.concat(blocks, ignore_index=True)


def figure(
    config: Config,
    summary: "pd.DataFrame",
    curve: "pd.DataFrame",
    stem: pathlib.Path,
) -> None:
    """Return over steps with an interval over seeds; gap against time per decision."""
    from experiments import plotting

    with plotting.figure(stem, columns=2) as (left, right):
        plotting.curve_panel(left, curve)
        coupled = config.objective == "coupled"
        shown = summary[summary["agent_seed"].isna()]
        best = "an upper bound" if coupled else "the exact optimum"
        plotting.gap_panel(right, shown, best, named=True)


def notes(agent: "Agent", trained: "Trained") -> list[str]:
    """What the training cost."""
    n = agent.num_seeds
    steps = int(trained.curve["steps"][0, -1]) if trained.num_updates else 0
    return [
        f"Training of each of {n} seeds, side by side: {steps} steps, {trained.flops / n:.2g} "
        f"FLOPs, {trained.seconds / n:.1f} s of {trained.seconds:.1f} s, and "
        f"{trained.compile_s:.1f} s to compile.",
        f"± of {agent.name} is over seeds, of the others over instances.",
    ]


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

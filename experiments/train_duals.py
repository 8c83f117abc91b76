"""Training the dual head on small networks, and what its prices are worth on large ones.

Several seeds train on fresh instances of dozens of users, without labels; then each predicts the
channels' prices of held-out instances up to scale III, unchanged. Beside the gap that the prices
prove stands the gap of a greedy decode by them, and those of greedy and sorted matching, to the
exact optimum. How much time the prices save the exact solver says `python -m benchmarks.duals`.
"""

import contextlib
import dataclasses
import functools
import io
import json
import pathlib
import time
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

import lsajax as lsa
from experiments import config as options
from lsajax.runs import cli, provenance
from lsajax.runs.folder import BadRun, RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax
    import pandas as pd

    from lsajax.agents import dual

TIME = "a quarter of an hour on 2 cores"

AXES = ("setting", "num_channels", "num_active")
IDENTITY = (*AXES, "method", "training_seed", "realization")
DUAL, GREEDY, SORTED = "Dual head", "Greedy", "Sorted matching"
TRAINED_ON = ("fading", "multipath", "fair")
SIZES = ((100, 110), (50, 200))
"""Most users and channels of the training instances; the users are a fifth of that and more."""
HELD_OUT = ((200, 1000), (400, 2000), (1000, 2000), (1500, 2000))
"""Users and channels of the held-out instances."""


@dataclasses.dataclass(frozen=True)
class Config(options.RunConfig):
    """Training of the dual head.

    Args:
        seeds: trainings, from `seed` on.
        steps: of each.
        overprice: see `lsajax.agents.dual.Config`.
        candidates: channels of each user that the network looks at closely.
        rounds: of belief propagation.
        held_out: settings that are evaluated.
        realizations: held-out instances of each size and setting.
        ship: file for the weights of the seed with the lowest gap at the end of its training.
    """

    seeds: int = 5
    steps: int = 400
    overprice: float = 0.0
    candidates: int = 16
    rounds: int = 16
    held_out: tuple[options.Setting, ...] = ("fading", "multipath", "fair")
    realizations: int = 4
    ship: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A run with all of it checked, and its folder, locked."""

    config: Config
    training: "dual.Config"
    folder: RunFolder
    resources: contextlib.ExitStack


def prepare(config: Config) -> Prepared:
    """Checks everything before the first training."""
    options.check_run(config)
    small = {"seeds": 2, "steps": 40, "held_out": ("fading",), "realizations": 2}
    config = options.quickened(config, **small)
    if config.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {config.seeds}")
    accepted = get_args(options.Setting)
    if not config.held_out or not set(config.held_out) <= set(accepted):
        raise ValueError(f"--held-out must name some of {', '.join(accepted)}: {config.held_out}")
    from lsajax.agents import dual

    training = dual.Config(
        steps=config.steps,
        overprice=config.overprice,
        candidates=config.candidates,
        rounds=config.rounds,
    )
    record = options.record(
        "train_duals", config, without=("realizations", "seeds", "seed", "held_out", "ship")
    )
    out = config.out or options.folder_of("train_duals", config)
    folder = RunFolder(out, record, identity=IDENTITY, resume=config.resume)
    resources = contextlib.ExitStack()
    resources.enter_context(folder)
    return Prepared(config, training, folder, resources)


def scenarios() -> list[lsa.Scenario]:
    """What is trained on: every setting in every size."""
    base = [
        lsa.Scenario(num_users=n, num_channels=m, num_active=n, num_active_min=n // 5)
        for n, m in SIZES
    ]
    return [scenario.replace(**lsa.SETTINGS[name]) for name in TRAINED_ON for scenario in base]


def run(prepared: Prepared) -> None:
    """Trains what is not trained yet, evaluates what is not evaluated yet; tables and figure."""
    from rich.console import Console

    from experiments import outputs

    console = Console(stderr=True)
    config, folder = prepared.config, prepared.folder
    with prepared.resources:
        seeds = range(config.seed, config.seed + config.seeds)
        trained = [_trained(prepared, seed, console) for seed in seeds]
        _evaluate(prepared, {s: t["params"] for s, t in zip(seeds, trained, strict=True)}, console)
        folder.finish()
        rows = folder.rows()
        rows = rows[rows["realization"] < config.realizations]
        summary = table(rows)
        outputs.write_summary(folder, summary)
        curves(trained, folder.path / "curves")
        if config.ship is not None:
            best = min(trained, key=lambda t: t["metrics/dual_gap"][-1].mean())
            _store(config.ship, best["params"])
    print(summary.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    print(f"wrote seed-*.npz, rows.parquet, run.json, summary.csv, curves.png in {folder.path}/")


def _trained(prepared: Prepared, seed: int, console: Any) -> dict[str, Any]:
    """Weights and progress of one seed, from the folder if they are there."""
    import jax

    from lsajax.agents import dual

    path = prepared.folder.path / f"seed-{seed}.npz"
    asked = json.dumps(prepared.folder.config, sort_keys=True)
    if not path.exists():
        with console.status(f"training, seed {seed}"):
            start = time.perf_counter()
            params, metrics = jax.block_until_ready(
                dual.train(jax.random.key(seed), scenarios(), prepared.training)
            )
        seconds = time.perf_counter() - start
        progress = {f"metrics/{n}": np.asarray(x) for n, x in metrics._asdict().items()}
        _store(path, params, options=np.array(asked), seconds=np.array(seconds), **progress)
        gaps = ", ".join(f"{100 * g:.4f}" for g in progress["metrics/dual_gap"][-1])
        console.print(f"seed {seed}: {seconds:.0f} s with compilation; dual gaps in %: {gaps}")
    with np.load(path) as stored:
        named = dict(stored)
    if str(named["options"]) != asked:
        raise BadRun(f"{path} was trained with other options; give another --out")
    weights = {name: x for name, x in named.items() if name.startswith("params/")}
    return {**named, "params": dual.unflatten(weights)}


def _store(path: pathlib.Path, params: "dual.Params", **more: np.ndarray) -> None:
    from lsajax.agents import shipped

    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **more, **shipped.flatten(params))
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance.replace_file(path, buffer.getvalue())


def _evaluate(prepared: Prepared, params: "dict[int, dual.Params]", console: Any) -> None:
    """Rows of all held-out instances that are not on disk, cell by cell."""
    from rich.progress import track

    config, folder = prepared.config, prepared.folder
    cells = [(s, m, k) for s in config.held_out for k, m in HELD_OUT]
    todo = [(cell, r) for cell in cells for r in range(config.realizations)]
    for cell, realization in track(todo, "held-out instances", console=console):
        identity = dict(zip(AXES, cell, strict=True)) | {"realization": realization}
        methods = [(GREEDY, None), (SORTED, None), *((DUAL, seed) for seed in params)]
        missing = [
            (name, seed)
            for name, seed in methods
            if not folder.has({**identity, "method": name, "training_seed": seed})
        ]
        if missing:
            found = _rows(config, cell, realization, missing, params)
            folder.append([{**identity, **row} for row in found])


def _rows(
    config: Config,
    cell: tuple[str, int, int],
    realization: int,
    methods: list[tuple[str, int | None]],
    params: "dict[int, dual.Params]",
) -> list[dict[str, Any]]:
    from experiments import study
    from lsajax.agents import dual

    setting, channels, users = cell
    scenario = lsa.Scenario(num_users=channels, num_channels=channels, num_active=users)
    scenario = scenario.replace(**lsa.SETTINGS[setting])
    key, inst = study.instance(config.seed, scenario, realization)
    # Not `hungarian`, which would sort: the duals of the matrix are what is predicted.
    bound = float(_optimum()(inst))
    rows = []
    for name, seed in methods:
        row: dict[str, Any] = {"method": name, "training_seed": seed, "bound": bound}
        if seed is None:
            solver = lsa.solvers.greedy if name == GREEDY else lsa.solvers.sorted_matching
            row["value"] = float(solver(key, inst).value)
        else:
            found = _decoded(config.candidates)(params[seed], key, inst)
            assert found.duals is not None
            row["value"] = float(found.value)
            row["dual_gap_percent"] = 100 * (float(dual.dual_objective(found.duals)) / bound - 1)
        row["gap_percent"] = 100 * (1 - row["value"] / bound)
        rows.append(row)
    return rows


@functools.cache
def _optimum() -> "Callable[..., jax.Array]":
    import jax

    def solve(inst: lsa.Instance) -> "jax.Array":
        best = lsa.solvers.linear_sum_assignment(
            lsa.value_matrix(inst), True, row_mask=inst.user_mask, col_mask=~inst.occupied
        )
        return jax.numpy.asarray(best.value)

    return jax.jit(solve)


@functools.cache
def _decoded(candidates: int) -> "Callable[..., lsa.solvers.Solution]":
    """Weights are an argument: every seed runs the same program."""
    import jax

    from lsajax.agents import dual

    def solve(params: "dual.Params", key: "jax.Array", inst: lsa.Instance) -> Any:
        return dual.make_solver(params, exact=False, candidates=candidates)(key, inst)

    return jax.jit(solve)


def table(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Mean gaps in percent by cell and method; of the dual head over seeds, with its interval."""
    # Instances are the same for all seeds: first the mean over them, then the spread of seeds.
    by_seed = rows.groupby([*AXES, "method", "training_seed"], dropna=False, sort=False)
    means = by_seed[["gap_percent", "dual_gap_percent"]].mean().reset_index()
    lines = []
    for cell, own in means.groupby([*AXES, "method"], sort=False):
        line = dict(zip((*AXES, "method"), cell, strict=True))
        for column in ("gap_percent", "dual_gap_percent"):
            line[column] = own[column].mean()
            line[f"{column}_half"] = half_width(own[column].to_numpy())
        lines.append({**line, "seeds": int(own["training_seed"].notna().sum())})
    return type(rows)(lines)


def half_width(x: np.ndarray) -> float:
    """Half of the 95 % interval of the mean by Student's t, NaN for one value."""
    from scipy import stats

    if len(x) < 2:
        return np.nan
    return float(stats.t.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / np.sqrt(len(x)))


def curves(trained: list[dict[str, Any]], stem: pathlib.Path) -> None:
    """Dual gap on held-out small instances over the steps: mean and interval over the seeds."""
    from experiments import plotting

    gap = 100 * np.stack([t["metrics/dual_gap"] for t in trained])  # [seed, step, scenario]
    step = trained[0]["metrics/step"]
    with plotting.figure(stem, columns=len(TRAINED_ON)) as panels:
        for i, (axes, setting) in enumerate(zip(panels, TRAINED_ON, strict=True)):
            for j, (users, channels) in enumerate(SIZES):
                own = gap[:, :, i * len(SIZES) + j]
                mean = own.mean(axis=0)
                half = np.nan_to_num([half_width(x) for x in own.T])
                label = f"up to {users} users, {channels} channels" if i == 0 else None
                (line,) = axes.plot(step, mean, label=label)
                axes.fill_between(step, mean - half, mean + half, color=line.get_color(), alpha=0.2)
            axes.set(title=setting, xlabel="Steps", yscale="log")
        panels[0].set_ylabel("Gap of the predicted duals [%]")


if __name__ == "__main__":
    cli.main(Config, prepare, run, __doc__)

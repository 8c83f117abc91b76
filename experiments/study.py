"""A study as a record, and the one loop that runs any of them."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import lsajax as lsa
from experiments import network_files, rows
from experiments.methods import Method, Outcome
from experiments.networks import Network
from lsajax import hashing
from lsajax.runs.folder import RunFolder

DEFAULT_BUDGET_S = 0.1
"""For anytime methods where neither the user nor a language model says."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place in the grid of a study: a row of blocks in its table.

    Attributes:
        axes: where it is, by column name, such as `{"scale": "I"}`.
        source: what its instances are drawn from, the setting's switches and the objective
            included; or a network from a file, whose slots are the realisations.
        methods: by name, in the order in which they run and are shown; `Method`s, unless the study
            measures in its own way.
        setting: what rates depend on, a name of `lsajax.SETTINGS` or of a file.
        budget_s: seconds for anytime methods, in place of the study's.
        bound: what gaps of an instance are measured to, in the unit of its objective.
        shares_channels: whether users of an answer may share a channel, and interfere there.
    """

    axes: Mapping[str, str | int | float]
    source: lsa.Scenario | Network
    methods: Mapping[str, Any]
    setting: str = "plain"
    budget_s: float | None = None
    bound: Callable[[lsa.Instance], float] = rows.bound
    shares_channels: bool = False


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared on which instances.

    Attributes:
        cells: all with the same axes.
        seed: of instances and methods.
        reference: method that the others are subtracted from, paired by instance.
        budget_s: seconds for anytime methods; None takes those of `budget_from`.
        budget_from: the method whose seconds are the budget of the methods behind it.
        paper: the paper's own numbers, as shown, by (value of each axis, ..., method).
    """

    cells: Sequence[Cell]
    seed: int
    reference: str
    budget_s: float | None = None
    budget_from: str | None = None
    paper: Mapping[tuple[Any, ...], float] = dataclasses.field(default_factory=dict)

    @property
    def axes(self) -> list[str]:
        """Names of the cells' axes."""
        return list(self.cells[0].axes)


_sample = jax.jit(lsa.sample_instance)


def instance_key(seed: int, source: lsa.Scenario | Network, realization: int) -> jax.Array:
    """Key of one realisation, a function of the seed and the sizes (N, M, K).

    Neither study nor setting is in it: studies share their instances, and plain and fading differ
    by the fading alone, so that differences between settings are paired too.
    """
    sizes = {name: getattr(source, name) for name in ("num_users", "num_channels", "num_active")}
    names = [part for item in sizes.items() for part in item]
    return hashing.named_key(
        jax.random.key(seed), "instance", *names, "realization", int(realization)
    )


def instance(
    seed: int, source: lsa.Scenario | Network, realization: int
) -> tuple[jax.Array, lsa.Instance]:
    """Key and instance of one realisation.

    Of a network from a file the key gives the methods' draws alone.
    """
    key = instance_key(seed, source, realization)
    if isinstance(source, lsa.Scenario):
        return key, _sample(key, source)
    return key, source.instance(int(realization))


Measure = Callable[[Study, Cell, int], list[dict[str, Any]]]
"""Study, cell and realisation -> rows, one or two for each of the cell's methods."""


def run(
    study: Study,
    folder: RunFolder,
    realizations: int,
    *,
    measure: Measure | None = None,
    warm_up: Callable[[Study, Cell], None] | None = None,
) -> pd.DataFrame:
    """Computes what is not on disk yet; of a network from a file no more than its slots.

    Args:
        study: what is compared.
        folder: of the rows.
        realizations: of each cell.
        measure: computes the rows of a realisation; `run_instance` if not given.
        warm_up: compiles a cell; `prepare` if not given.

    Returns:
        The rows of the study's cells and of the first `realizations`, cells in the study's order.
    """
    folder.metadata["columns"] = rows.COLUMNS
    slots = [c.source.num_slots for c in study.cells if isinstance(c.source, Network)]
    realizations = min([realizations, *slots])
    done = sum(_done(folder, cell, realizations) for cell in study.cells)
    total = realizations * len(study.cells)
    console = Console(stderr=True)
    if done == total:
        console.print(f"all {total} instances are in {folder.path} already", soft_wrap=True)
    else:
        with progress_bar(console) as progress:
            task = progress.add_task("", total=total - done)
            todo = _todo(study, folder, realizations, warm_up or prepare, progress, task)
            for cell, realization in todo:
                found = (measure or run_instance)(study, cell, realization)
                # Some are there where a method was added to the study since.
                folder.append([row for row in found if not folder.has(row)])
                progress.advance(task)
    folder.finish()
    return _selected(study, folder.rows(), realizations)


def _todo(
    study: Study,
    folder: RunFolder,
    realizations: int,
    warm_up: Callable[[Study, Cell], None],
    progress: Progress,
    task: Any,
) -> Iterator[tuple[Cell, int]]:
    """What is to be computed, one by one: there may be a thousand million."""
    for cell in study.cells:
        where = ", ".join(f"{name} {value}" for name, value in cell.axes.items())
        warm = False
        for realization in range(realizations):
            if _is_done(folder, cell, realization):
                continue
            if not warm:
                progress.update(task, description=f"{where}: compiling")
                warm_up(study, cell)
                warm = True
            progress.update(task, description=f"{where}, realisation {realization}")
            yield cell, realization


def prepare(study: Study, cell: Cell) -> None:
    """Compiles every method for this cell, so that no row's seconds hold a compilation."""
    _, inst = instance(study.seed, cell.source, 0)
    for method in cell.methods.values():
        if method.skip(inst) is None:
            method.prepare(inst)
    cell.bound(inst)


def run_instance(study: Study, cell: Cell, realization: int) -> list[dict[str, Any]]:
    """The rows of one instance: one per method, two for a method that has a raw row."""
    key, inst = instance(study.seed, cell.source, realization)
    common = about(study, cell) | {
        "num_active": int(inst.user_mask.sum()),
        "bound": cell.bound(inst),
    }
    budget_s = cell.budget_s or study.budget_s or DEFAULT_BUDGET_S
    found = []
    for method in cell.methods.values():
        reason = method.skip(inst)
        if reason is not None:
            outcome = None
        else:
            drawn = hashing.named_key(key, "method", method.draws_as or method.name)
            outcome = method.run(drawn, inst, budget_s)
            if study.budget_s is None and method.name == study.budget_from:
                budget_s = outcome.seconds
        for name, columns in _rows_of(cell, method, outcome, reason, inst):
            identity = {**cell.axes, "method": name, "realization": realization}
            if isinstance(cell.source, Network) and outcome is not None and name == method.name:
                columns["assigned_channel_id"] = cell.source.channels(outcome.assignment).tolist()
            found.append({**identity, **common, **columns})
    return found


def about(study: Study, cell: Cell) -> dict[str, Any]:
    """Columns that all rows of a cell have in common."""
    return {
        "num_users": cell.source.num_users,
        "num_channels": cell.source.num_channels,
        "setting": cell.setting,
        "objective": cell.source.objective,
        "seed": study.seed,
    }


def _rows_of(
    cell: Cell, method: Method, outcome: Outcome | None, reason: str | None, inst: lsa.Instance
) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [name for name in (method.name, method.raw_name) if name is not None]
    for name in names:
        if outcome is None:
            yield name, {"status": rows.SKIPPED, "detail": reason}
            continue
        raw = name == method.raw_name
        assignment = outcome.raw if raw else outcome.assignment
        assert assignment is not None, f"{method.name} has a raw row and no raw assignment"
        ended = {"seconds": outcome.seconds, "status": outcome.status}
        # The rest would be the same in both rows.
        kept = {"raw_valid": outcome.columns.get("raw_valid")} if raw else outcome.columns
        left = inst if outcome.inst is None else outcome.inst
        valued = rows.evaluate(left, assignment, raw=raw or cell.shares_channels)
        yield name, {**valued, **ended, **kept}


def assignments(study: Study, found: pd.DataFrame) -> pd.DataFrame:
    """Assignments of the rows of networks from files, in their ids: a row per slot and user."""
    tables = []
    for cell in study.cells:
        assert isinstance(cell.source, Network)
        own = found[found["assigned_channel_id"].notna()]
        for row in own.to_dict("records"):
            ids = np.asarray(row["assigned_channel_id"])
            table = network_files.assignment_table(cell.source.user_id, ids)
            table["slot"] = row["realization"]
            tables.append(table.assign(method=row["method"]))
    return pd.concat(tables, ignore_index=True)


def method_names(cell: Cell) -> list[str]:
    """Names of the rows of one instance of this cell."""
    methods = cell.methods.values()
    return [n for m in methods for n in (m.name, m.raw_name) if n is not None]


def is_done(folder: RunFolder, cell: Cell, realizations: int) -> bool:
    """Whether all rows of a cell are on disk."""
    return all(_is_done(folder, cell, realization) for realization in range(realizations))


def _is_done(folder: RunFolder, cell: Cell, realization: int) -> bool:
    row = {**cell.axes, "realization": realization}
    return all(folder.has({**row, "method": name}) for name in method_names(cell))


def _done(folder: RunFolder, cell: Cell, realizations: int) -> int:
    # From what is there, not from what is asked for: that may be a thousand million.
    names = set(method_names(cell))
    there = [dict(zip(folder.identity, i, strict=True)) for i in folder.identities]
    counts = collections.Counter(
        row["realization"]
        for row in there
        if row["method"] in names and all(row[k] == v for k, v in cell.axes.items())
    )
    return sum(r < realizations and count == len(names) for r, count in counts.items())


def _selected(study: Study, found: pd.DataFrame, realizations: int) -> pd.DataFrame:
    found = found[found["realization"] < realizations]
    blocks = []
    for cell in study.cells:
        own = found
        for name, value in cell.axes.items():
            own = own[own[name] == value]
        order = {name: i for i, name in enumerate(method_names(cell))}
        own = own[own["method"].isin(order)]  # a method may have been left out since
        blocks.append(own.sort_values("method", key=lambda s: s.map(order), kind="stable"))
    return pd.concat(blocks, ignore_index=True)


def progress_bar(console: Console) -> Progress:
    """The bar that every long command shows."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )

"""Training on the host, chunk by chunk: progress, checkpoints, and a budget that it stops at."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsajax.runs import checkpoints


class BudgetTooSmall(ValueError):  # noqa: N818 - the budget is at fault, not the code
    """A budget does not suffice for one update."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training may use; None is no limit.

    Attributes:
        seconds: wall time, without compilation.
        flops: floating point operations, as XLA counts them.
    """

    seconds: float | None = None
    flops: float | None = None


@dataclasses.dataclass(frozen=True)
class Trained:
    """Where a training stands.

    Attributes:
        state: of the algorithm, after the last update.
        curve: metrics, arrays [..., updates].
        seconds: wall time of all updates, those before a resume included, without compilation.
        flops: of all updates.
        compile_s: what compilation took in this process [s].
        update_s: the longest that an update took, by which the next ones are foreseen [s].
    """

    state: Any
    curve: dict[str, np.ndarray]
    seconds: float = 0.0
    flops: float = 0.0
    compile_s: float = 0.0
    update_s: float = 0.0

    @property
    def num_updates(self) -> int:
        """Updates so far."""
        return next(iter(self.curve.values())).shape[-1]


def train(
    state: Any,
    update: Callable[[Any], tuple[Any, dict[str, jax.Array]]],
    *,
    num_updates: int,
    chunk: int,
    flops_per_update: float,
    budget: Budget = Budget(),
    folder: pathlib.Path | None = None,
    description: Mapping[str, Any] | None = None,
    save_every_s: float = 0.0,
    on_chunk: Callable[[Trained], None] = lambda trained: None,
) -> Trained:
    """Runs updates until `num_updates`, or until the next one would pass the budget.

    With a folder, goes on from the last checkpoint that is there, to the same bits as a training
    that was never stopped.

    Args:
        state: before the first update; given away.
        update: `(state) -> (state, metrics)`; vmapped where states of several seeds go together.
        num_updates: at most.
        chunk: updates between two looks at the clock, in one compiled scan.
        flops_per_update: of all seeds together.
        budget: stops the training; where it has seconds, updates go one by one until it is known
            what they take, and again near its end.
        folder: of checkpoints, at the end of chunks; None for none.
        description: of the checkpoints, see `checkpoints.restore`.
        save_every_s: seconds of training between two checkpoints; the last chunk has one anyway.
        on_chunk: is shown where the training stands, after each chunk.

    Raises:
        BudgetTooSmall: the budget is too small for one update.
        BadCheckpoint: those in `folder` are of something else.
    """
    affordable = _affordable(num_updates, budget, flops_per_update)
    trained = Trained(state, _no_curve(update, state))
    if folder is not None:
        trained = _resumed(trained, folder, description or {}, flops_per_update)
    compiled: dict[int, Any] = {}
    saved_s = trained.seconds

    def goes_on(trained: Trained) -> bool:
        late = budget.seconds is not None and trained.seconds + trained.update_s > budget.seconds
        return trained.num_updates < affordable and not late

    while goes_on(trained):
        length = min(_foreseen(trained, chunk, budget), affordable - trained.num_updates)
        if length not in compiled:
            start = time.perf_counter()
            compiled[length] = _compiled(update, length, trained.state)
            compile_s = trained.compile_s + time.perf_counter() - start
            trained = dataclasses.replace(trained, compile_s=compile_s)
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled[length](trained.state))
        seconds = time.perf_counter() - start
        _check_seconds(budget, seconds / length)
        trained = _after(trained, state, metrics, seconds, length * flops_per_update)
        due = trained.seconds - saved_s >= save_every_s or not goes_on(trained)
        if folder is not None and due:
            checkpoints.save(folder, trained.num_updates, _tree(trained), description or {})
            saved_s = trained.seconds
        on_chunk(trained)
    return trained


def _affordable(num_updates: int, budget: Budget, flops_per_update: float) -> int:
    if budget.flops is None:
        return num_updates
    if budget.flops < flops_per_update:
        raise BudgetTooSmall(
            f"budget_flops must be at least {flops_per_update:.3g}, which one update takes, "
            f"got {budget.flops:.3g}"
        )
    return min(num_updates, math.floor(budget.flops / flops_per_update))


def _foreseen(trained: Trained, chunk: int, budget: Budget) -> int:
    """Updates that surely end within the budget: a chunk, or one."""
    if budget.seconds is None:
        return chunk
    known = trained.update_s > 0
    return chunk if known and trained.seconds + chunk * trained.update_s <= budget.seconds else 1


def _compiled(update: Callable[[Any], Any], length: int, state: Any) -> Any:
    def run(state: Any) -> Any:
        return jax.lax.scan(lambda s, _: update(s), state, length=length)

    return jax.jit(run, donate_argnums=0).lower(state).compile()


def _after(
    trained: Trained, state: Any, metrics: dict[str, jax.Array], seconds: float, flops: float
) -> Trained:
    added = {name: np.moveaxis(np.asarray(m), 0, -1) for name, m in metrics.items()}
    curve = {name: np.concatenate([old, added[name]], -1) for name, old in trained.curve.items()}
    return dataclasses.replace(
        trained,
        state=state,
        curve=curve,
        seconds=trained.seconds + seconds,
        flops=trained.flops + flops,
        update_s=max(trained.update_s, seconds / next(iter(metrics.values())).shape[0]),
    )


def _no_curve(update: Callable[[Any], Any], state: Any) -> dict[str, np.ndarray]:
    shapes = jax.eval_shape(update, state)[1]
    return {name: np.zeros((*s.shape, 0), s.dtype) for name, s in shapes.items()}


def _check_seconds(budget: Budget, one_update_s: float) -> None:
    if budget.seconds is not None and one_update_s > budget.seconds:
        raise BudgetTooSmall(
            f"budget_s must be at least {one_update_s:.2g} s, which one update takes here, "
            f"got {budget.seconds:g}"
        )


def _tree(trained: Trained) -> dict[str, Any]:
    return {
        "state": trained.state,
        "curve": trained.curve,
        "seconds": np.float32(trained.seconds),
        "update_s": np.float32(trained.update_s),
    }


def _resumed(
    trained: Trained,
    folder: pathlib.Path,
    description: Mapping[str, Any],
    flops_per_update: float,
) -> Trained:
    there = checkpoints.numbers(folder)
    if not there:
        return trained
    last = there[-1]
    curve = {n: np.zeros((*c.shape[:-1], last), c.dtype) for n, c in trained.curve.items()}
    like = _tree(dataclasses.replace(trained, curve=curve))
    found = checkpoints.restore(folder, last, like, description)
    curve = {name: np.asarray(value) for name, value in found["curve"].items()}
    return dataclasses.replace(
        trained,
        state=jax.tree.map(jnp.asarray, found["state"]),
        curve=curve,
        seconds=float(found["seconds"]),
        flops=last * flops_per_update,
        update_s=float(found["update_s"]),
    )

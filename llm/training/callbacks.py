"""What a training shows and writes while it runs: a bar, rows of metrics, held-out evaluations."""

import math
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transformers import ProgressCallback, TrainerCallback

from llm.training.durable import checkpoints, step_of
from lsajax.runs import provenance
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

_FLUSH_S = 5.0
SHOWN = {"reward": "reward", "raw/valid": "valid", "loss": "loss", "mean_token_accuracy": "right"}
"""Metrics beside the progress bar, and what they are called there."""


class Bar(ProgressCallback):
    """The trainer's progress bar with a few metrics beside it, in place of lines of metrics."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Shows the step's metrics."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            shown = {SHOWN[k]: f"{v:.3f}" for k, v in logs.items() if k in SHOWN and v is not None}
            self.training_bar.set_postfix(shown, refresh=False)


class Rows(TrainerCallback):
    """Each step's metrics as a row of a run folder.

    Rows are on disk before the checkpoint of their step is, and those of steps that a resumed run
    takes again are there once. A full disk keeps them in memory until there is room.

    Args:
        folder: with the identity `step`; None on processes that write nothing.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self.folder = folder
        self._waiting: list[dict[str, Any]] = []
        self._flushed_s = time.monotonic()
        self._warned = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keeps the row, and writes rows now and then."""
        if self.folder is None or not logs or not {"loss", "eval_loss"} & logs.keys():
            return
        row: dict[str, Any] = {"step": state.global_step}
        row |= {k: float(v) for k, v in logs.items() if isinstance(v, (int, float))}
        if not self.folder.has(row):
            self._waiting.append(row)
        # A validation of the same step is still to come: one row has both.
        whole = "eval_loss" in logs or not control.should_evaluate
        if whole and (control.should_save or time.monotonic() - self._flushed_s > _FLUSH_S):
            self.flush()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Writes what is left."""
        self.flush()

    def flush(self) -> None:
        """Writes the rows that wait."""
        if self.folder is None or not self._waiting:
            return
        merged: dict[int, dict[str, Any]] = {}
        for row in self._waiting:  # a validation loss is of the same step as a training loss
            merged.setdefault(row["step"], {}).update(row)
        try:
            self.folder.append(list(merged.values()))
        except OSError as error:
            if not self._warned:
                print(f"\nwarning: rows not written yet ({error})", file=sys.stderr)
            self._warned = True
            return
        self._waiting, self._flushed_s, self._warned = [], time.monotonic(), False


class HeldOut(TrainerCallback):
    """Held-out evaluation before, after and every few steps, a Parquet file each.

    Args:
        out: folder of the files.
        every: steps between two evaluations; 0 is before and after alone.
        measure: returns the table of the model as it is.
        wait: of all processes for one another; only the first measures.
    """

    def __init__(
        self,
        out: pathlib.Path,
        every: int,
        measure: Callable[[], "pd.DataFrame"],
        wait: Callable[[], None],
    ) -> None:
        self.out, self.every, self.measure, self.wait = out, every, measure, wait

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step."""
        if state.global_step == 0:
            self._measure(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every few steps, and after the last."""
        due = self.every and state.global_step % self.every == 0
        if due or state.global_step == state.max_steps:
            self._measure(state)

    def _measure(self, state: Any) -> None:
        file = self.out / f"step-{state.global_step:06d}.parquet"
        if state.is_world_process_zero and not file.exists():
            table = self.measure()
            table.insert(0, "step", state.global_step)
            print(f"\nstep {state.global_step}: {summary(table)}", file=sys.stderr, flush=True)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                provenance.replace_file(file, table.to_parquet(index=False))
            except OSError as error:
                print(f"warning: {file.name} not written ({error})", file=sys.stderr)
        self.wait()


def summary(table: "pd.DataFrame") -> str:
    """Valid and right answers, and the gap of valid ones, by temperature, in a line."""
    parts = []
    for temperature, own in table.groupby("temperature"):
        gap = own["gap"].mean()
        shown = "-" if math.isnan(gap) else f"{100 * gap:.2f} %"
        parts.append(
            f"temperature {temperature:g}: {100 * own['valid'].mean():.0f} % valid, "
            f"{100 * own['right'].mean():.0f} % of the right family, gap of valid answers {shown}"
        )
    return "held out, " + "; ".join(parts)


def last_checkpoint(out: pathlib.Path) -> pathlib.Path | None:
    """Where a resumed run goes on."""
    found = checkpoints(out)
    return found[-1] if found else None


def trained_steps(out: pathlib.Path) -> int:
    """Steps that the last whole checkpoint has."""
    last = last_checkpoint(out)
    return 0 if last is None else step_of(last)


CURVES: Mapping[str, tuple[str, ...]] = {
    "reward": ("reward",),
    "parts": (
        "rewards/structure_reward/mean",
        "rewards/performance_reward/mean",
        "rewards/depth_reward/mean",
    ),
    "share of completions": ("raw/valid", "status/ok", "completions/clipped_ratio"),
    "tokens": ("completions/mean_length",),
    "entropy and KL": ("entropy", "kl"),
    "loss": ("loss", "eval_loss"),
    "tokens predicted": ("mean_token_accuracy", "eval_mean_token_accuracy"),
}
"""Panels of the figure, and the metrics in each; a panel without any is left out."""


def draw_curves(rows: "pd.DataFrame", file: pathlib.Path, *, window: int = 10) -> None:
    """The metrics over steps, as PNG and PDF; thin as they are, thick their running mean.

    Args:
        rows: of `RunFolder.rows`.
        file: without ending.
        window: steps of the running mean.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = rows.sort_values("step")
    panels = {
        title: [name for name in names if name in rows and rows[name].notna().any()]
        for title, names in CURVES.items()
    }
    panels = {title: names for title, names in panels.items() if names}
    if not panels:
        return
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.6 * columns, 2.6 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for k, name in enumerate(names):
            own = rows[["step", name]].dropna()
            axis.plot(own["step"], own[name], color=f"C{k}", alpha=0.3, linewidth=0.8)
            smooth = own[name].rolling(window, min_periods=1).mean()
            short = name.removeprefix("rewards/").removesuffix("_reward/mean")
            axis.plot(own["step"], smooth, color=f"C{k}", label=short)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        if len(names) > 1:
            axis.legend(fontsize=7)
    for ending in ("png", "pdf"):
        figure.savefig(file.with_suffix(f".{ending}"))
    plt.close(figure)

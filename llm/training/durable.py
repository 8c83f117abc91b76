"""Checkpoints that are whole or not there, and a training that a full disk does not end."""

import contextlib
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import torch

STAGING = ".saving"
"""Within a run's folder: what is being written."""

_DISK_WORDS = ("PytorchStreamWriter", "inline_container", "SafetensorError", "No space left")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class DurableCheckpoints:
    """Mixed into a trainer: each checkpoint is written aside and moved to its place when whole.

    Attributes:
        extra_files: name -> content of files that each checkpoint has beside the trainer's.
    """

    extra_files: dict[str, str] = {}  # noqa: RUF012 - replaced, not changed
    _staging: pathlib.Path | None = None
    _warned = False

    def _get_output_dir(self, trial: Any) -> str:
        out = super()._get_output_dir(trial)  # type: ignore[misc]
        return str(self._staging) if self._staging else out

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        out = pathlib.Path(self.args.output_dir)  # type: ignore[attr-defined]
        name = f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        accelerator = self.accelerator  # type: ignore[attr-defined]
        self._staging = out / STAGING
        error = None
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            if accelerator.is_main_process:
                for file, content in self.extra_files.items():
                    (self._staging / name / file).write_text(content)
        except Exception as failure:
            if not is_disk_failure(failure):
                raise
            error = failure
        finally:
            staging, self._staging = self._staging, None
        failed = torch.tensor([float(error is not None)], device=accelerator.device)
        whole = not accelerator.gather(failed).any().item()  # waits for the other processes too
        if accelerator.is_main_process:
            if whole:
                try:
                    self._move(staging / name, out / name)
                except OSError as failure:
                    error, whole = failure, False
            if not whole:
                shutil.rmtree(staging, ignore_errors=True)
                self._warn(f"checkpoint of step {self.state.global_step} not written", error)  # type: ignore[attr-defined]
        accelerator.wait_for_everyone()

    def _move(self, source: pathlib.Path, target: pathlib.Path) -> None:
        for file in [*source.rglob("*"), source]:
            _sync(file)
        if target.exists():  # a resumed run passes a step that was saved before
            shutil.rmtree(target)
        os.replace(source, target)
        _sync(target.parent)
        limit = self.args.save_total_limit  # type: ignore[attr-defined]
        for old in checkpoints(target.parent)[: -limit if limit else 0]:
            shutil.rmtree(old, ignore_errors=True)

    def _warn(self, what: str, error: BaseException | None) -> None:
        if not self._warned:
            reason = str(error or "another process failed").strip().splitlines()[0]
            print(f"\nwarning: {what} ({reason}); the training goes on", file=sys.stderr)
        self._warned = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the trainer's; what it writes of completions may fail."""
        try:
            super().log(logs, start_time)  # type: ignore[misc]
        except OSError as error:
            self._warn("samples of completions not written", error)


def is_disk_failure(error: BaseException) -> bool:
    """Whether a checkpoint failed for want of room on the disk, or for its files otherwise."""
    if isinstance(error, OSError):
        return True
    # PyTorch and safetensors have no class of their own for it.
    text = f"{type(error).__name__}: {error}"
    return any(word in text for word in _DISK_WORDS)


def checkpoints(out: pathlib.Path) -> list[pathlib.Path]:
    """Folders of whole checkpoints, the last step last."""
    found = [path for path in out.glob("checkpoint-*") if _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: pathlib.Path) -> int:
    """The step after which it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _sync(path: pathlib.Path) -> None:
    """Onto the disk, so that a power cut too leaves a checkpoint whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """What is done within draws nothing from the generators that the training goes on with."""
    import random

    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the trainer's own
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002

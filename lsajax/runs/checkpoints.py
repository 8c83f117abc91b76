"""Checkpoints of a training, and the weights that come out of it.

A checkpoint is whatever tree of arrays the training goes on from, saved by Orbax: a folder per
checkpoint, whole or not there at all. A description in JSON lies beside it, so that one of another
head or size is told apart before its shapes are.
"""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from lsajax.runs import provenance

DESCRIPTION = "description.json"
_TEMPORARY = "*.orbax-checkpoint-tmp*"
_KEPT = 2


class BadCheckpoint(ValueError):  # noqa: N818 - it is the arguments that do not fit
    """What was saved is not what was asked for; the message says what differs."""


def save(folder: str | os.PathLike, number: int, tree: Any, description: Mapping[str, Any]) -> None:
    """Saves a tree of arrays and typed keys as checkpoint `number`; older ones but one go.

    Args:
        folder: of the training's checkpoints; made where it is missing.
        number: grows from checkpoint to checkpoint.
        tree: what the training goes on from.
        description: what it is of, JSON-able; see `restore`.
    """
    folder = pathlib.Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(_TEMPORARY):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    _write_description(folder / DESCRIPTION, description)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / f"{number:08d}", tree, force=True)
    for old in numbers(folder)[:-_KEPT]:
        shutil.rmtree(folder / f"{old:08d}", ignore_errors=True)


def numbers(folder: str | os.PathLike) -> list[int]:
    """Numbers of the checkpoints that are there, rising; empty where there are none."""
    return sorted(int(path.name) for path in pathlib.Path(folder).glob("[0-9]" * 8))


def restore(
    folder: str | os.PathLike, number: int, like: Any, description: Mapping[str, Any]
) -> Any:
    """The tree of a checkpoint.

    Args:
        folder: of the training's checkpoints.
        number: one of `numbers(folder)`.
        like: a tree of the same structure, shapes and types; its values do not matter.
        description: what is expected.

    Raises:
        BadCheckpoint: it is of something else, or cannot be read.
    """
    folder = pathlib.Path(folder).absolute()
    _check_description(folder, folder / DESCRIPTION, description)
    shapes = jax.eval_shape(lambda: like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(folder / f"{number:08d}", shapes)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"checkpoint {folder / f'{number:08d}'}: {reason}") from None


def save_weights(path: str | os.PathLike, params: Any, description: Mapping[str, Any]) -> None:
    """Writes a network's parameters to one file, and its description beside it (`.json`)."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_description(path.with_suffix(".json"), description)
    provenance.replace_file(path, serialization.to_bytes(params))


def load_weights(path: str | os.PathLike, like: Any, description: Mapping[str, Any]) -> Any:
    """Parameters from `save_weights`, for a network whose parameters are `like` these.

    Raises:
        BadCheckpoint: they are of something else, or cannot be read.
    """
    path = pathlib.Path(path)
    _check_description(path, path.with_suffix(".json"), description)
    try:
        found = serialization.from_bytes(like, path.read_bytes())
    except (ValueError, TypeError, AttributeError, LookupError, OSError) as error:
        # All of these come of bytes that are no longer what was written.
        reason = str(error).strip() or type(error).__name__
        raise BadCheckpoint(f"weights {path}: {reason.splitlines()[0]}") from None
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
        if np.shape(a) != b.shape:
            raise BadCheckpoint(
                f"weights {path} have shape {np.shape(a)} where {b.shape} is needed"
            )
    return found


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """The description beside weights, or of a folder of checkpoints.

    Raises:
        BadCheckpoint: there is none.
    """
    path = pathlib.Path(path)
    file = path / DESCRIPTION if path.is_dir() else path.with_suffix(".json")
    return _read(path, file)


def _read(what: pathlib.Path, file: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{what} has no description that can be read ({error})") from None


def _write_description(file: pathlib.Path, description: Mapping[str, Any]) -> None:
    provenance.replace_file(file, (json.dumps(dict(description), indent=2) + "\n").encode())


def _check_description(
    what: pathlib.Path, file: pathlib.Path, description: Mapping[str, Any]
) -> None:
    expected = json.loads(json.dumps(dict(description)))  # tuples as the lists that come back
    found = _read(what, file)
    for name in dict.fromkeys([*expected, *found]):
        if expected.get(name) != found.get(name):
            raise BadCheckpoint(
                f"{what} is of {name} {found.get(name)!r}, and {expected.get(name)!r} is needed"
            )

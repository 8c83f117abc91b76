"""Trained weights that ship with the package, see `weights/README.md`."""

import importlib.resources
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

_FOLDER = importlib.resources.files("lsajax.agents") / "weights"


def flatten(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Weights by name, as they are stored."""
    flat = traverse_util.flatten_dict(params, sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def unflatten(stored: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The weights that `flatten` took apart."""
    return traverse_util.unflatten_dict({n: jnp.asarray(x) for n, x in stored.items()}, sep="/")


def load(name: str) -> dict[str, Any]:
    """Weights by the name of their file.

    Raises:
        ValueError: there are none of this name.
    """
    names = sorted(f.name.removesuffix(".npz") for f in _FOLDER.iterdir() if f.name.endswith("npz"))
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}, got {name!r}")
    with (_FOLDER / f"{name}.npz").open("rb") as file, np.load(file) as stored:
        return unflatten(dict(stored))

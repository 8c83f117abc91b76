"""Interleaved timing: contestants take turns, so that a machine's drift meets all of them alike."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from lsajax.runs import provenance

Name = TypeVar("Name")


def interleave(contestants: Mapping[Name, Callable[[], Any]], runs: int) -> dict[Name, np.ndarray]:
    """Seconds [runs] of each contestant, called in turn after one call each that is not counted."""
    for call in contestants.values():
        jax.block_until_ready(call())
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(slow: np.ndarray, fast: np.ndarray) -> float:
    """Median over the turns of slow / fast."""
    return float(np.median(slow / fast))


def compile_seconds(function: Any, *args: Any) -> float:
    """Seconds to trace and compile a jitted function for these arguments, past any cache."""
    start = time.perf_counter()
    jax.jit(lambda *a: function(*a)).lower(*args).compile()
    return time.perf_counter() - start


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """The record as JSON, with versions, commit and the machine it was measured on."""
    provenance.write(path, record)
    print(f"wrote {path}")

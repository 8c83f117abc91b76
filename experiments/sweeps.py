"""`--sweep name=a,b,c` and `--sweep name=lo:hi:n`: scenario fields that take several values."""

import contextlib
import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

import lsajax as lsa

Axes = dict[str, Any]

_FIELDS = {field.name: field for field in dataclasses.fields(lsa.Scenario)}


def parse(sweep: str) -> tuple[str, list[Any]]:
    """Name and values of one sweep.

    Raises:
        ValueError: no such form, no such field, or no value of its kind.
    """
    name, equals, text = sweep.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not text:
        raise ValueError(f"--sweep must be name=a,b,c or name=lo:hi:n, got {sweep!r}")
    if name not in _FIELDS:
        near = difflib.get_close_matches(name, _FIELDS, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"--sweep {name}: a Scenario has no such field{meant}")
    values = _range(name, text) if ":" in text else [_value(name, v) for v in text.split(",")]
    if len(set(values)) < len(values):
        raise ValueError(f"--sweep {name} must have each value once, got {text}")
    return name, values


def _types(name: str) -> tuple[type, ...]:
    annotation = _FIELDS[name].type
    return get_args(annotation) or (annotation,)


def _value(name: str, text: str) -> Any:
    """Of the kind that the field has: a word, a flag, a whole number, a number or none."""
    text, types = text.strip(), _types(name)
    if str in types:
        return text
    if bool in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if type(None) in types and text.lower() == "none":
        return None
    for kind in (int, float):
        if kind in types:
            with contextlib.suppress(ValueError):
                return kind(text)
    kinds = " or ".join("none" if kind is type(None) else kind.__name__ for kind in types)
    raise ValueError(f"--sweep {name} must have values of type {kinds}, got {text!r}")


def _range(name: str, text: str) -> list[Any]:
    """`lo:hi:n`, both ends included."""
    parts, values = text.split(":"), []
    if len(parts) == 3:
        with contextlib.suppress(ValueError):
            values = np.linspace(float(parts[0]), float(parts[1]), int(parts[2])).tolist()
    if not values:
        raise ValueError(f"--sweep {name} must be lo:hi:n with n of at least 1, got {text!r}")
    if int in _types(name):
        whole = [round(value) for value in values]
        if any(abs(a - b) > 1e-9 for a, b in zip(values, whole, strict=True)):
            raise ValueError(f"--sweep {name} must have whole numbers, got {values} of {text!r}")
        return whole
    if float not in _types(name):
        raise ValueError(f"--sweep {name} must be a list a,b,c, got the range {text!r}")
    # 0.3 and not 0.30000000000000004, which names a folder and labels an axis.
    return [float(f"{value:.12g}") for value in values]


def cells(scenario: lsa.Scenario, sweeps: Sequence[str]) -> list[tuple[Axes, lsa.Scenario]]:
    """A scenario for each combination of values, in the order of the sweeps.

    Raises:
        ValueError: what `parse` raises, a field that is swept twice, or a combination that is no
            scenario.
    """
    parsed = [parse(sweep) for sweep in sweeps]
    names = [name for name, _ in parsed]
    if len(set(names)) < len(names):
        raise ValueError(f"--sweep must name each field once, got {', '.join(names)}")
    found = []
    for values in itertools.product(*(values for _, values in parsed)):
        axes = dict(zip(names, values, strict=True))
        found.append((axes, scenario.replace(**axes)))
    return found

"""What the algorithms' configurations share: static fields, and checks of their values."""

import dataclasses
import math
import numbers
from typing import Any

STATIC = {"static": True}
"""Metadata of a field that is no leaf of the pytree: another value compiles anew."""


def static(default: Any) -> Any:
    """Such a field, with its default."""
    return dataclasses.field(default=default, metadata=STATIC)


def check_positive(config: Any, names: str) -> None:
    """Raises ValueError unless these fields are integers of at least 1."""
    for name in names.split():
        value = getattr(config, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_rates(config: Any, names: str, most: float = math.inf) -> None:
    """Raises ValueError unless these fields are within 0 and `most`, as far as they are known.

    A traced or batched rate is not looked at.
    """
    for name in names.split():
        value = getattr(config, name)
        if not isinstance(value, numbers.Real):
            continue
        if not 0 <= float(value) <= most or math.isinf(value):
            bounds = "at least 0, finite" if math.isinf(most) else f"within 0..{most:g}"
            raise ValueError(f"{name} must be {bounds}, got {value!r}")

"""What a function costs, by XLA's own count."""

from collections.abc import Callable
from typing import Any

import jax


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating point operations of one call, from the cost analysis of what XLA compiled.

    XLA counts the body of a loop once, however often it runs: give a body, and multiply. Of the
    arguments only shapes and types matter.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    analysis = jax.jit(function).lower(*shapes).compile().cost_analysis()
    # Some versions give a list with an entry per computation.
    parts = analysis if isinstance(analysis, list) else [analysis]
    return float(sum(part.get("flops", 0.0) for part in parts if part))


def rows(tree: Any, count: int) -> Any:
    """Shapes of `tree` with `count` along the first axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), tree)

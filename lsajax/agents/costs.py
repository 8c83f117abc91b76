"""What a function costs, by XLA's own count."""

from collections.abc import Callable
from typing import Any

import jax


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating point operations of one call, from XLA's cost analysis of its program.

    XLA counts the body of a loop once, however often it runs: give a body, and multiply. The
    program is counted as it goes into the compiler, which then takes nothing away but what is not
    used; compiling it for a count would take as long as training for seconds. Of the arguments only
    shapes and types matter.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
    analysis: Any = jax.jit(function).lower(*shapes).cost_analysis()
    return float(analysis["flops"])


def rows(tree: Any, count: int) -> Any:
    """Shapes of `tree` with `count` along the first axis."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), tree)

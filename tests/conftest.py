"""Calls of lsajax's array functions are checked against their shape annotations."""

import pathlib

import jax
import pytest
from jaxtyping import install_import_hook

_LSAJAX = pathlib.Path(__file__).parents[1] / "lsajax"
_MODULES = [*_LSAJAX.glob("*.py"), *_LSAJAX.glob("solvers/*.py")]
# Not instance.py and scenario.py: JAX rebuilds their dataclasses with leaves of any kind.
# Nor montecarlo.py, which refuses what is no argument in words of its own.
_UNCHECKED = {"__init__", "instance", "scenario", "build_native", "montecarlo"}
_CHECKED = [
    ".".join(path.relative_to(_LSAJAX.parent).with_suffix("").parts)
    for path in _MODULES
    if path.stem not in _UNCHECKED
]
install_import_hook(_CHECKED, "beartype.beartype").__enter__()


@pytest.fixture(scope="module")
def unoptimised(request):
    """For programs that XLA compiles long and that run short: trainings of a few updates, studies.

    With all optimisations they take up to twice as long to compile. The tests of the simulator and
    of the solvers compile as a user does; all do with `-m slow`, and with `-m ""`, which runs all.
    """
    quick = "not slow" in request.config.option.markexpr
    jax.config.update("jax_disable_most_optimizations", quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_is_dropped():
    """Each module compiles shapes of its own; a process that keeps all grows to gigabytes."""
    yield
    jax.clear_caches()

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


@pytest.fixture(scope="module", autouse=True)
def _optimisation(request):
    """Most programs of tests take longer to compile than they run: with few optimisations, then.

    Modules marked `optimised`, which test last bits, compile as a user does; README and docs/ do,
    and with `-m slow` or `-m ""` every test does. Processes that a test starts do as it does.
    """
    few = "not slow" in request.config.option.markexpr
    few = few and request.node.get_closest_marker("optimised") is None
    jax.config.update("jax_disable_most_optimizations", few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(few)))
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_is_dropped():
    """Each module compiles shapes of its own; a process that keeps all grows to gigabytes."""
    yield
    jax.clear_caches()

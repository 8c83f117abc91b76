"""Calls of lsajax's array functions are checked against their shape annotations."""

import jax
import pytest
from jaxtyping import install_import_hook

# Not instance.py and scenario.py: JAX rebuilds their dataclasses with leaves of any kind.
_CHECKED = ("hashing", "link", "objective", "repair", "reward", "sampling", "topology", "traffic")
install_import_hook([f"lsajax.{name}" for name in _CHECKED], "beartype.beartype").__enter__()


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_is_dropped():
    """Each module compiles shapes of its own; a process that keeps all grows to gigabytes."""
    yield
    jax.clear_caches()


def pytest_collection_modifyitems(items):
    for item in items:
        if "/llm/sandbox/" in item.path.as_posix():
            item.add_marker(pytest.mark.xdist_group("sandbox"))

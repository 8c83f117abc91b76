"""Calls of lsajax's array functions are checked against their shape annotations."""

import pathlib

import pytest
from jaxtyping import install_import_hook

_MODULES = (pathlib.Path(__file__).parents[1] / "lsajax").glob("*.py")
# Not instance.py and scenario.py: JAX rebuilds their dataclasses with leaves of any kind.
_UNCHECKED = {"__init__", "instance", "scenario"}
_CHECKED = {path.stem for path in _MODULES} - _UNCHECKED | {"solvers.random"}
install_import_hook([f"lsajax.{name}" for name in _CHECKED], "beartype.beartype").__enter__()


def pytest_collection_modifyitems(items):
    for item in items:
        if "/llm/sandbox/" in item.path.as_posix():
            item.add_marker(pytest.mark.xdist_group("sandbox"))

"""Large-scale spectrum access as pure JAX functions of arrays; everything jits and vmaps.

`__init__.pyi` lists the public names. Each is loaded from its module when it is first used, so that
a command line can check its options (`lsajax.runs.cli`) without waiting for JAX.
"""

import ast
import importlib
import pathlib
import sys
import types
from typing import Any


def _homes() -> dict[str, str]:
    """Public name -> the module that has it."""
    stub = ast.parse(pathlib.Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


_HOMES = _homes()
__all__ = sorted(["__version__", *_HOMES])


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lsajax")
    except metadata.PackageNotFoundError:  # a checkout on the path that was never installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] == __name__:
        return importlib.import_module(f"{__name__}.{name}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the submodule `lsajax.repair` must not hide the function of that name.
        if isinstance(value, types.ModuleType) and _HOMES.get(name, __name__) != __name__:
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

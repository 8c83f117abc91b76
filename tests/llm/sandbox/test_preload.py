"""What a program can import is loaded, and so is what functions import when they are called."""

import json
import subprocess
import sys

INSPECT = """
import ast, importlib.util, json, sys
from llm.sandbox import preload
preload.load()

def imported(module):
    "The modules that functions of this one import."
    with open(module.__file__) as file:
        tree = ast.parse(file.read())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for node in (n for function in functions for n in ast.walk(function)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, module.__package__)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)

def exists(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False

missing = {}
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] in ("numpy", "scipy", "datetime", "concurrent"):
        if str(getattr(module, "__file__", None)).endswith(".py"):
            for wanted in imported(module):
                if wanted.split(".")[0] in ("numpy", "scipy", *sys.stdlib_module_names):
                    if wanted not in sys.modules and exists(wanted):
                        missing[wanted] = name
print(json.dumps(missing))
"""
# tests, the Fortran compiler, arrays of other libraries
OF_NO_USE = ("numpy.distutils", "numpy.f2py", "numpy.ma.mrecords", "scipy._lib.array_api_compat")


def test_nothing_is_left_that_a_function_would_import():
    """After the walls are up no file can be opened, so the function would fail."""
    result = subprocess.run([sys.executable, "-c", INSPECT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    missing = json.loads(result.stdout)
    assert not {name: by for name, by in missing.items() if not name.startswith(OF_NO_USE)}

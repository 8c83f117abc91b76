"""Of all tests: pages that are tests, and one place for what XLA compiles."""

import os
import pathlib

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

# Half of the suite's time is XLA's: processes and modules share what they compile, on disk.
_COMPILED = pathlib.Path(__file__).parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# A test process per core already: PyTorch's threads would wait for one another in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The Python blocks of README and docs are tests: each page runs from top to bottom.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
).pytest()


@pytest.hookimpl(tryfirst=True)  # xdist's own hook reads the marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module or a page stays in one process: what one test traces or defines serves the next.

    The sandbox's modules stay in one all together, since they count processes. The examples share
    nothing; one by one they fill what is left at the end.
    """
    for item in items:
        path = item.path.as_posix()
        if "/llm/sandbox/" in path:
            item.add_marker(pytest.mark.xdist_group("sandbox"))
        elif item.path.name != "test_examples.py":
            item.add_marker(pytest.mark.xdist_group(path))

"""Of all tests: pages that are tests, and one place for what XLA compiles."""

import os
import pathlib
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from xdist.scheduler import LoadScopeScheduling

# Half of the suite's time is XLA's: processes and modules share what they compile, on disk.
_COMPILED = pathlib.Path(__file__).parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# A test process per core already: PyTorch's threads would wait for one another in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Of the pages with Python blocks: those that take XLA longer than a whole module of tests.
_SLOW_PAGES = {"agents.md"}

# The Python blocks of README and docs are tests: each page runs from top to bottom.
pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md"],
).pytest()


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in _SLOW_PAGES:
            item.add_marker(pytest.mark.slow)


class _ByModule(LoadScopeScheduling):
    """A module or a page stays in one process: what one test traces or defines serves the next.

    The sandbox's modules stay in one all together, since they count processes. The examples share
    nothing; one by one they fill what is left at the end.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        if "/llm/sandbox/" in path:
            return "sandbox"
        return nodeid if path.endswith("test_examples.py") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Not `--dist loadgroup`: the groups of xdist 3.8 are lost on pytest 9.2."""
    return _ByModule(config, log)

"""One sandbox and one embedded model for all tests of a run."""

import pytest

from llm.models import load_model
from llm.sandbox import Limits, Sandbox


@pytest.fixture(scope="session")
def box():
    with Sandbox(workers=2, limits=Limits(wall_s=20.0, cpu_s=5.0)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def embedded():
    return load_model("embedded")

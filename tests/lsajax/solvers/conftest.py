"""Both methods of the exact solver."""

import pytest

from lsajax.solvers import _host


@pytest.fixture(
    params=[
        "device",
        pytest.param(
            "host", marks=pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
        ),
    ]
)
def method(request):
    return request.param

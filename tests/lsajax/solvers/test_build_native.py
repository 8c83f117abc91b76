"""Building the optional C++ kernel: what it says when it cannot."""

import re

import jax
import numpy as np
import pytest

from lsajax.solvers import _host, build_native


def test_library_name_follows_source_version_and_processor(monkeypatch, tmp_path):
    before = _host.library_path()
    monkeypatch.setattr(_host, "_processor", lambda: "another")
    assert _host.library_path() != before
    monkeypatch.undo()
    assert _host.library_path() == before
    for name in _host.SOURCES:
        (tmp_path / name).write_bytes((_host.SOURCE / name).read_bytes())
    monkeypatch.setattr(_host, "SOURCE", tmp_path)
    assert _host.library_path().name == before.name
    for name in _host.SOURCES:
        source = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(source + b"// changed\n")
        assert _host.library_path().name != before.name
        (tmp_path / name).write_bytes(source)
        for included in re.findall(rb'#include "([^/"]+)"', source):
            assert included.decode() in _host.SOURCES


def test_a_library_that_does_not_load_is_left_alone(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(_host, "library_path", lambda: broken)
    with pytest.warns(UserWarning, match="does not load, so the pure JAX path is used"):
        assert not _host.available.__wrapped__()


def test_failures_are_one_message(monkeypatch, tmp_path, capsys):
    for name in _host.SOURCES:
        (tmp_path / name).write_bytes((_host.SOURCE / name).read_bytes())
    monkeypatch.setattr(_host, "SOURCE", tmp_path)
    with pytest.raises(RuntimeError, match="failed"):
        build_native.build("false")
    with pytest.raises(RuntimeError, match="C\\+\\+ compiler 'no-such-compiler' not found"):
        build_native.build("no-such-compiler")
    monkeypatch.setattr(build_native.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler found"):
        build_native.build()
    monkeypatch.setattr("sys.argv", ["build_native"])
    assert build_native.main() == 2
    assert capsys.readouterr().err.startswith("build_native: no C++ compiler found")
    assert not list(tmp_path.glob("*.so"))


@pytest.mark.skipif(not _host.available(), reason="C++ kernel not built")
def test_built_library_is_left_alone_and_agrees():
    assert build_native.build("false") == _host.library_path()
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    from lsajax import solvers

    host, device = (
        jax.jit(lambda x, m=m: solvers.linear_sum_assignment(x, method=m))(values)
        for m in ("host", "device")
    )
    np.testing.assert_array_equal(host.assignment, device.assignment)

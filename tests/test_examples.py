"""The scripts in `examples/` run as they stand."""

import importlib.util
import pathlib
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def load(name):
    """The module of a script; its main block does not run."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_grpo_rewards(tmp_path):
    example = load("grpo_rewards")
    logged = example.main(example.Config(out=str(tmp_path)))
    assert len(logged) == 2
    for entry in logged:
        shares = [value for name, value in entry.items() if name.startswith("status/")]
        assert sum(shares) == pytest.approx(1)
        assert 0 <= entry["rewards/structure_reward/mean"] < 1.2001
        assert 0 <= entry["raw/valid"] <= 1


def test_monte_carlo():
    example = load("monte_carlo")
    outage = example.main(example.Config(realizations=200, chunk=100))
    assert outage["greedy"] < outage["sorted_matching"] < outage["random"]


def test_gradient():
    example = load("gradient")
    before, after = example.main(example.Config(steps=20))
    assert after > before  # proportional fairness evens the rates out

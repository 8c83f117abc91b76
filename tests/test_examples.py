"""The scripts in `examples/` run as they stand."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import scipy.io

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


def test_score(capsys):
    rewards = load("score").main(samples=4)
    assert rewards == sorted(rewards, reverse=True)
    # What is printed is the best, and a valid answer is worth more than 0.7.
    assert rewards[0] > 0.7 and "action" in capsys.readouterr().out


def test_monte_carlo():
    example = load("monte_carlo")
    outage = example.main(example.Config(realizations=200, chunk=100))
    assert outage["greedy"] < outage["sorted_matching"] < outage["random"]


def test_gradient():
    example = load("gradient")
    before, after = example.main(example.Config(steps=20))
    assert after > before  # proportional fairness evens the rates out


def test_multipath(tmp_path):
    example = load("multipath")
    config = example.Config(users=1500, slots=12, speeds_m_s=(10.0,), out=tmp_path / "multipath")
    # 211 correlations of 1500 users each: 5 standard deviations of 1 / sqrt(1500), and a little
    # more since products of exponential draws have heavier tails than those of normal ones.
    assert example.main(config) < 0.17
    assert (tmp_path / "multipath.png").stat().st_size > 10_000


def test_ray_traced(tmp_path, capsys):
    example = load("ray_traced")
    out = tmp_path / "assignment.csv"
    found = example.main(example.Config(out=out))
    assert len(found) == 3 and capsys.readouterr().out.count("slot") == 3
    # On gains of real streets sorting is not enough, and nothing is above the optimum.
    assert all(slot["sorted"] < slot["optimum"] for slot in found)
    assert len(out.read_text().splitlines()) == 1 + 3 * 16


def test_ray_traced_gains_are_means_over_antennas_and_subcarriers(tmp_path):
    example = load("ray_traced")
    rng = np.random.default_rng(0)
    users, antennas, slots, channels, subcarriers = 3, 2, 4, 5, 6
    shape = (users, antennas, 1, 2, slots, channels * subcarriers)
    response = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    gain = example.gain_from_sionna(response, channels)
    assert gain.shape == (users, channels, slots)
    own = response[1, :, 0, :, 2, 3 * subcarriers : 4 * subcarriers]
    assert gain[1, 3, 2] == pytest.approx(np.mean(np.abs(own) ** 2))
    # By reciprocity users that transmit have the same gains.
    uplink = response.transpose(2, 3, 0, 1, 4, 5)
    np.testing.assert_allclose(example.gain_from_sionna(uplink, channels), gain)
    # DeepMIMO has one slot: the same numbers in its layout.
    matrices = response[:, :, 0, :, 2, :]
    np.testing.assert_allclose(example.gain_from_deepmimo(matrices, channels), gain[..., 2])
    # From a file of that layout to assignments, in either format.
    fields = {"channel": 1e-5 * matrices, "bandwidth_hz": np.linspace(1e7, 2e7, channels)}
    np.savez(tmp_path / "a.npz", **fields)
    scipy.io.savemat(tmp_path / "a.mat", fields)
    values = [example.main(example.Config(file=tmp_path / f"a.{end}")) for end in ("npz", "mat")]
    assert values[0] == values[1] and len(values[0]) == 1
    assert 0 < values[0][0]["sorted"] <= values[0][0]["optimum"]
    np.savez(tmp_path / "b.npz", bandwidth_hz=[1e7])
    with pytest.raises(ValueError, match="must hold bandwidth_hz and one of response, channel"):
        example.main(example.Config(file=tmp_path / "b.npz"))
    with pytest.raises(ValueError, match="channels must divide the 30 subcarriers, got 4"):
        example.gain_from_deepmimo(matrices, 4)

"""The main job on one scale, with a model whose programs are known."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from experiments import methods, scaling
from experiments.scaling import Options
from llm.models import Completion

SORT_ONE_SIDE = (
    "```python\n"
    "wide = channels[np.argsort(-bandwidth_hz)]\n"
    "action = {int(u): int(c) for u, c in zip(users, wide)}\n"
    "```"
)
COLLIDE = "```python\naction = {int(u): int(channels[0]) for u in users}\n```"


@dataclasses.dataclass
class KnownModel:
    """Writes one of two programs, chosen by the seed that the study gives."""

    name: str = "known"
    prompt_budget: int = 512
    max_new_tokens: int = 64

    def count_tokens(self, text):
        return len(text) // 4

    def generate(self, prompts, *, seed=0, num_samples=1, **_):
        text = COLLIDE if seed // 1000 % 2 else SORT_ONE_SIDE
        return [Completion(text, 100, 20, 0.02) for _ in prompts for _ in range(num_samples)]


@pytest.fixture(autouse=True)
def known_model(monkeypatch):
    monkeypatch.setattr(scaling, "load_model", lambda name: KnownModel())


def run(path, **changes):
    options = Options(scales=("I",), out=path, **changes)
    scaling.run(scaling.prepare(options))
    return pd.read_parquet(path / "rows.parquet")


# Wall-clock decides how far the anytime methods get; everything else is a number of the seed.
TIMED = ("seconds", "rounds", "budget_s")


def numbers(rows):
    rows = rows[~rows["method"].isin([methods.GROUPED, methods.LOCAL_SEARCH])]
    keep = [c for c in rows if c not in TIMED and not c.endswith("_s")]
    return rows[keep].reset_index(drop=True)


@pytest.mark.parametrize("setting", ["plain", "fading"])
def test_a_run_and_its_rows(tmp_path, setting, capsys):
    rows = run(tmp_path, realizations=2, setting=setting)
    assert len(rows) == 2 * 7
    value = rows.pivot(index="realization", columns="method", values="value_bps")
    # The second program collides: off the repair it is worth little, with it nearly all.
    assert value.loc[1, methods.LLM_RAW] < 0.1 * value.loc[1, methods.LLM]
    np.testing.assert_allclose(value.loc[0, methods.LLM_RAW], value.loc[0, methods.LLM])
    assert (value[methods.OPTIMUM] >= value.max(axis=1) * (1 - 1e-6)).all()
    assert (value[methods.RANDOM] < value[methods.GREEDY]).all()
    if setting == "plain":
        np.testing.assert_allclose(value[methods.SORTED], value[methods.OPTIMUM], rtol=1e-6)
    else:
        assert (value[methods.SORTED] < 0.99 * value[methods.OPTIMUM]).all()
    llm = rows[rows["method"] == methods.LLM].set_index("realization")
    assert list(llm["raw_valid"]) == [True, False]
    assert llm.loc[0, "raw_served"] == 200 and llm.loc[0, "generate_s"] == 0.02
    grouped = rows[rows["method"] == methods.GROUPED].set_index("realization")
    np.testing.assert_allclose(grouped["budget_s"], llm["seconds"])
    # The same instances as a user would draw them.
    key, inst = scaling.instance(Options(setting=setting), "I", 1)
    optimum = lsa.solvers.hungarian(key, inst).value
    np.testing.assert_allclose(value.loc[1, methods.OPTIMUM], optimum, rtol=1e-6)
    printed = capsys.readouterr().out
    assert "Exact optimum" in printed and "Sorted matching" in printed
    assert ("against the paper's Random" in printed) == (setting == "plain")
    for name in ("run.json", "summary.csv", "scaling.png", "scaling.pdf"):
        assert (tmp_path / name).stat().st_size > 0


def test_a_killed_run_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", realizations=3)
    real = scaling.run_instance

    def killed(study, scale, realization):
        if realization == 1:
            raise KeyboardInterrupt
        return real(study, scale, realization)

    monkeypatch.setattr(scaling, "run_instance", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", realizations=3)
    monkeypatch.setattr(scaling, "run_instance", real)
    resumed = run(tmp_path / "killed", realizations=3, resume=True)
    pd.testing.assert_frame_equal(numbers(resumed), numbers(whole))


def test_coupled_setting_has_local_search(tmp_path):
    rows = run(tmp_path, realizations=1, setting="coupled", budget_s=0.5)
    value = rows.set_index("method")["value_bps"]
    assert value[methods.LOCAL_SEARCH] > value[methods.OPTIMUM_UNCOUPLED], "it ignores leakage"
    assert (rows["bound_bps"] >= rows["value_bps"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--realizations", "0"], "--realizations must be at least 1, got 0"),
        (["--budget-s", "-1"], "--budget-s must be above 0 seconds"),
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--prompt-tokens", "10"], "budget"),
        (["--prompt-tokens", "0"], "--prompt-tokens must be at least 1, got 0"),
        (["--prompt-tokens", "100000"], "--prompt-tokens must be at most"),
        (["--temperature", "-1"], "--temperature must be at least 0"),
        (["--scales", "I", "I"], "--scales must name one or more of I, II, III, each once"),
        (["--seed", "99999999999999999999"], "--seed must be within"),
        (["--out", "/proc/nowhere"], "--out must be a folder that can be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    out = [] if "--out" in arguments else ["--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.scaling", *out, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0

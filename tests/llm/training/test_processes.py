"""Trainings in processes of their own: killed with -9, and two at a time."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import safetensors.torch
import torch

from llm.training import processes

ROOT = pathlib.Path(__file__).parents[3]
SMALL = [
    "--recipe",
    "small-code",
    "--form",
    "ranked",
    "--settings",
    "plain",
    "fading",
    "--objectives",
    "throughput",
    "--scales",
    "7,10,2",
    "--num_generations",
    "4",
    "--per_device_train_batch_size",
    "4",
    "--gradient_accumulation_steps",
    "2",
    "--max_completion_length",
    "64",
    "--eval_realizations",
    "1",
    "--eval_samples",
    "1",
]


def command(out, *more, launcher=(sys.executable,)):
    return [*launcher, "-m", "llm.grpo", "--out", str(out), *SMALL, *more]


def environment():
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return clean | {"PYTHONPATH": str(ROOT)}


def run(arguments):
    return subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )


def table(out):
    rows = pd.read_parquet(out / "rows.parquet").sort_values("step").reset_index(drop=True)
    return rows[[n for n in rows if not any(word in n for word in ("time", "sandbox"))]]


@pytest.mark.slow
def test_kill_9_anywhere_and_the_run_is_the_same(tmp_path):
    sizes = ["--max_steps", "8", "--save_steps", "2"]
    run(command(tmp_path / "whole", *sizes))
    out = tmp_path / "killed"
    for wanted in (2, 4):  # twice, each time after a checkpoint is there
        process = subprocess.Popen(
            command(out, *sizes, "--resume"),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not (out / f"checkpoint-{wanted}").exists():
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.05)
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (out / ".saving" / "checkpoint-6").mkdir(parents=True, exist_ok=True)
    run(command(out, *sizes, "--resume"))
    pd.testing.assert_frame_equal(table(out), table(tmp_path / "whole"))
    one, other = (
        safetensors.torch.load_file(folder / "model" / "model.safetensors")
        for folder in (out, tmp_path / "whole")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(json.loads((out / "run.json").read_text())["sessions"]) >= 2


@pytest.mark.slow
def test_two_processes_train_one_model_on_the_right_rewards(tmp_path):
    out = tmp_path / "two"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
    done = run(command(out, "--max_steps", "3", "--save_steps", "3", launcher=torchrun))
    assert table(out)["step"].tolist() == [1, 2, 3]
    samples = pd.read_parquet(out / "completions" / "completions_00003.parquet")
    assert len(samples) == 16  # of both processes
    # Each process scored its own: an answer's reward says whether it is valid, in either half.
    for half in (samples[:8], samples[8:]):
        assert half["performance_reward"].notna().all()
        assert ((half["performance_reward"] > 0.3) == half["valid"].astype(bool)).all()
    groups = samples.groupby("instance")["setting"]
    assert (groups.count() == 4).all() and (groups.nunique() == 1).all()
    record = json.loads((out / "run.json").read_text())
    assert record["config"]["processes"] == 2
    assert done.stdout.count("wrote") == 1


def test_cpus_are_shared_out(monkeypatch):
    kept = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6, 7})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: kept.update(own=list(cpus)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.share_cpus() == 2 and kept["own"] == [2, 6]
    kept.clear()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "9")
    monkeypatch.setenv("LOCAL_RANK", "7")  # more processes than CPUs: all share all
    assert processes.share_cpus() == 5 and not kept
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert processes.share_cpus() == 5 and not kept

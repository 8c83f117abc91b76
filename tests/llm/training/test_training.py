"""Real trainings of the embedded model, a few steps each: resumed, interrupted, on a full disk."""

import contextlib
import json
import resource
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from trl import GRPOConfig, SFTConfig

from llm.models import EMBEDDED, load_model
from llm.sandbox import SandboxUnavailable
from llm.training import (
    callbacks,
    common,
    depth,
    durable,
    experts,
    grpo,
    prompts,
    rewards,
    sft,
)
from llm.training.options import GrpoOptions, SftOptions, parse
from lsajax.runs import cli
from lsajax.runs.folder import BadRun
from tests.llm.training.interruption import Interrupted, Stop, rows

SMALL = shlex.split(
    "--recipe small-code --form ranked --settings plain --objectives throughput fair "
    "--scales 7,10,2 --num_generations 4 --per_device_train_batch_size 4 "
    "--gradient_accumulation_steps 2 --max_completion_length 64 --disable_tqdm true"
)


def asked(out, *more, steps=4, save=2):
    argv = [*SMALL, "--out", str(out), "--max_steps", str(steps), "--save_steps", str(save)]
    argv += ["--eval_realizations", "0", *more]
    return grpo.Asked(*parse(GrpoOptions, GRPOConfig, "", argv))


def train(out, *more, monkeypatch=None, stop=None, **sizes):
    job = grpo.prepare(asked(out, *more, **sizes))
    try:
        if stop is not None:
            build = grpo.build

            def stopping(*args):
                trainer, rows = build(*args)
                trainer.add_callback(Stop(stop))
                return trainer, rows

            with monkeypatch.context() as patch:
                patch.setattr(grpo, "build", stopping)
                with pytest.raises(Interrupted):
                    grpo.run(job)
        else:
            grpo.run(job)
    finally:
        job.folder.close()
    return out


def weights(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupted."""
    return train(tmp_path_factory.mktemp("whole") / "run")


def test_a_run_leaves_rows_completions_curves_and_a_model_that_loads(whole):
    table = rows(whole)
    assert table["step"].tolist() == [1, 2, 3, 4]
    assert np.isfinite(table[["reward", "loss", "grad_norm", "raw/valid"]].to_numpy()).all()
    record = json.loads((whole / "run.json").read_text())
    assert record["config"]["recipe"] == "small-code" and record["config"]["trl"]["save_steps"] == 2
    assert record["versions"]["trl"] and record["commit"]
    samples = pd.read_parquet(whole / "completions" / "completions_00004.parquet")
    assert len(samples) == 8
    parts = ["structure_reward", "performance_reward", "depth_reward", "advantage", "status"]
    assert {*parts, "valid", "gain", "setting", "objective", "size"} <= set(samples)
    assert samples["objective"].nunique() == 2  # mixed within a step
    for ending in ("png", "pdf"):
        assert (whole / f"curves.{ending}").stat().st_size > 1000
    model = load_model(str(whole / "model"))
    assert model.prompt_budget == load_model("embedded").prompt_budget
    trained, base = weights(whole / "model"), weights(EMBEDDED)
    assert any(not torch.equal(trained[name], base[name]) for name in base)
    assert [durable.step_of(path) for path in durable.checkpoints(whole)] == [2, 4]
    load_model(str(whole / "checkpoint-2"))


def test_a_resumed_run_is_the_one_that_was_never_stopped(whole, tmp_path, monkeypatch):
    out = train(tmp_path / "run", monkeypatch=monkeypatch, stop=3)
    assert not (out / "model").exists()
    train(out, "--resume")
    pd.testing.assert_frame_equal(rows(out), rows(whole))
    for name, value in weights(whole / "model").items():
        assert torch.equal(weights(out / "model")[name], value), name


@contextlib.contextmanager
def no_room(size=65536):
    """Files of this process can grow no further than this: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_at_a_checkpoint_keeps_the_run(tmp_path, monkeypatch, capsys):
    save = grpo.GRPOTrainer._save_checkpoint

    def without_room(self, model, trial):
        with no_room() if self.state.global_step < 2 else contextlib.nullcontext():
            save(self, model, trial)

    monkeypatch.setattr(grpo.GRPOTrainer, "_save_checkpoint", without_room)
    out = train(tmp_path / "run", steps=2, save=1)
    assert [durable.step_of(path) for path in durable.checkpoints(out)] == [2]
    assert not any(out.glob(".saving/*"))
    assert capsys.readouterr().err.count("warning: checkpoint of step 1 not written") == 1
    assert rows(out)["step"].tolist() == [1, 2]


@pytest.mark.slow
def test_a_full_disk_at_the_end_is_a_sentence_and_keeps_the_rows(tmp_path, monkeypatch):
    save = common.save_whole

    def without_room(*args):
        with no_room():
            save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(common, "save_whole", without_room)
        with pytest.raises(cli.Unavailable, match=r"the model was not written \(.*\): free room"):
            train(tmp_path / "run", steps=2)
    assert rows(tmp_path / "run")["step"].tolist() == [1, 2]
    assert not any((tmp_path / "run" / name).exists() for name in ("model", ".saving"))
    train(tmp_path / "run", "--resume", steps=2)
    load_model(str(tmp_path / "run" / "model"))


def test_what_libraries_raise_on_a_full_disk_is_told_from_other_errors(tmp_path):
    tensor = {"x": torch.zeros(1 << 20)}
    for write in (torch.save, safetensors.torch.save_file):
        with no_room(), pytest.raises(Exception) as raised:
            write(tensor, str(tmp_path / "file"))
        assert durable.is_disk_failure(raised.value)
    assert not durable.is_disk_failure(RuntimeError("CUDA error: out of memory"))


def test_an_incomplete_checkpoint_is_none(whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    (out / ".saving" / "checkpoint-6").mkdir(parents=True)
    assert callbacks.last_checkpoint(out).name == "checkpoint-4"


def model_without(tmp_path, *, template=True, pad=True):
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    if not template:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        content.pop("chat_template", None)
    if not pad:
        content.pop("pad_token", None)
    file.write_text(json.dumps(content))
    return str(folder)


def test_bad_input_is_refused_before_the_first_step(whole, tmp_path):
    cases = {
        "must have a chat template": ["--model", model_without(tmp_path / "a", template=False)],
        "must have a pad token": ["--model", model_without(tmp_path / "b", pad=False)],
        "must be a multiple of 2": ["--save_steps", "1", "--num_iterations", "2"],
        "--shuffle_dataset must be false": ["--shuffle_dataset", "true"],
        "at most 768 tokens together": ["--max_completion_length", "700"],
        "fields of peft.LoraConfig": ["--lora", '{"rank": 3}'],
        "of llm.training.terms.Terms": ["--terms", '{"style": 3}'],
        "--slots must be 1 in the text paradigm": ["--paradigm", "text", "--slots", "2"],
    }
    for said, more in cases.items():
        with pytest.raises(ValueError, match=said):
            grpo.prepare(asked(tmp_path / "run", *more))
    with pytest.raises(
        cli.Unavailable,
        match=r"qwen-coder-0\.5b, qwen-coder-0\.5b-base, a folder or a hub",
    ):
        grpo.prepare(asked(tmp_path / "run", "--model", "./nowhere"))
    with pytest.raises(BadRun, match="holds results already"):
        grpo.prepare(asked(whole))
    with pytest.raises(BadRun, match=r"trl\.num_generations was 4, now"):
        grpo.prepare(asked(whole, "--resume", "--num_generations", "8"))
    assert not (tmp_path / "run").exists()


def test_a_reward_that_is_not_finite_or_no_sandbox_ends_the_run_in_a_sentence(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        real = rewards.evaluate
        patch.setattr(
            rewards, "evaluate", lambda *a, **k: real(*a, **k)._replace(gain=np.full(8, np.inf))
        )
        with pytest.raises(cli.Unavailable, match=r"for instance \d+ must be finite, got inf"):
            train(tmp_path / "run")

    def no_walls(*args, **kwargs):
        raise SandboxUnavailable("seccomp", "this kernel has none")

    monkeypatch.setattr(common, "Sandbox", no_walls)
    with pytest.raises(cli.Unavailable, match="this kernel has none"):
        train(tmp_path / "other")


def sft_job(out, *more):
    argv = (
        f"--out {out} --settings plain --scales 7,10,2 --examples 24 --held_out 0.25 "
        "--max_steps 4 --save_steps 2 --per_device_train_batch_size 4 --eval_realizations 0 "
        "--disable_tqdm true"
    )
    return sft.prepare(sft.Asked(*parse(SftOptions, SFTConfig, "", [*shlex.split(argv), *more])))


def train_sft(out, *more, stop=None):
    job = sft_job(out, *more)
    try:
        with contextlib.nullcontext() if stop is None else pytest.raises(Interrupted):
            sft.run(job, [] if stop is None else [Stop(stop)])
    finally:
        job.folder.close()
    return out


def made_of(out):
    return json.loads((out / "run.json").read_text())["examples"]


@pytest.fixture(scope="module")
def whole_sft(tmp_path_factory):
    return train_sft(tmp_path_factory.mktemp("sft") / "run")


def test_sft_learns_what_the_expert_answers(whole_sft):
    table = rows(whole_sft)
    assert table["step"].tolist() == [1, 2, 3, 4]
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert table["eval_loss"].notna().tolist() == [False, True, False, True]
    made = made_of(whole_sft)
    assert set(made["right"]) == {"plain throughput 7,10,2 1.0"}
    # Prompts show little of a slot where a program sees all of it: some are the same.
    assert made["train"] + made["held_out"] + made["repeated"] == 24
    assert made["held_out"] == round(0.25 * (made["train"] + made["held_out"])) > 0
    load_model(str(whole_sft / "model"))


@pytest.mark.slow
def test_a_resumed_sft_takes_the_programs_of_its_record(whole_sft, tmp_path, monkeypatch):
    out = train_sft(tmp_path / "run", stop=3)
    taken = made_of(out)

    def measured_anew(cell, box, *, seed):
        raise AssertionError("the clock may say something else now")

    monkeypatch.setattr(experts, "right_program", measured_anew)
    train_sft(out, "--resume")
    assert made_of(out) == taken == made_of(whole_sft)
    pd.testing.assert_frame_equal(rows(out), rows(whole_sft))
    for name, value in weights(whole_sft / "model").items():
        assert torch.equal(weights(out / "model")[name], value), name


def test_other_processes_take_the_programs_of_the_first(tmp_path, monkeypatch):
    job = sft_job(tmp_path / "run")
    monkeypatch.setattr(sft, "broadcast_object_list", lambda found: [{"of": "the first"}, None])
    job.folder = None  # as on any process but the first
    monkeypatch.setattr(experts, "right_program", None)
    assert sft.right_programs(job, object()) == {"of": "the first"}


def test_what_an_expert_cannot_answer_ends_sft_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(experts, "right_families", lambda box, cells, seed: {cells[0]: ()})
    with pytest.raises(cli.Unavailable, match=r"no program of an expert is valid in .* more time"):
        train_sft(tmp_path / "run")


def test_lengths_of_completions_leave_the_chat_template_out(tmp_path, monkeypatch):
    template = tmp_path / "long.jinja"
    template.write_text("{{ 'sort ' * 29 + messages[0]['content'] }}")
    more = ["--chat_template", str(template), "--form", "paper"]
    job = grpo.prepare(asked(tmp_path / "run", *more))
    given = {}

    def rewards_of(*args, **options):
        given.update(options)
        raise Interrupted

    monkeypatch.setattr(grpo, "TrlRewards", rewards_of)
    with pytest.raises(Interrupted):
        grpo.build(job, prompts.Stream(job.cells, 1, seed=0, purpose="test"), None)
    count = given["count_tokens"]
    text = depth.SHORTEST_EXACT
    plain = len(job.base.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert depth.shortest_exact_tokens(count) == count(text) == plain
    assert job.base.count_tokens(text) >= plain + 29
    commented = text.replace("action", "# one\n# two\n# three\naction")
    options = {"delta": 0.5, "min_tokens": plain}
    assert depth.depth_penalty(count, [text, commented], **options).tolist() == [0, 0]


@pytest.mark.slow
def test_sft_on_few_pairs_goes_through_them_many_times(tmp_path, monkeypatch):
    """Under a template without numbers the prompts of a cell are one text."""
    template = tmp_path / "few.jinja"
    template.write_text(
        "{% for m in messages %}{{ m['content'].split('Sizes: ')[0][-200:] "
        "if m['role'] == 'user' else m['content'] + eos_token }}{% endfor %}"
    )
    monkeypatch.setattr(experts, "right_program", lambda cell, box, seed: "sort_both")
    more = "--settings plain fading interference --per_device_train_batch_size 3 --held_out 0"
    out = train_sft(tmp_path / "run", *shlex.split(more), "--chat_template", str(template))
    made = made_of(out)
    assert (made["train"], made["held_out"], made["repeated"]) == (3, 0, 21)
    assert rows(out)["step"].tolist() == [1, 2, 3, 4]
    assert rows(out)["loss"].iloc[-1] < rows(out)["loss"].iloc[0]

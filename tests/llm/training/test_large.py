"""The shipped configurations of large models on a randomly initialised Qwen2 of toy size."""

import pathlib
import shlex

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, SFTConfig

from llm.models import EMBEDDED
from llm.training import grpo, sft
from llm.training.options import GrpoOptions, SftOptions, parse
from tests.llm.training.interruption import Interrupted, Stop, rows

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
HERE = shlex.split(
    "--bf16 false --use_cpu true --model_init_kwargs {} --settings plain --objectives "
    "throughput --scales 7,10,2 --time_budgets 1 --max_steps 2 --save_steps 2 "
    "--prompt_budget 700 --per_device_train_batch_size 2 --gradient_accumulation_steps 2 "
    "--eval_every 0 --eval_realizations 1 --eval_samples 0 --disable_tqdm true"
)
GRPO_HERE = shlex.split("--use_vllm false --num_generations 2 --max_completion_length 12")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A Qwen2 that writes random tokens of the embedded model's vocabulary."""
    folder = tmp_path_factory.mktemp("toy")
    tokenizer = AutoTokenizer.from_pretrained(str(EMBEDDED))
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def run(module, own, theirs, toy, name, out, *more):
    argv = ["--config", str(CONFIGS / f"{name}.yaml"), "--out", str(out), "--model", toy]
    job = module.prepare(module.Asked(*parse(own, theirs, "", [*argv, *HERE, *more])))
    module.run(job)
    job.folder.close()
    assert job.peft_config is None or (out / "adapter" / "adapter_config.json").exists()
    for step in (0, 2):  # held out, before and after
        answers = pd.read_parquet(out / "evaluation" / f"step-{step:06d}.parquet")
        assert len(answers) == 1 and {"valid", "gap", "right", "total"} <= set(answers)
    return pd.read_parquet(out / "rows.parquet")


@pytest.mark.parametrize(
    "name",
    [
        "qwen-coder-7b-grpo-1gpu",
        pytest.param("qwen-coder-7b-grpo-8gpu", marks=pytest.mark.slow),
    ],
)
def test_grpo_of_programs(toy, tmp_path, name):
    table = run(grpo, GrpoOptions, GRPOConfig, toy, name, tmp_path / "run", *GRPO_HERE)
    assert table["step"].tolist() == [1, 2] and np.isfinite(table["reward"]).all()
    # The paper's KL to the base model is there, and the other recipe's is not.
    assert ("kl" in table) == (name == "qwen-coder-7b-grpo-1gpu")


@pytest.mark.slow
def test_text_sft_then_grpo_from_its_checkpoint(toy, tmp_path):
    """From the model that SFT left, or with its adapter, which is trained on."""
    more = ["--examples", "8", "--held_out", "0.25", "--max_new_tokens", "60"]
    table = run(sft, SftOptions, SFTConfig, toy, "qwen-7b-text-sft", tmp_path / "sft", *more)
    assert np.isfinite(table["loss"]).all()
    name = "qwen-7b-text-grpo"
    for kind in ("model", "adapter"):
        start, out = str(tmp_path / "sft" / kind), tmp_path / kind
        table = run(grpo, GrpoOptions, GRPOConfig, start, name, out, *GRPO_HERE)
        # Of the first step: the model is still the SFT checkpoint, to which the KL is.
        assert table["kl"].iloc[0] == pytest.approx(0.0, abs=1e-5)
    before, after = (
        safetensors.torch.load_file(path / "adapter" / "adapter_model.safetensors")
        for path in (tmp_path / "sft", tmp_path / "adapter")
    )
    assert before.keys() == after.keys()
    for key, weights in before.items():  # at a learning rate of 1e-5
        torch.testing.assert_close(after[key], weights, atol=1e-3, rtol=0)
    assert any(weights.abs().max() > 0 for key, weights in before.items() if "lora_B" in key)
    with pytest.raises(ValueError, match="--lora_rank and --lora must be as in the adapter"):
        run(grpo, GrpoOptions, GRPOConfig, start, name, out, *GRPO_HERE, "--lora_rank", "3")


@pytest.mark.slow
def test_a_resumed_adapter_in_half_precision_is_the_one_that_was_never_stopped(toy, tmp_path):
    """LoRA in bfloat16, with the KL to the model without the adapter, as the paper has it."""
    argv = shlex.split(
        f"--model {toy} --lora_rank 4 --recipe paper --settings plain --scales 7,10,2 "
        "--prompt_budget 700 --per_device_train_batch_size 4 --gradient_accumulation_steps 1 "
        "--num_generations 4 --max_completion_length 12 --learning_rate 0.01 --max_steps 4 "
        "--save_steps 2 --eval_realizations 0 --disable_tqdm true"
    )
    argv += ["--model_init_kwargs", '{"dtype": "bfloat16"}']

    def trained(out, *more, stop=None):
        asked = parse(GrpoOptions, GRPOConfig, "", [*argv, "--out", str(out), *more])
        job = grpo.prepare(grpo.Asked(*asked))
        try:
            grpo.run(job, [] if stop is None else [Stop(stop)])
        finally:
            job.folder.close()
        return out

    whole, out = trained(tmp_path / "whole"), tmp_path / "run"
    with pytest.raises(Interrupted):
        trained(out, stop=3)
    trained(out, "--resume")
    pd.testing.assert_frame_equal(rows(out), rows(whole))
    assert rows(whole)["kl"].iloc[-1] > 0
    one, other = (
        safetensors.torch.load_file(folder / "adapter" / "adapter_model.safetensors")
        for folder in (out, whole)
    )
    assert one.keys() == other.keys() and any(
        value.any() for key, value in one.items() if "lora_B" in key
    )
    for name, value in other.items():
        assert torch.equal(one[name], value), name

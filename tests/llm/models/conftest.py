"""A toy checkpoint for the tests of this folder."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from llm import models
from llm.models.local import LocalModel


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A random Qwen2 network with the embedded model's tokenizer, and settings of its own."""
    path = tmp_path_factory.mktemp("toy")
    tokenizer = models.load_model("embedded").tokenizer
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        # Large weights: a random network with small ones gives the same token for any prompt.
        initializer_range=0.5,
        eos_token_id=tokenizer.eos_token_id,
    )
    network = Qwen2ForCausalLM(config)
    network.generation_config.update(repetition_penalty=1.9, top_k=3, do_sample=True)
    network.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def toy(folder):
    return LocalModel(str(folder), device="cpu", batch_size=4)

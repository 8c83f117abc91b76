"""The client against a server that others wrote: `transformers serve` with a folder.

It needs the extra `transformers[serving]`. The environment variable LSA_QWEN names the folder of a
larger checkpoint, such as Qwen2.5-Coder-0.5B-Instruct; without it the embedded one is served.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import httpx
import jax
import pytest

import lsajax as lsa
from llm import models
from llm.decision.policy import decide

pytestmark = pytest.mark.slow
START_S = 180.0
# How the server finds the answer in what the embedded model writes. Without it the server takes
# the form of the Qwen models, whose architecture it has, and repeats the prompt.
RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {"content": {"close": "<|end|>", "content": "text"}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    if "LSA_QWEN" in os.environ:
        return os.environ["LSA_QWEN"]
    path = tmp_path_factory.mktemp("served") / "embedded"
    shutil.copytree(models.EMBEDDED, path)
    config = path / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"response_template": RESPONSE}))
    return str(path)


@pytest.fixture(scope="module")
def url(folder, tmp_path_factory):
    for module in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(module, reason="needs transformers[serving]")
    home = tmp_path_factory.mktemp("hub")
    (home / "hub").mkdir()  # without it `/v1/models` is an error
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "serve", *options, folder],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield f"{_ready(server, port, log)}#{folder}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _ready(server, port, log):
    root = f"http://127.0.0.1:{port}"
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            httpx.get(f"{root}/health", timeout=1.0)
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            return f"{root}/v1"
    pytest.fail(f"no server within {START_S:g} s: {pathlib.Path(log).read_text()[-2000:]}")


@pytest.fixture(scope="module")
def served(url):
    with pytest.warns(UserWarning, match="does not take min_p, repetition_penalty, top_k"):
        model = models.load_model(url, timeout_s=600.0, max_new_tokens=160)
        model.generate(["a"], max_new_tokens=1)
    return model


def test_it_says_what_the_same_checkpoint_says_here(served, folder):
    """Greedy, to the letter and to the token, on a prompt as long as in use."""
    local = models.load_model(folder, device="cpu", reuse_prefix=False)
    prompts = ["Say yes.", "Write Python that sets `action`. " * 9]
    for made, expected in zip(
        served.generate(prompts, max_new_tokens=12),
        local.generate(prompts, max_new_tokens=12),
        strict=True,
    ):
        assert made.text.strip() == expected.text.strip()
        assert made.prompt_tokens == expected.prompt_tokens
        assert made.finish_reason == expected.finish_reason
        assert made.seconds > 0


def test_truncation_is_recorded(served):
    (made,) = served.generate(["Count from 1 to 1000."], max_new_tokens=2)
    assert (made.finish_reason, made.truncated, made.completion_tokens) == ("length", True, 2)


def test_fields_that_it_refuses_are_known_after_one_call(served):
    assert served.refused == {"min_p", "repetition_penalty", "top_k"}


def test_options_of_the_chat_template_are_taken(url):
    options = {"chat_template_kwargs": {"enable_thinking": False}, "timeout_s": 600.0}
    with pytest.warns(UserWarning, match="does not take"):
        made = models.load_model(url, **options).generate(["a"], max_new_tokens=2)
    assert made[0].completion_tokens >= 1


def test_a_field_that_was_asked_for_is_no_warning(served):
    """It has no grammars, and says so."""
    one = models.Constraint((1,), (2,))
    with pytest.raises(models.ModelUnavailable, match="structured_outputs"):
        served.generate(["a"], constraints=[one])


def test_a_decision_by_the_server(served, box):
    inst = lsa.sample_instance(jax.random.key(0), lsa.SMALL_SCALES[5, 5, 2])
    (decision,) = decide(served, box, [inst], budget=2048)
    assert decision.completion and decision.prompt_tokens > 50
    assert (decision.assignment >= 0).sum() == 2  # the repair serves both either way
    if "LSA_QWEN" not in os.environ:
        assert decision.valid and decision.finish_reason == "stop"

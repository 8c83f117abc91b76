"""A checkpoint's tokenizer and network from a folder or the hub, and what goes with them."""

import json
import os
import pathlib
from typing import Any

import httpx
import huggingface_hub.constants
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.models import CODE_MODELS
from llm.models.attention import group_heads
from llm.models.completion import ModelUnavailable
from llm.models.generation import plain_generation

LIMITS_FILE = "lsa.json"
"""Beside a checkpoint: lengths of prompts and completions [tokens]."""

ADAPTER_FILE = "adapter_config.json"
TEMPLATE_FILE = "chat_template.jinja"


def located(source: str) -> str:
    """The folder that stands for a hub name on this machine, or else the name or folder itself.

    The environment variable LSA_QWEN names a folder with Qwen2.5-Coder-0.5B-Instruct.
    """
    if source == CODE_MODELS["qwen-coder-0.5b"]:
        return os.environ.get("LSA_QWEN") or source
    return source


def torch_device(device: str | None) -> torch.device:
    """The device of that name; None takes CUDA where there is one. Raises ValueError."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device must be 'cpu' where PyTorch sees no GPU, got {device!r}")
    return torch.device(device)


def load_checkpoint(source: str, device: torch.device, dtype: str | None) -> tuple[Any, Any]:
    """Tokenizer and network; of an adapter's folder, those of its base with the adapter.

    Raises:
        ModelUnavailable: there is no such checkpoint, or it cannot be loaded.
        ValueError: `dtype` is not known.
    """
    source = located(source)
    path = pathlib.Path(source)
    if (path / ADAPTER_FILE).is_file():
        base = json.loads((path / ADAPTER_FILE).read_text())["base_model_name_or_path"]
        tokenizer, network = load_checkpoint(base, device, dtype)
        if (path / TEMPLATE_FILE).is_file():
            tokenizer.chat_template = (path / TEMPLATE_FILE).read_text(encoding="utf-8")
        return tokenizer, _adapted(network, path)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1
    if looks_local and not path.is_dir():
        raise ModelUnavailable(f"model folder {source!r} does not exist")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelUnavailable(f"model folder {source!r} holds no checkpoint: no config.json")
    dtypes = ("float32", "bfloat16", "float16")
    if dtype is not None and dtype not in dtypes:
        raise ValueError(f"dtype must be one of {', '.join(dtypes)}, got {dtype!r}")
    wanted = dtype or ("float32" if device.type == "cpu" else "bfloat16")
    # Told beforehand, since the hub's client spends most of a minute on retries.
    local = path.is_dir() or not hub_answers()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
        module: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, wanted), local_files_only=local
        )
    except (OSError, ValueError, KeyError) as error:
        hub = "not in the local cache and no hub in reach" if local else "hub name"
        where = "folder" if path.is_dir() else hub
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"model {source!r} cannot be loaded ({where}): {reason}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    module.to(device).eval()
    group_heads(module)
    module.generation_config = plain_generation(module, tokenizer)
    return tokenizer, module


def _adapted(module: Any, adapter: pathlib.Path) -> Any:
    """The network with the LoRA adapter of a folder. Raises ModelUnavailable."""
    try:
        from peft import PeftModel
    except ImportError:
        raise ModelUnavailable(
            f"model {str(adapter)!r} is an adapter, which needs peft: install the group train"
        ) from None
    try:
        adapted = PeftModel.from_pretrained(module, str(adapter))
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"adapter {str(adapter)!r} cannot be loaded: {reason}") from error
    if module.dtype == torch.float32:
        return adapted.merge_and_unload()
    return adapted.eval()  # merged, half precision would round part of it away


def hub_answers() -> bool:
    """Whether anything, an error page included, comes back from the hub."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    try:
        httpx.head(huggingface_hub.constants.ENDPOINT, timeout=5.0)
    except httpx.HTTPError:
        return False
    return True


def own_defaults(source: str) -> dict[str, int]:
    """What the checkpoint's own `lsa.json` says of prompt and completion lengths [tokens]."""
    file = pathlib.Path(source) / LIMITS_FILE
    return json.loads(file.read_text()) if file.is_file() else {}

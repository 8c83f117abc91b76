"""What a training takes a model from, and checks of it before anything long."""

import dataclasses
import json
import pathlib
from typing import Any

from llm.models import ADAPTERS, CODE_MODELS, SHIPPED
from llm.models.completion import HUB_PROMPT_BUDGET
from lsajax.runs.cli import Unavailable

_MAX_COMPLETION = {"code": 512, "text": 1024}


@dataclasses.dataclass(frozen=True)
class Base:
    """A model to train.

    Attributes:
        name: as given on the command line.
        source: folder or hub name.
        tokenizer: with a chat template and a pad token.
        prompt_budget: the most tokens of a prompt.
        max_new_tokens: the most tokens of a completion.
        adapter: folder of a LoRA adapter of `source` that the training goes on with, or None.
    """

    name: str
    source: str
    tokenizer: Any
    prompt_budget: int
    max_new_tokens: int
    adapter: str | None = None

    @property
    def small(self) -> bool:
        """Whether one thread trains it faster than several: its matrices are tiny."""
        files = pathlib.Path(self.source).glob("*.safetensors")
        return 0 < sum(file.stat().st_size for file in files) < 100e6

    @property
    def limits(self) -> dict[str, int]:
        """What `load_model` reads beside a checkpoint."""
        return {"prompt_budget": self.prompt_budget, "max_new_tokens": self.max_new_tokens}

    def count_tokens(self, text: str) -> int:
        """Tokens of the prompt `text` as the model receives it, chat template included."""
        messages = [{"role": "user", "content": text}]
        ids = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )
        return len(ids["input_ids"])

    def rendered(self, prompt: str, answer: str) -> str:
        """What the model reads of a prompt and its answer."""
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return self.tokenizer.apply_chat_template(messages, tokenize=False)

    def count_text(self, text: str) -> int:
        """Tokens of `text` alone, as of a completion: no chat template, no end token."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _found(name: str) -> tuple[str, pathlib.Path | None]:
    """Folder or hub name of a model by name, and the folder of its adapter, if it has one.

    Raises Unavailable where there can be none.
    """
    from llm.models.loading import ADAPTER_FILE, located

    source = str(SHIPPED.get(name) or CODE_MODELS.get(name.removesuffix("-base"), name))
    adapter = ADAPTERS / name if name in CODE_MODELS else pathlib.Path(source)
    if (adapter / ADAPTER_FILE).is_file():
        source = json.loads((adapter / ADAPTER_FILE).read_text())["base_model_name_or_path"]
    source = located(source)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1
    adapted = (adapter / ADAPTER_FILE).is_file()
    if looks_local and not pathlib.Path(source).is_dir():
        if adapted:
            raise Unavailable(
                f"--model {name} is an adapter of {source!r}, which is no folder here"
            )
        names = ", ".join([*SHIPPED, *CODE_MODELS, *(f"{short}-base" for short in CODE_MODELS)])
        raise Unavailable(f"--model must be {names}, a folder or a hub name, got {name!r}")
    return source, adapter if adapted else None


def load_base(
    name: str,
    paradigm: str,
    *,
    prompt_budget: int | None,
    max_new_tokens: int | None,
    chat_template: str | None = None,
) -> Base:
    """The tokenizer and limits of a model by name.

    Raises:
        Unavailable: there is no such folder, or the hub has no such model or cannot be reached.
        ValueError: the model has no chat template or no pad token, or no room for the lengths.
    """
    from transformers import AutoConfig, AutoTokenizer

    from llm.models.loading import TEMPLATE_FILE, hub_answers, own_defaults

    source, adapter = _found(name)
    if adapter and chat_template is None and (adapter / TEMPLATE_FILE).is_file():
        chat_template = str(adapter / TEMPLATE_FILE)
    if name.removesuffix("-base") in CODE_MODELS and chat_template is None:
        chat_template = str(ADAPTERS / name.removesuffix("-base") / TEMPLATE_FILE)
    local = pathlib.Path(source).is_dir()
    offline = local or not hub_answers()
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=offline)
        tokenizer = AutoTokenizer.from_pretrained(
            source, local_files_only=offline, padding_side="left", truncation_side="left"
        )
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"--model {name} cannot be loaded: {reason}") from error
    if chat_template is not None:
        try:
            tokenizer.chat_template = pathlib.Path(chat_template).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"--chat_template must be a file to read: {error}") from None
    if not tokenizer.chat_template:
        raise ValueError(
            f"--model must have a chat template in its tokenizer, and {name} has none; "
            "an instruction-tuned model has one"
        )
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"--model must have a pad token in its tokenizer, and {name} has none; save its "
            "tokenizer with one (tokenizer.pad_token = ...) in a folder"
        )
    own = own_defaults(str(adapter or source))
    base = Base(
        name=name,
        source=source,
        tokenizer=tokenizer,
        prompt_budget=prompt_budget or own.get("prompt_budget", HUB_PROMPT_BUDGET),
        max_new_tokens=max_new_tokens or own.get("max_new_tokens", _MAX_COMPLETION[paradigm]),
        adapter=str(adapter) if adapter else None,
    )
    context = getattr(config, "max_position_embeddings", None)
    if context and base.prompt_budget + base.max_new_tokens > context:
        raise ValueError(
            f"--prompt_budget and --max_completion_length must be at most {context} tokens "
            f"together for {name}, got {base.prompt_budget} and {base.max_new_tokens}"
        )
    return base

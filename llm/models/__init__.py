"""Language models behind one interface: prompts in; completions, token counts and seconds out."""

import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

from llm.models.completion import Completion, ModelUnavailable
from llm.models.constraint import Constraint

__all__ = [
    "CODE_MODELS",
    "EMBEDDED",
    "EMBEDDED_BASE",
    "SHIPPED",
    "Completion",
    "Constraint",
    "Model",
    "ModelUnavailable",
    "load_model",
]

EMBEDDED_BASE = pathlib.Path(__file__).parents[1] / "embedded" / "base"
"""The shipped model as it was pretrained."""

EMBEDDED = pathlib.Path(__file__).parents[1] / "embedded" / "checkpoint"
"""The same after GRPO."""

SHIPPED = {"embedded": EMBEDDED, "embedded-base": EMBEDDED_BASE}
"""What ships here, by name."""

CODE_MODELS = {"qwen-coder-0.5b": "Qwen/Qwen2.5-Coder-0.5B-Instruct"}
"""Short name -> hub name; with the adapter that ships here, and with "-base" behind it without."""

ADAPTERS = pathlib.Path(__file__).parents[1] / "adapters"
"""A folder per short name: its chat template, and an adapter where one won."""


class Model(Protocol):
    """What the policy needs of a model.

    Attributes:
        name: for tables and run metadata.
        prompt_budget: default prompt length [tokens].
        max_new_tokens: default completion length [tokens].
        context: the most tokens of prompt and completion together; None where it is not known.
    """

    name: str
    prompt_budget: int
    max_new_tokens: int
    context: int | None

    def count_tokens(self, text: str) -> int:
        """Tokens of the prompt `text` as the model receives it, chat template included."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        num_samples: int = 1,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> list[Completion]:
        """`num_samples` completions of each prompt, those of a prompt side by side.

        A sample depends on (seed, prompt, index of the sample), not on the rest of the batch.
        `constraints`, one per prompt, say what completions may be; None leaves them free.
        """


def load_model(spec: str, **options: Any) -> Model:
    """A model by name; what can be checked without generating is checked before this returns.

    Args:
        spec: "embedded", the small model shipped with this package, or "embedded-base", what it
            was before reinforcement learning; a folder with a `transformers` checkpoint, or its
            hub name, for example "Qwen/Qwen2.5-Coder-7B-Instruct", or a folder with a LoRA adapter
            of one; "qwen-coder-0.5b", Qwen2.5-Coder-0.5B-Instruct from the hub or from the folder
            that the environment variable LSA_QWEN names, in bfloat16, with the chat template and,
            where one ships, the adapter of `llm/adapters`, "qwen-coder-0.5b-base" without that; or
            the URL of an OpenAI-compatible server such as vLLM, "http://host:8000/v1". "#model"
            behind the URL names the model, which the server need not list; without it the first one
            that the server lists is taken.
        options: for a checkpoint `device`, `dtype`, `batch_size`, `prompt_budget`,
            `max_new_tokens`, `chat_template`, `chat_template_kwargs`, `reuse_prefix` (see
            `llm.models.local`); for a server `timeout_s`, `retries`, `concurrency`,
            `prompt_budget`, `max_new_tokens`, `chat_template_kwargs`, `constrain_by` (see
            `llm.models.server`).

    Raises:
        ModelUnavailable: the folder does not exist or holds no checkpoint, or the hub or the
            server cannot be reached.
        ValueError: `spec` is empty.
    """
    # Imported here: torch takes seconds to import, and a server needs none of it.
    if not spec:
        raise ValueError("model must be 'embedded', a folder, a hub name or a URL, got ''")
    if spec.startswith(("http://", "https://")):
        from llm.models.server import ServerModel

        return ServerModel(spec, **options)
    from llm.models.local import LocalModel

    if spec in SHIPPED:
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would flash by for 4 MB, and stand before an error
        try:
            return LocalModel(str(SHIPPED[spec]), name=spec, **options)
        finally:
            logging.enable_progress_bar()
    short = spec.removesuffix("-base")
    if short in CODE_MODELS:
        own = ADAPTERS / short
        adapted = spec == short and (own / "adapter_config.json").is_file()
        source = str(own) if adapted else CODE_MODELS[short]
        ours: dict[str, Any] = {"dtype": "bfloat16", "chat_template": own / "chat_template.jinja"}
        return LocalModel(source, name=spec, **ours | options)
    return LocalModel(spec, **options)

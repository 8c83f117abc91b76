"""What every kind of model shares: the completion, the error, seeds and the check of options."""

import dataclasses
import hashlib
from collections.abc import Sequence

HUB_PROMPT_BUDGET = 2048
"""Prompt tokens of the paper's main configuration."""


class ModelUnavailable(RuntimeError):  # noqa: N818 - like SandboxUnavailable
    """A model cannot be had: the path does not exist, or a hub or server cannot be reached."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: the completion, special tokens removed.
        prompt_tokens: tokens of the prompt as the model received it.
        completion_tokens: tokens generated, the end token included.
        seconds: wall time. Of a local batch, the batch's time divided by its size (batches of
            one measure latency); of a server, the time of this request.
        finish_reason: "stop" where the model ended its answer, "length" where the token limit
            did; a server may have other words, and "" where it says nothing.
        prefill_s: of `seconds`, what passed until the first token was there to be chosen; None
            where that is not known, as of a server.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    finish_reason: str = "stop"
    prefill_s: float | None = None

    @property
    def truncated(self) -> bool:
        """Whether the token limit cut the answer off."""
        return self.finish_reason == "length"


def sample_seed(seed: int, prompt: str, index: int) -> int:
    """A 63-bit seed for one sample of one prompt, the same in any batch, process and machine."""
    text = f"{seed}:{index}:{prompt}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def check_sampling(max_new_tokens: int, temperature: float, num_samples: int) -> None:
    """Raises ValueError on a sampling option that no model accepts."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")


def check_constraints(constraints: Sequence[object] | None, prompts: Sequence[str]) -> None:
    """Raises ValueError where there is not one constraint, or None, per prompt."""
    if constraints is not None and len(constraints) != len(prompts):
        raise ValueError(
            f"constraints must have one entry per prompt ({len(prompts)}), got {len(constraints)}"
        )

"""A module that is in training, behind the interface of `llm.models`."""

from collections.abc import Sequence
from typing import Any

from llm.models.completion import Completion
from llm.models.local import LocalModel
from llm.training.durable import same_random_numbers


class InMemoryModel(LocalModel):
    """Made by `InMemoryModel.of`: generation leaves all random numbers as they were, too."""

    def generate(self, prompts: Sequence[str], **options: Any) -> list[Completion]:
        """See `llm.models.Model`."""
        with same_random_numbers():
            return super().generate(prompts, **options)

"""Expert answers to learn from, LSA Eq. (9): prompts and what an expert answers."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import lsajax as lsa
from llm.decision.paradigm import paradigm_named
from llm.training import experts
from llm.training.prompts import Cell, Prompts, Stream

Example = dict[str, list[dict[str, str]]]


class Examples(NamedTuple):
    """Examples in TRL's conversational form, `prompt` and `completion`.

    Attributes:
        train: what is learned from.
        held_out: other pairs.
        repeated: how many were left out because they were there already.
    """

    train: list[Example]
    held_out: list[Example]
    repeated: int


def expert_examples(
    stream: Stream,
    prompts: Prompts,
    right: Mapping[Cell, str],
    *,
    paradigm: str,
    held_out: float,
    render: Callable[[str, str], str],
    count_tokens: Callable[[str], int],
    max_new_tokens: int,
) -> Examples:
    """An expert's answer to each entry of a stream, every pair once.

    In the code paradigm it is the canonical program of the family that is right in the entry's
    cell; in the text paradigm the best mapping of the instance. Pairs that a chat template makes
    the same text of, for it may leave numbers out, are one.

    Args:
        stream: of the instances, one per entry.
        prompts: of the same stream.
        right: a family for each cell of the stream, see `experts.right_program`; not read in the
            text paradigm.
        paradigm: "code" or "text".
        held_out: share of the pairs, the last ones, that are kept for validation.
        render: what the model reads of a prompt and its answer.
        count_tokens: of an answer by the model's tokenizer, without a chat template.
        max_new_tokens: the most tokens of an answer.

    Raises:
        ValueError: an answer is longer than that.
    """
    runs_programs = paradigm_named(paradigm).runs_programs

    def answer(index: int) -> str:
        return _program(stream, right, index) if runs_programs else _mapping(stream, index)

    asked = dict.fromkeys((prompts.text(i), answer(i)) for i in range(len(stream)))
    read: dict[str, tuple[str, str]] = {}
    for pair in asked:
        read.setdefault(render(*pair), pair)
    pairs = list(read.values())
    made = [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for prompt, text in pairs
    ]
    longest = max(count_tokens(text) for text in {text for _, text in pairs})
    if longest + 1 > max_new_tokens:
        raise ValueError(
            f"the longest answer has {longest} tokens, and the model gives at most "
            f"{max_new_tokens}: ask for smaller --scales"
        )
    first_held_out = len(made) - round(held_out * len(made))
    repeated = len(stream) - len(made)
    return Examples(made[:first_held_out], made[first_held_out:], repeated)


def _program(stream: Stream, right: Mapping[Cell, str], index: int) -> str:
    return experts.program_text(right[stream.cell(index)])


def _mapping(stream: Stream, index: int) -> str:
    entry = stream[index]
    assert isinstance(entry, lsa.Instance), "an entry is one instance here"
    return experts.mapping_text(experts.best_mapping(entry))

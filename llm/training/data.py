"""Expert answers to learn from, LSA Eq. (9): prompts and what an expert answers."""

from collections.abc import Callable
from typing import NamedTuple

import lsajax as lsa
from llm.decision.paradigm import paradigm_named
from llm.sandbox import Sandbox
from llm.training import experts
from llm.training.prompts import Prompts, Stream

Example = dict[str, list[dict[str, str]]]


class Examples(NamedTuple):
    """Examples in TRL's conversational form, `prompt` and `completion`.

    Attributes:
        train: what is learned from.
        held_out: other pairs.
        right: the family that was taken for each cell; empty in the text paradigm.
        repeated: how many were left out because they were there already.
    """

    train: list[Example]
    held_out: list[Example]
    right: dict[str, str]
    repeated: int


def expert_examples(
    stream: Stream,
    prompts: Prompts,
    box: Sandbox | None,
    *,
    paradigm: str,
    held_out: float,
    seed: int,
    count_tokens: Callable[[str], int],
    max_new_tokens: int,
) -> Examples:
    """An expert's answer to each entry of a stream, every pair once.

    In the code paradigm it is the canonical program of the family that is right in the entry's
    cell, see `experts.right_program`; in the text paradigm the best mapping of the instance.

    Args:
        stream: of the instances, one per entry.
        prompts: of the same stream.
        box: runs the programs; may be None in the text paradigm.
        paradigm: "code" or "text".
        held_out: share of the pairs, the last ones, that are kept for validation.
        seed: of the instances that programs are compared on.
        count_tokens: of an answer by the model's tokenizer, without a chat template.
        max_new_tokens: the most tokens of an answer.

    Raises:
        ValueError: an answer is longer than that.
    """
    answer = _programs if paradigm_named(paradigm).runs_programs else _mappings
    answers, right = answer(stream, box, seed)
    pairs = dict.fromkeys((prompts.text(i), answers(i)) for i in range(len(stream)))
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
    return Examples(made[:first_held_out], made[first_held_out:], right, repeated)


def _programs(
    stream: Stream, box: Sandbox | None, seed: int
) -> tuple[Callable[[int], str], dict[str, str]]:
    assert box is not None, "`Paradigm.check_box` comes before"
    right = {cell: experts.right_program(cell, box, seed=seed) for cell in set(stream.cells)}
    named = {" ".join(map(str, cell)): name for cell, name in right.items()}
    return lambda i: experts.program_text(right[stream.cell(i)]), named


def _mappings(
    stream: Stream, box: Sandbox | None, seed: int
) -> tuple[Callable[[int], str], dict[str, str]]:
    def answer(index: int) -> str:
        entry = stream[index]
        assert isinstance(entry, lsa.Instance), "an entry is one instance here"
        return experts.mapping_text(experts.best_mapping(entry))

    return answer, {}

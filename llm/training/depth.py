"""Eq. (14), R_d = -delta max(0, 1 - L / L_min): what completions are long enough.

L leaves out comments, docstrings and the like, with which a program could be made longer for
nothing.
"""

import io
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from llm.decision import parse

SHORTEST_EXACT = """\
```python
from scipy.optimize import linear_sum_assignment as f
i, j = f(-values())
action = dict(zip(users[i].tolist(), channels[j].tolist()))
```
"""
"""The shortest program in plain style that solves every separable objective exactly."""


def shortest_exact_tokens(count_tokens: Callable[[str], int]) -> int:
    """L_min of Eq. (14) for one tokenizer: an exact program need not be longer.

    Args:
        count_tokens: tokens of a text by itself, without a chat template, see `Base.count_text`.
    """
    return max(1, count_tokens(SHORTEST_EXACT))


def depth_penalty(
    lengths: Sequence[int] | Callable[[str], int],
    completions: Sequence[str],
    *,
    delta: float,
    min_tokens: int,
) -> Float[np.ndarray, "n"]:
    """R_d of Eq. (14), in [-delta, 0].

    Args:
        lengths: tokens of each completion, of which the `working_share` counts; or the tokenizer's
            count of a text by itself, without a chat template, by which the padding is taken off
            exactly.
        completions: the texts.
        delta: the largest penalty.
        min_tokens: L_min.

    Raises:
        ValueError: a negative length.
    """
    if callable(lengths):
        # A piece by itself may have a token more than within the text.
        found = [lengths(text) - sum(map(lengths, padding(text))) for text in completions]
        tokens = np.maximum(np.asarray(found, np.float32), 0.0)
    else:
        tokens = np.asarray(lengths, np.float32)
        if not np.all(tokens >= 0):
            raise ValueError(f"lengths must be at least 0 tokens, got {tokens.min():g}")
        tokens = tokens * np.array([working_share(text) for text in completions], np.float32)
    return (-delta * np.maximum(0.0, 1.0 - tokens / min_tokens)).astype(np.float32)


def working_share(completion: str) -> float:
    """The share of a completion's tokens that is not `padding`, in [0, 1], for any tokenizer.

    Counted in pieces that are about a token to most: four letters or digits, or a sign.
    """
    spent = sum(len(_PIECE.findall(text)) for text in padding(completion))
    return 1.0 - min(1.0, spent / len(_PIECE.findall(completion))) if spent else 1.0


_PIECE = re.compile(r"[A-Za-z0-9_]{1,4}|[^\sA-Za-z0-9_]")


def padding(completion: str) -> list[str]:
    """Comments of a completion's program, and statements without a name, such as docstrings.

    What stands beside the program is none, nor is what cannot be split into tokens.
    """
    found: list[str] = []
    statement: list[str] = []
    names = False
    for token in _tokens(parse.code_block(completion).text or ""):
        if token.type == tokenize.COMMENT:
            found.append(token.string)
        elif token.type in (tokenize.NEWLINE, tokenize.ENDMARKER) or token.string == ";":
            if statement and not names:
                found.append("".join(statement))
            statement, names = [], False
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            statement.append(token.string)
            names |= token.type == tokenize.NAME
    return found


def _tokens(code: str) -> Iterator[tokenize.TokenInfo]:
    """Tokens up to the first place that is none."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(code).readline)
    except (tokenize.TokenError, SyntaxError):
        return

"""Eq. (14), R_d = -delta max(0, 1 - L / L_min): what completions are long enough.

L leaves out comments, docstrings and the like, with which a program could be made longer for
nothing.
"""

import io
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
        count_tokens: tokens of a text, such as `Model.count_tokens`.
    """
    return max(1, count_tokens(SHORTEST_EXACT))


def depth_penalty(
    lengths: Sequence[int], completions: Sequence[str], *, delta: float, min_tokens: int
) -> Float[np.ndarray, "n"]:
    """R_d of Eq. (14), in [-delta, 0].

    Args:
        lengths: tokens of each completion.
        completions: the texts, of which `working_share` counts.
        delta: the largest penalty.
        min_tokens: L_min.

    Raises:
        ValueError: a negative length.
    """
    tokens = np.asarray(lengths, np.float32)
    if not np.all(tokens >= 0):
        raise ValueError(f"lengths must be at least 0 tokens, got {tokens.min():g}")
    tokens = tokens * np.array([working_share(text) for text in completions], np.float32)
    return (-delta * np.maximum(0.0, 1.0 - tokens / min_tokens)).astype(np.float32)


def working_share(completion: str) -> float:
    """The share of a completion's characters that is not padding of its program, in [0, 1].

    Padding is a comment, or a statement without a single name in it, such as a docstring. What
    stands beside the program counts in full, and so does what cannot be split into tokens.
    """
    code = parse.code_block(completion).text
    return 1.0 - min(1.0, _padding(code) / len(completion)) if code else 1.0


def _padding(code: str) -> int:
    """Characters of comments and of statements that name nothing."""
    found = statement = 0
    names = False
    for token in _tokens(code):
        if token.type == tokenize.COMMENT:
            found += len(token.string)
        elif token.type in (tokenize.NEWLINE, tokenize.ENDMARKER) or token.string == ";":
            found += 0 if names else statement
            statement, names = 0, False
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            statement += len(token.string)
            names |= token.type == tokenize.NAME
    return found


def _tokens(code: str) -> Iterator[tokenize.TokenInfo]:
    """Tokens up to the first place that is none."""
    try:
        yield from tokenize.generate_tokens(io.StringIO(code).readline)
    except (tokenize.TokenError, SyntaxError):
        return

"""The structural term R_s of Eq. (12): earned step by step, at most 1.2."""

import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from llm.decision.execution import NO_CODE, Answer

MAX_STRUCTURE = 1.2

_UNPARSED = re.compile(r"(line \d+: )?(SyntaxError|IndentationError|TabError):")
"""How the sandbox reports a program that does not parse. One that raises such an error itself
pays for the joke."""

CODE_STEPS = {
    "code block": 0.1,  # a fenced program, closed
    "parses": 0.1,
    "runs": 0.2,  # without an error, within its limits
    "mapping": 0.2,  # `action` is a dict of int to int
    "users": 0.1,  # share of its keys that are active users
    "channels": 0.1,  # share of its known users whose channel exists and is idle
    "distinct": 0.1,  # share of those that hold a channel of their own
    "complete": 0.1,  # share of the users that can be served which are
    "state": 0.2,  # it runs, and reads the list of idle channels
}
"""What each step is worth in the code paradigm; they add up to 1.2."""

TEXT_STEPS = {
    "mapping": 0.4,
    "users": 0.2,
    "channels": 0.2,
    "distinct": 0.2,
    "complete": 0.2,
}
"""Likewise in the text paradigm, where there is no program to look at."""


def shares(
    answer: Answer, *, users: int, idle: int, known_users: int, counts: dict[str, int]
) -> dict[str, float]:
    """How far an answer meets each constraint, in [0, 1].

    Args:
        answer: the answer.
        users: requesting users.
        idle: idle channels.
        known_users: keys of the answer that are requesting users.
        counts: violations of the raw assignment by kind.
    """
    entries = len(answer.action or {})
    if not entries or not known_users:
        return {}
    # A user that the answer leaves at -1 is incomplete, not wrong.
    asked = users - counts["unserved"]
    placed = max(asked - counts["unknown"] - counts["occupied"], 0)
    distinct = max(placed - counts["duplicate"], 0)
    can_be_served = min(users, idle)
    return {
        "users": known_users / entries,
        "channels": placed / asked if asked else 0.0,
        "distinct": distinct / placed if placed else 0.0,
        "complete": min(distinct / can_be_served, 1.0) if can_be_served else 1.0,
    }


def code_structure(answer: Answer, met: dict[str, float]) -> float:
    """R_s in [0, 1.2] of a program, from its answer and `shares`."""
    if answer.status == NO_CODE:
        return 0.0
    earned = dict(met)
    earned["code block"] = float(answer.form == "fenced")
    earned["parses"] = float(not _UNPARSED.match(answer.detail))
    # An invalid answer comes from a program that ran to its end.
    ran = answer.status in ("ok", "invalid")
    earned["runs"] = float(ran)
    earned["mapping"] = float(answer.status == "ok" and bool(answer.action))
    earned["state"] = float(ran and reads(answer.code or "", "channels"))
    return sum(CODE_STEPS[step] * share for step, share in earned.items())


def text_structure(answer: Answer, met: dict[str, float]) -> float:
    """R_s in [0, 1.2] of a mapping written out."""
    earned = {"mapping": float(bool(answer.action)), **met}
    return sum(TEXT_STEPS[step] * share for step, share in earned.items())


def reads(code: str, name: str) -> bool:
    """Whether a program uses `name` before it binds it to something else, from top to bottom.

    By tokens, so that comments and strings do not count, and without `ast`, whose recursion a
    stranger's program could exhaust. Scopes are not followed: a parameter of that name is no read
    in the head of its function, but one in the body. A program that cannot be tokenised reads
    nothing.
    """
    try:
        statements = list(_statements(code))
    except (tokenize.TokenError, SyntaxError):
        return False
    for tokens in statements:
        uses = _uses(tokens, name)
        if "read" in uses:
            return True  # what is on the right of a binding is read first
        if "bound" in uses:
            return False
    return False


class _Token(NamedTuple):
    """A name or an operator, in `depth` brackets.

    Attributes:
        in_trailer: a call or a subscript is among the brackets: nothing is bound in there.
    """

    text: str
    depth: int
    in_trailer: bool


def _statements(code: str) -> Iterator[list[_Token]]:
    """Names and operators by statement; the head of a compound one is a statement of its own."""
    tokens: list[_Token] = []
    trailers: list[bool] = []  # of the open brackets, from the outside
    for text in _words(code):
        if text in _CLOSING and trailers:
            trailers.pop()
        tokens.append(_Token(text, len(trailers), any(trailers[-1:])))
        if text in _OPENING:
            before = tokens[-2].text if len(tokens) > 1 else ""
            follows = before in _CLOSING or (
                before.isidentifier() and not keyword.iskeyword(before)
            )
            trailers.append(follows or any(trailers[-1:]))
        elif not trailers and text in ("\n", ";", ":"):
            yield tokens
            tokens = []
    yield tokens


def _words(code: str) -> Iterator[str]:
    """Names, operators and line ends; of an f-string what stands in its braces."""
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type in (tokenize.NAME, tokenize.OP):
            yield token.string
        elif token.type == tokenize.NEWLINE:
            yield "\n"
        elif token.type == tokenize.STRING and _FORMATTED.match(token.string):
            # One token before Python 3.12.
            for field in re.findall(r"\{([^{}]*)", token.string.replace("{{", "")):
                yield from ("{", *_FIELD_WORD.findall(_QUOTED.sub("", field)), "}")


_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_FORMATTED = re.compile(r"r?fr?['\"]", re.IGNORECASE)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_FIELD_WORD = re.compile(r"\w+|[=!<>]=|[^\w\s]")


def _uses(tokens: list[_Token], name: str) -> set[str]:
    """What a statement does with a variable, of "read" and "bound"."""
    head = tokens[0].text if tokens else ""
    # `a, b = c = value`, `for a, b in value`: targets end at the last or first of these.
    word, which = ("in", 0) if head == "for" else ("=", -1)
    ends = [i for i, token in enumerate(tokens) if token.depth == 0 and token.text == word]
    end = ends[which] if ends else 0
    texts = ["", *(token.text for token in tokens), "", ""]
    uses = set()
    for i, token in enumerate(tokens):
        if token.text != name:
            continue
        before, after, second = texts[i], texts[i + 2], texts[i + 3]
        is_keyword = after == "=" and second not in ("}", "!", ":")  # f"{name=}" reads
        is_parameter = head == "def" and before in ("(", ",", "*", "**")
        if token.depth and (is_keyword or is_parameter or before == "for"):
            continue
        if before in (".", "lambda") or head in ("global", "nonlocal", "del"):
            continue
        is_target = i < end and not token.in_trailer and after not in (".", "[", "(")
        is_annotated = i == 0 and after == ":"
        is_named = before in ("def", "class", "as") or after == ":=" or head in ("import", "from")
        uses.add("bound" if is_target or is_annotated or is_named else "read")
    return uses

"""The structural term R_s of Eq. (12): earned step by step, at most 1.2."""

import io
import re
import tokenize

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
    """Whether a program uses `name` before it binds it to something else.

    By tokens, so that comments and strings do not count, and without `ast`, whose recursion a
    stranger's program could exhaust. A program that cannot be tokenised reads nothing.
    """
    tokens = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type in (tokenize.NAME, tokenize.OP):
                tokens.append(token.string)
    except (tokenize.TokenError, SyntaxError):
        return False
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else ""
        if token == name and before != ".":
            following = tokens[i + 1] if i + 1 < len(tokens) else ""
            return following != "=" and before not in ("for", "def", "import", "as", "class")
    return False

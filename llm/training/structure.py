"""The structural term R_s of Eq. (12): earned step by step, at most 1.2.

What each step is worth is in `Paradigm.structure_steps`.
"""

import io
import keyword
import re
import tokenize
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from llm.decision.execution import ActionResult
from llm.decision.namespace import UNKNOWN_USER
from llm.decision.paradigm import Paradigm
from llm.decision.slot import HostSlot

MAX_STRUCTURE = 1.2

_UNPARSED = re.compile(r"(line \d+: )?(SyntaxError|IndentationError|TabError):|\w+Error:")
"""How the sandbox reports a program that does not parse: other errors of the compiler, as for too
deep nesting, have no line. A program that raises a syntax error itself loses that step."""


def structure_score(
    paradigm: Paradigm,
    slot: HostSlot,
    result: ActionResult,
    violations: Mapping[str, int],
    *,
    protect_primary: bool = False,
) -> float:
    """R_s in [0, 1.2] of what a completion led to.

    Args:
        paradigm: says which steps count, and how much.
        slot: what the completion is for.
        result: the action, or why there is none.
        violations: of its raw assignment by kind, `UNKNOWN_USER` among them.
        protect_primary: with one user on a primary user's channel, the steps "channels",
            "distinct" and "complete" are worth nothing, however many others are placed well.
    """
    earned = _program_shares(result) | _action_shares(slot, result.action, violations)
    if protect_primary and violations["occupied"]:
        earned |= dict.fromkeys(("channels", "distinct", "complete"), 0.0)
    return sum(worth * earned[step] for step, worth in paradigm.structure_steps.items())


def _program_shares(result: ActionResult) -> dict[str, float]:
    """How far the program itself got; all 0 in the text paradigm, which has none."""
    # An invalid action comes from a program that ran to its end.
    ran = result.code is not None and result.status in ("ok", "invalid")
    return {
        "code block": float(result.form == "fenced"),  # fenced, and the fence is closed
        "parses": float(result.code is not None and not _UNPARSED.match(result.detail)),
        "runs": float(ran),  # without an error, within its limits
        "state": float(ran and reads(result.code or "", "channels")),
    }


def _action_shares(
    slot: HostSlot, action: Mapping[int, int] | None, violations: Mapping[str, int]
) -> dict[str, float]:
    """How far an action meets each constraint.

    All are 1 exactly when the action is valid. An empty action, or one about no requesting user,
    earns nothing where a user can be served.
    """
    entries = len(action or {})
    known = entries - violations[UNKNOWN_USER]
    rightly_empty = action is not None and not entries and slot.servable == 0
    shares = {"mapping": float(entries > 0 or rightly_empty)}
    if not (known or rightly_empty):
        return shares | dict.fromkeys(("users", "channels", "distinct", "complete"), 0.0)
    # A user that the action leaves unassigned is incomplete, not wrong.
    asked = len(slot.users) - violations["unserved"]
    placed = asked - violations["unknown"] - violations["occupied"]
    distinct = placed - violations["duplicate"]
    rightly_none = float(slot.servable == 0 and not asked)
    return shares | {
        "users": known / entries if entries else 1.0,
        "channels": placed / asked if asked else rightly_none,
        "distinct": distinct / placed if placed else rightly_none,
        "complete": distinct / slot.servable if slot.servable else 1.0,
    }


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
    tokens = tokens[1:] if tokens and tokens[0].text == "async" else tokens
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

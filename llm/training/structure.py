"""The structural term R_s of Eq. (12): earned step by step, at most 1.2.

What each step is worth is in `Paradigm.structure_steps`.
"""

import io
import re
import tokenize
from collections.abc import Mapping

from llm.decision.execution import ActionResult
from llm.decision.namespace import UNKNOWN_USER
from llm.decision.paradigm import Paradigm
from llm.decision.slot import HostSlot

MAX_STRUCTURE = 1.2

_UNPARSED = re.compile(r"(line \d+: )?(SyntaxError|IndentationError|TabError):")
"""How the sandbox reports a program that does not parse. One that raises such an error itself
loses that step."""


def structure_score(
    paradigm: Paradigm, slot: HostSlot, result: ActionResult, violations: Mapping[str, int]
) -> float:
    """R_s in [0, 1.2] of what a completion led to.

    Args:
        paradigm: says which steps count, and how much.
        slot: what the completion is for.
        result: the action, or why there is none.
        violations: of its raw assignment by kind, `UNKNOWN_USER` among them.
    """
    earned = _program_shares(result) | _action_shares(slot, result.action, violations)
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

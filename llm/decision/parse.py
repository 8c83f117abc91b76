"""Completion -> code block, or -> mapping, by scanning text alone.

What a model wrote is never parsed by Python here: deeply nested input can exhaust the stack of the
process that calls `ast`. Syntax errors are found in the sandbox; every scan below is linear.
"""

import re
from typing import NamedTuple

MAX_CODE_CHARS = 1 << 16
MAX_ENTRIES = 200_000

# Lines longer than this are no fences and no first lines of code: the two patterns for them may
# backtrack quadratically.
_MAX_LINE = 200
_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*([\w+.-]*)\s*")
_BINDS_ACTION = re.compile(r"^[ \t]*action\b[^\n=]*=(?!=)", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^(?:import |from \w[\w.]* import |def \w+\(|for .+:|while .+:|if .+:|with .+:|@\w|"
    r"[A-Za-z_][\w., ]*(?:\[[^\]\n]*\])?\s*[-+*/|&]?=(?!=))"
)
_MAPPING_START = re.compile(r"\baction\s*(?::[^=\n]{0,80})?=\s*\{")
_PAIR = re.compile(r"\s*([0-9]{1,18})\s*:\s*(-?[0-9]{1,18})\s*")
_PYTHON = {"", "python", "py", "python3"}


class Code(NamedTuple):
    """A program cut from a completion.

    Args:
        text: the program, or None where there is none.
        detail: where it was found (`fenced`, `unclosed fence`, `no fence`) or why there is none.
    """

    text: str | None
    detail: str


class ParsedMapping(NamedTuple):
    """A mapping read from a completion.

    Args:
        action: user id -> channel id, or None where the completion holds no well-formed mapping.
        detail: "ok", or what is wrong.
    """

    action: dict[int, int] | None
    detail: str


def code_block(completion: str) -> Code:
    """The program in a completion.

    Of several Python blocks the last one that assigns `action` counts, else the last one: a chat
    model corrects itself downwards. A fence left open ends with the text (the token limit cut it).
    Without any fence, the text from its first line of code on.
    """
    blocks, is_open = _fenced_blocks(completion)
    if blocks:
        binding = [i for i, block in enumerate(blocks) if _BINDS_ACTION.search(block)]
        choice = binding[-1] if binding else len(blocks) - 1
        unclosed = is_open and choice == len(blocks) - 1
        return _checked(blocks[choice], "unclosed fence" if unclosed else "fenced")
    lines = completion.split("\n")
    start = next((i for i, line in enumerate(lines) if _CODE_LINE.match(line[:_MAX_LINE])), None)
    if start is None:
        return Code(None, "no code block")
    return _checked("\n".join(lines[start:]) + "\n", "no fence")


def _checked(code: str, detail: str) -> Code:
    if not code.strip():
        return Code(None, "empty code block")
    if len(code) > MAX_CODE_CHARS:
        return Code(None, f"code block of {len(code)} characters, at most {MAX_CODE_CHARS} run")
    return Code(code, detail)


def _fenced_blocks(text: str) -> tuple[list[str], bool]:
    """Bodies of the fenced Python blocks in order, and whether the last fence was left open."""
    blocks: list[str] = []
    body: list[str] | None = None
    mark, wanted = "", False
    for line in text.split("\n"):
        fence = _fence(line)
        if body is None:
            if fence:
                mark, wanted = fence[1], fence[2].lower() in _PYTHON
                body = []
            continue
        closes = fence and fence[1][0] == mark[0] and len(fence[1]) >= len(mark) and not fence[2]
        inline = not fence and line.rstrip().endswith(mark)
        if not (closes or inline):
            body.append(line)
            continue
        if inline:
            body.append(line.rstrip()[: -len(mark)])
        if wanted:
            blocks.append("\n".join(body) + "\n")
        body = None
    if body is not None and wanted:
        blocks.append("\n".join(body) + "\n")
    return blocks, body is not None and wanted


def _fence(line: str) -> re.Match[str] | None:
    return _FENCE.fullmatch(line) if len(line) <= _MAX_LINE else None


def mapping(completion: str) -> ParsedMapping:
    """The last `action = {user_id: channel_id, ...}` of a completion, read without executing it.

    Strict: decimal integers of at most 18 digits, no nesting, no comments, a trailing comma is
    fine; a repeated user makes the whole answer malformed, since which one counts is anyone's
    guess. Without `action =`, a completion that is one pair of braces alone is accepted too.
    """
    start = None
    for match in _MAPPING_START.finditer(completion):
        start = match.end()
    if start is None:
        bare = _strip_fence(completion).strip()
        if not bare.startswith("{"):
            return ParsedMapping(None, "no mapping `action = {user_id: channel_id}`")
        completion, start = bare, 1
    end = completion.find("}", start)
    if end < 0:
        return ParsedMapping(None, "mapping is not closed")
    body = completion[start:end]
    if body.count(",") > MAX_ENTRIES:
        return ParsedMapping(None, f"mapping of more than {MAX_ENTRIES} entries")
    return _pairs(body)


def _strip_fence(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not _fence(line))


def _pairs(body: str) -> ParsedMapping:
    parts = body.split(",")
    if not parts[-1].strip():
        parts.pop()
    action: dict[int, int] = {}
    for part in parts:
        pair = _PAIR.fullmatch(part)
        if pair is None:
            return ParsedMapping(None, f"not `user_id: channel_id`: {part.strip()[:40]!r}")
        user = int(pair[1])
        if user in action:
            return ParsedMapping(None, f"user {user} appears twice")
        action[user] = int(pair[2])
    return ParsedMapping(action, "ok")

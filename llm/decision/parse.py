"""Completion -> code block, or -> mapping, by scanning text alone.

What a model wrote is never parsed by Python here: deeply nested input can exhaust the stack of the
process that calls `ast`. Syntax errors are found in the sandbox. Nor is it CommonMark: fences stand
behind text, in lists without indentation, with code on their line, and close at the end of a line
of code. So lines are scanned, and every scan below takes linear time.
"""

import itertools
import keyword
import re
import textwrap
from collections import deque
from typing import NamedTuple

MAX_CODE_CHARS = 1 << 16
MAX_ENTRIES = 200_000
_MAX_MAPPINGS = 1000
_NO_MAPPING = "no mapping `action = {user_id: channel_id}`"

# So much of a line is looked at where a pattern may backtrack.
_MAX_LINE = 200

# Fences and what stands behind them: `python`, `{python}`, `py3.11 title="a.py"`, code.
_FENCE = re.compile(r"\s*+(?:(?:[-*+]|\d{1,9}[.)])\s*+)*+(`{3,}+|~{3,}+)(.*)")
_PYTHON = r"[ \t{.]*+(?:i?python|py)[\d.]*(?![\w+-])"
_PYTHON_TAG = re.compile(_PYTHON, re.IGNORECASE)
_FENCE_BEHIND_TEXT = re.compile(rf"(?<!`)(`{{3,}}+)({_PYTHON}\s*)$", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"[\w-]+=[\"']?[\w./-]")

# Before a quoted line. A space behind it goes when the code is dedented: not all write one.
_QUOTE = re.compile(r"(?: {0,3}+>)*+")

# `action = `, `action: dict = `, `a, action = `, `a = action = `; not `action[u] = `, `f(action=`.
_BINDS_ACTION = re.compile(
    r"(?:[^(]*[;=:,])?[ \t]*+[(\[]?[ \t]*+action[ \t]*+[\])]?[ \t]*+(?:[:,][^=;(]{0,200})?=(?!=)"
)
# Strings and comments, also those cut off.
_LITERAL = re.compile(
    r"#[^\n]*+|(\"{3}|'{3})[\s\S]*?(?:\1|\Z)|"
    r"\"(?:[^\"\\\n]|\\[\s\S])*+\"?|'(?:[^'\\\n]|\\[\s\S])*+'?"
)

# The first line of a program, and lines that cannot be of one.
_CODE_LINE = re.compile(
    r"import \w|from \w[\w.]* import |(?:async )?(?:def|class|for|with) .+[:(]|(?:while|if) .+:|"
    r"try:|@\w|\"\"\"|'''|[A-Za-z_][\w.]*\(.*[])(\[{,]\s*(?:#.*)?$|"
    r"[(\[*]?[A-Za-z_](?:[\w., ()*]++|\[[^][]*+\])*+(?::[^=]+)?(?:[-+/|&@%^]|//|<<|>>)?=(?!=)"
)
_HEADING = re.compile(r"[^\w#'\"()[\]{}]*[A-Z][a-z]\w*(?:[^\w=()[\]{}]*$|:[\s*])")
_CONTRACTION = re.compile(r"(?:(?<=[A-Za-z][a-z])|(?<=\bI))'(?=(?:[dmst]|ll|re|ve)\b)")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_KEYWORDS = {*keyword.kwlist, *keyword.softkwlist}

# `action = {`, `action: dict[int, int] = {`, `"action": {`, `**action:** {`, and from there.
_MAPPING_START = re.compile(
    r"\baction[\"'`*]*+\s*+(?::[^={}\n]{0,80}=|:?=|:)[\"'`*]*+\s*+\{", re.IGNORECASE
)
_BARE_START = re.compile(r"^[ \t`]*+\{", re.MULTILINE)
_ANY_START = re.compile(r"(?<!\d:)(?<!\d: )\{")
_BODY = re.compile(r"(?:[^}#/]++|(?:#|//)[^\n]*+|/)*+\}")
_COMMENT = re.compile(r"(?:#|//)[^\n]*")
_PAIR = re.compile(r"\s*([\"']?)([0-9]{1,18})\1\s*:\s*([\"']?)(-?[0-9]{1,18})\3\s*")


class Code(NamedTuple):
    """A program cut from a completion.

    Attributes:
        text: the program, or None where there is none.
        detail: where it was found (`fenced`, `unclosed fence`, `no fence`) or why there is none.
    """

    text: str | None
    detail: str


class ParsedMapping(NamedTuple):
    """A mapping read from a completion.

    Attributes:
        action: user id -> channel id, or None where the completion holds no well-formed mapping.
        detail: "ok", or what is wrong.
    """

    action: dict[int, int] | None
    detail: str


class _Block(NamedTuple):
    """A piece of a completion that may be the program; of a higher rank if it says so."""

    text: str
    detail: str
    rank: int


_TAGGED, _UNTAGGED, _UNFENCED, _OTHER = 3, 2, 1, 0


def code_block(completion: str) -> Code:
    """The program in a completion.

    One block is the program; blocks are not joined. It is the last one that binds `action` as a
    whole, since a chat model corrects itself downwards: `action[1] = 2` alone changes an action
    that is not there. Blocks tagged as Python go before untagged ones (which may be output), and
    both before text outside fences. If none binds `action`, the last one counts in the same order.

    A fence left open ends with the text (the token limit cut it). Outside fences a program goes
    from the first line of code to the first line of prose. Where the only fence closes a program
    that begins with the text, the prompt opened it.
    """
    text = completion.replace("\ufeff", "").replace("\r\n", "\n")
    begun = _begun(text)
    blocks, outside = ([begun], []) if begun else _split(text)
    blocks = [*_unfenced(outside), *(block for block in blocks if block.rank != _OTHER)]
    if not blocks:
        return Code(None, "no code block")

    def merit(block: _Block) -> tuple[bool, bool, int]:
        return bool(block.text.strip()), _binds_action(block.text), block.rank

    # The first of the reversed list is the last of the equally good ones.
    code, detail, _ = max(reversed(blocks), key=merit)
    if not code.strip():
        return Code(None, "empty code block")
    if len(code) > MAX_CODE_CHARS:
        return Code(None, f"code block of more than {MAX_CODE_CHARS} characters")
    if code.lstrip("\n")[0].isspace():  # as in a list
        code = textwrap.dedent(code)
    return Code(code, detail)


def _binds_action(code: str) -> bool:
    """Whether a line outside brackets and strings binds `action` as a whole."""
    depth = 0
    for line in _LITERAL.sub("", code).split("\n"):
        if depth <= 0 and _BINDS_ACTION.match(line):
            return True
        depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
    return False


def _begun(text: str) -> _Block | None:
    """The program that a chat template's last words, an opening fence, begin; or None."""
    marks = list(itertools.islice(_MARK.finditer(text), 2))
    if len(marks) != 1:
        return None
    code, (same_line, _, rest) = text[: marks[0].start()], text[marks[0].end() :].partition("\n")
    if same_line.strip() or _binds_action(rest) or not _binds_action(code):
        return None
    lines = code.split("\n")
    first = next((i for i, line in enumerate(lines) if not _BLANK_OR_COMMENT.match(line)), 0)
    # All of it is the program: an opening fence of a model's own has text before it, or nothing.
    found = next(iter(_unfenced(lines[first:])), None)
    if found is None or found.text.strip() != "\n".join(lines[first:]).strip():
        return None
    return _Block(code.rstrip() + "\n", "fenced", _UNTAGGED)


_MARK = re.compile(r"`{3,}+|~{3,}+")
_BLANK_OR_COMMENT = re.compile(r"[ \t]*+(?:#|$)")


def _split(text: str) -> tuple[list[_Block], list[str]]:
    """Fenced blocks in order, and the lines outside them, both without the marks of a quote.

    A fence tagged as Python opens a block also within another block, unless that is Python.
    """
    blocks: list[_Block] = []
    outside: list[str] = []
    body: list[str] | None = None
    mark, rank, quoted = "", _OTHER, False

    def close(lines: list[str], detail: str = "fenced") -> None:
        blocks.append(_Block("\n".join(lines) + "\n", detail, rank))

    for line in text.split("\n"):
        if body is None:
            quoted = line.lstrip().startswith(">")
        if quoted:
            line = _QUOTE.sub("", line, count=1)
        fence = _FENCE.match(line) or _FENCE_BEHIND_TEXT.search(line)
        if body is not None:
            if line.lstrip().startswith(mark):
                close(body)
                body = None
                if not line.strip().strip(mark[0]):
                    continue  # with more on it, the line opens the next fence
            elif rank != _TAGGED and fence and _PYTHON_TAG.match(fence[2]):
                close(body)
                body = None
            elif line.rstrip().endswith(mark) and "#" not in line:
                close([*body, line.rstrip().rstrip(mark[0])])
                body = None
                continue
            else:
                body.append(line)
                continue
        if fence is None:
            outside.append(line.removeprefix(" ") if quoted else line)
            continue
        mark, info = fence.groups()
        tag = _PYTHON_TAG.match(info)
        code, closing, _ = info[tag.end() if tag else 0 :].strip().partition(mark)
        has_code = _begins_code(code) and not _ATTRIBUTE.match(code)
        rank = _TAGGED if tag else _UNTAGGED if has_code or not info.strip() else _OTHER
        body = [code] if has_code else []
        if closing:
            close(body)
            body = None
    if body is not None:
        close(body, "unclosed fence")
    return blocks, outside


def _unfenced(lines: list[str]) -> list[_Block]:
    """The program among lines outside fences, if there is one."""
    start = next((i for i, line in enumerate(lines) if _begins_code(line)), None)
    if start is None:
        # Indented by four spaces, as in Markdown.
        lines = [line[4:] for line in lines if not line[:4].strip()]
        start = next((i for i, line in enumerate(lines) if _begins_code(line)), None)
    if start is None:
        return []
    kept: list[str] = []
    length, in_string = 0, False
    for line in lines[start:]:
        if length > MAX_CODE_CHARS or (not in_string and _is_prose(line)):
            break
        kept.append(line)
        length += len(line) + 1
        in_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
    return [_Block("\n".join(kept) + "\n", "no fence", _UNFENCED)]


def _begins_code(line: str) -> bool:
    return bool(_CODE_LINE.match(line[:_MAX_LINE])) and not _is_prose(line)


def _is_prose(line: str) -> bool:
    """Whether a line that is not indented cannot be Python: above all, two words side by side."""
    line = _CONTRACTION.sub("", line[:_MAX_LINE])
    if not line or line[0].isspace():
        return False
    before_strings = re.split(r"[#'\"]", line, maxsplit=1)[0]
    if _HEADING.match(line) or "`" in before_strings or not before_strings.isascii():
        return True
    return any(
        (a in ")]}" or _is_name(a)) and _is_name(b)
        for a, b in itertools.pairwise(_TOKEN.findall(before_strings))
    )


def _is_name(token: str) -> bool:
    return (token[0].isalnum() or token[0] == "_") and token not in _KEYWORDS


def mapping(completion: str) -> ParsedMapping:
    """The last well-formed `action = {user_id: channel_id, ...}`, read without executing it.

    Also `action: {...}`, the name in quotes or Markdown emphasis, ids in quotes (JSON), comments
    (`#`, `//`), a trailing comma. Ids are decimal integers of at most 18 digits; nothing nests; a
    repeated user makes a mapping malformed, since it does not say which channel counts. An empty
    mapping counts only if there is no other. Where no such mapping holds a pair, the last one at
    the start of a line counts, and then the last one anywhere (`Answer: {...}`).
    """
    text = completion.replace("\ufeff", "")
    best = ParsedMapping(None, _NO_MAPPING)
    for pattern in (_MAPPING_START, _BARE_START, _ANY_START):
        found = _last_mapping(text, pattern)
        if found.action:
            return found
        if best.detail == _NO_MAPPING:
            best = found
    return best


def _last_mapping(text: str, pattern: re.Pattern[str]) -> ParsedMapping:
    """The last mapping that holds a pair, or else the last empty one, or else what is wrong."""
    starts = [match.span() for match in deque(pattern.finditer(text), _MAX_MAPPINGS)]
    last = ParsedMapping(None, _NO_MAPPING)
    if not starts:
        return last
    # Each ends before the next begins, so that all of them together are read once.
    ends = [start for start, _ in starts[1:]] + [len(text)]
    for (_, start), end in zip(reversed(starts), reversed(ends), strict=True):
        found = _read(text, start, end)
        if found.action:
            return found
        if last.detail == _NO_MAPPING or (last.action is None and found.action is not None):
            last = found
    return last


def _read(text: str, start: int, end: int) -> ParsedMapping:
    body = _BODY.match(text, start, end)
    if body is None:
        return ParsedMapping(None, "mapping is not closed")
    parts = _COMMENT.sub("", body[0][:-1]).split(",")
    if len(parts) > MAX_ENTRIES + 1:
        return ParsedMapping(None, f"mapping of more than {MAX_ENTRIES} entries")
    if not parts[-1].strip():
        parts.pop()
    action: dict[int, int] = {}
    for part in parts:
        pair = _PAIR.fullmatch(part)
        if pair is None:
            return ParsedMapping(None, f"not `user_id: channel_id`: {part.strip()[:40]!r}")
        user = int(pair[2])
        if user in action:
            return ParsedMapping(None, f"user {user} appears twice")
        action[user] = int(pair[4])
    return ParsedMapping(action, "ok")

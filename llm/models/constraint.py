"""What a completion may be in the text paradigm, in the forms that decoders take."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

_CHANNEL = "CHANNEL"


@dataclasses.dataclass(frozen=True)
class Constraint:
    """`action = {user: channel, ...}` of these ids, and of as many pairs as there can be.

    Attributes:
        users: ids, in the order in which the prompt shows them.
        channels: ids of idle channels.
    """

    users: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """Users that can be served."""
        return min(len(self.users), len(self.channels))

    @functools.cached_property
    def grammar(self) -> str:
        """Lark grammar of `pairs` pairs of known ids in any order.

        That no id comes twice is not in it: a grammar of all orders would have K! sentences.
        """
        more = f' (", " pair){{{self.pairs - 1}}}' if self.pairs > 1 else ""
        pairs = f" pair{more}" if self.pairs else ""
        lines = [f'start: "action = {{"{pairs} "}}"']
        if self.pairs:
            lines += [f'pair: USER ": " {_CHANNEL}', _terminal("USER", self.users)]
            lines.append(_terminal(_CHANNEL, self.channels))
        return "\n".join(lines) + "\n"

    @functools.cached_property
    def ordered_grammar(self) -> str:
        """Lark grammar for decoders that know nothing but a grammar: users in the given order.

        So each is there at most once, and each is there where channels suffice. A channel may
        still come twice.
        """
        if not self.pairs:
            return self.grammar
        if len(self.channels) < len(self.users):
            parts = [f'("{user}: " {_CHANNEL} ", ")?' for user in self.users]
        else:
            first, *others = self.users
            parts = [f'"{first}: " {_CHANNEL}', *(f'", {u}: " {_CHANNEL}' for u in others)]
        start = f'start: "action = {{" {" ".join(parts)} "}}"'
        return f"{start}\n{_terminal(_CHANNEL, self.channels)}\n"

    @property
    def json_schema(self) -> dict[str, Any]:
        """JSON schema of `{"action": {"user": channel, ...}}`: each user once, channels not."""
        names = [str(user) for user in self.users]
        channel = {"type": "integer", "enum": list(self.channels)}
        action: dict[str, Any] = {
            "type": "object",
            "properties": dict.fromkeys(names, channel) if self.pairs else {},
            "required": names if 0 < self.pairs == len(names) else [],
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {"action": action},
            "required": ["action"],
            "additionalProperties": False,
        }


def _terminal(name: str, ids: Sequence[int]) -> str:
    return f"{name}: " + " | ".join(f'"{i}"' for i in ids)

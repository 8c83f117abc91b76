"""The text paradigm's completion: how it is written, how long it gets, what decoding may allow."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from llm.decision.slot import HostSlot
from llm.models import Constraint, Model

_AROUND = 32  # tokens that a model may write before a mapping, such as a fence


class CompletionTooLongError(ValueError):
    """A mapping does not fit: the N/A of a table, whose message is the reason.

    Attributes:
        tokens: what the longest mapping of the slot takes.
        room: the most tokens that the completion may have.
    """

    def __init__(self, users: int, tokens: int, room: int, why: str):
        super().__init__(
            f"a mapping of {users} users takes up to {tokens} tokens, and {why} leaves {room}"
        )
        self.tokens, self.room = tokens, room


def mapping_text(action: Mapping[int, int]) -> str:
    """`action = {user: channel, ...}` in the form that constrained decoding writes."""
    return f"action = {{{', '.join(f'{user}: {channel}' for user, channel in action.items())}}}"


def mapping_tokens(slot: HostSlot, count_tokens: Callable[[str], int]) -> int:
    """Tokens of the longest mapping of a slot, and one that ends it.

    Args:
        slot: says how many users can be served.
        count_tokens: of a prompt, chat template included, such as `Model.count_tokens`.
    """
    pairs = slot.servable
    # Ids with the most digits, since tokens grow with them.
    users, channels = (sorted(ids.tolist(), reverse=True) for ids in (slot.users, slot.channels))
    text = mapping_text(dict(zip(users[:pairs], channels[:pairs], strict=True)))
    return count_tokens(text) - count_tokens("") + 1


def mapping_limit(
    model: Model, sizes: Sequence[tuple[HostSlot, int]], max_new_tokens: int | None = None
) -> int:
    """Tokens that completions get so that the mapping of each slot fits.

    Args:
        model: its own default is raised where mappings need more.
        sizes: slots, each with the tokens of its prompt.
        max_new_tokens: the most; None takes what the mappings need, and a little.

    Raises:
        CompletionTooLongError: a mapping outgrows `max_new_tokens` or the model's context.
    """
    needs = [(mapping_tokens(slot, model.count_tokens), slot.servable) for slot, _ in sizes]
    needed, users = max(needs, default=(0, 0))
    rooms = []
    if max_new_tokens is not None:
        rooms.append((max_new_tokens, f"max_new_tokens={max_new_tokens}"))
    if model.context is not None:
        longest = max((tokens for _, tokens in sizes), default=0)
        why = f"a prompt of {longest} tokens in a context of {model.context}"
        rooms.append((model.context - longest, why))
    for room, why in rooms:
        if needed > room:
            raise CompletionTooLongError(users, needed, room, why)
    if max_new_tokens is not None:
        return max_new_tokens
    return min([max(model.max_new_tokens, needed + _AROUND), *(room for room, _ in rooms)])


def constraint_of(slot: HostSlot) -> Constraint:
    """Known users, strongest first as in the prompt, and idle channels, widest first."""
    power_w = slot.mean_power_w
    if power_w.ndim > 1:
        power_w = power_w.mean(1) if power_w.size else np.zeros(len(slot.users))
    users = slot.users[np.argsort(-power_w, kind="stable")]
    channels = slot.channels[np.argsort(-slot.bandwidth_hz, kind="stable")]
    return Constraint(tuple(users.tolist()), tuple(channels.tolist()))

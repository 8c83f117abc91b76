"""Entries of a batch: one slot, or a few slots of one setting on which a program is to hold."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Num

import lsajax as lsa

MAX_SLOTS = 4

Entry = lsa.Instance | Sequence[lsa.Instance]
"""What a completion is scored on. Of several slots the prompt shows the first."""

T = TypeVar("T")


def slots_of(entry: Entry) -> tuple[lsa.Instance, ...]:
    """The slots of an entry.

    Raises:
        ValueError: no slot, more than four, or slots of more than one setting.
    """
    if isinstance(entry, lsa.Instance):
        return (entry,)
    slots = tuple(entry)
    if not 1 <= len(slots) <= MAX_SLOTS:
        raise ValueError(f"an entry of instances must be 1 to {MAX_SLOTS} slots, got {len(slots)}")
    # What is static in an instance, and what it has at all, is its setting; sizes may differ.
    if len({jax.tree.structure(slot) for slot in slots}) > 1:
        raise ValueError("the slots of an entry of instances must be of one setting and objective")
    return slots


class Entries:
    """A batch of entries, and what goes from them to their slots and back.

    Args:
        instances: the entries.

    Attributes:
        slots: of all entries, one after the other.

    Raises:
        ValueError: see `slots_of`.
    """

    def __init__(self, instances: Sequence[Entry]) -> None:
        entries = [slots_of(entry) for entry in instances]
        self.slots = [slot for entry in entries for slot in entry]
        self._counts = np.array([len(entry) for entry in entries], int)
        self._starts = np.cumsum(self._counts) - self._counts

    def repeated(self, values: Sequence[T]) -> list[T]:
        """A value per slot, from one per entry."""
        return [v for v, count in zip(values, self._counts, strict=True) for _ in range(count)]

    def split(self, values: Sequence[T]) -> list[Sequence[T]]:
        """The values of each entry, from one per slot."""
        return [values[a : a + count] for a, count in zip(self._starts, self._counts, strict=True)]

    def flat(self, name: str, values: Sequence[Any]) -> list[Any]:
        """A value per slot, from values that are nested as the entries are.

        Raises:
            ValueError: one of `values` has not as many as its entry has slots.
        """
        nested = [list(np.atleast_1d(value)) for value in values]
        for k, (own, count) in enumerate(zip(nested, self._counts, strict=True)):
            if len(own) != count:
                raise ValueError(
                    f"{name}[{k}] must have one value per slot ({count}), got {len(own)}"
                )
        return [value for own in nested for value in own]

    def mean(self, values: Num[np.ndarray, "slots"]) -> Float[np.ndarray, "entries"]:
        """Mean over the slots of each entry."""
        sums = np.add.reduceat(values.astype(np.float32), self._starts) if len(values) else values
        return (sums / self._counts).astype(np.float32)

    def largest(self, values: Sequence[float]) -> Float[np.ndarray, "entries"]:
        """Maximum over the slots of each entry."""
        return np.array([max(own) for own in self.split(values)], float)

"""Decoding that cannot leave a `Constraint`: a grammar's mask, and a processor for its ids."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import llguidance
import llguidance.hf
import llguidance.numpy
import numpy as np
import torch
from transformers import LogitsProcessor

from llm.models.constraint import Constraint

_NUMBER = re.compile(rb" ?([0-9]+)")
_DIGIT = re.compile(rb"[0-9]")


class Vocabulary:
    """The tokens of a tokenizer, as constrained decoding sees them.

    Left out are tokens with digits and other characters: with them a number could end and the next
    begin within one token. A space before digits is no matter.

    Args:
        tokenizer: a fast one of `transformers`.
        size: scores of a position; there may be more than tokens.
        ends: tokens that end a text.

    Attributes:
        tokenizer: for llguidance.
        ends: as above.
        numbers: token -> its digits, for tokens that are digits and perhaps a space before them.
    """

    def __init__(self, tokenizer: Any, size: int, ends: Sequence[int]):
        whole = llguidance.hf.from_tokenizer(tokenizer)
        tokens = [whole.decode_bytes([t]) for t in range(min(size, whole.vocab_size))]
        special = [t for t in range(len(tokens)) if whole.is_special_token(t)]
        self.ends = frozenset(ends)
        self.numbers: dict[int, str] = {}
        for token in set(range(len(tokens))) - set(special):
            if number := _NUMBER.fullmatch(tokens[token]):
                self.numbers[token] = number[1].decode()
            elif _DIGIT.search(tokens[token]):
                tokens[token] = b""
        tokens += [b""] * (size - len(tokens))
        parts = _Parts(tokens, special, ends[0], whole)
        wrapper = llguidance.TokenizerWrapper(parts)
        self.tokenizer = llguidance.LLTokenizer(wrapper, size, eos_token=list(ends))


class _Parts:
    """What llguidance asks of a tokenizer that is not a file.

    Where a grammar leaves no choice it takes the tokens that calling this gives.
    """

    bos_token_id = None

    def __init__(self, tokens: list[bytes], special: list[int], end: int, whole: Any):
        self.tokens, self.special_token_ids, self.eos_token_id = tokens, special, end
        self._whole = whole
        self._by_text = {text: token for token, text in enumerate(tokens) if text}
        self._longest = max(map(len, self._by_text))

    def __call__(self, text: bytes) -> list[int]:
        """As the tokenizer has it, or where that takes a token which is left out the longest."""
        found = self._whole.tokenize_bytes(text)
        if all(self.tokens[token] for token in found):
            return found
        found = []
        while text:
            lengths = range(min(self._longest, len(text)), 0, -1)
            length = next(n for n in lengths if text[:n] in self._by_text)
            found.append(self._by_text[text[:length]])
            text = text[length:]
        return found


class _Ids:
    """Ids that are not used yet, and what their decimal digits begin with."""

    def __init__(self, ids: Sequence[int]):
        self.left = {str(i) for i in ids}
        self.beginnings = Counter(text[:n] for text in self.left for n in range(1, len(text) + 1))

    def use(self, text: str) -> None:
        self.left.remove(text)
        self.beginnings.subtract(text[:n] for n in range(1, len(text) + 1))


class _Row:
    """One completion: where it is in the grammar, and which ids it has used."""

    def __init__(self, vocabulary: Vocabulary, matcher: Any, constraint: Constraint):
        self.vocabulary, self.matcher = vocabulary, matcher
        self.ids = (_Ids(constraint.users), _Ids(constraint.channels))
        self.numbers_ended = 0
        self.digits = ""  # of the number that is being written
        self.ended = False

    def consume(self, token: int) -> None:
        if token in self.vocabulary.ends:
            self.ended = True
            return
        self.matcher.consume_token(token)
        if token in self.vocabulary.numbers:
            self.digits += self.vocabulary.numbers[token]
        elif self.digits:
            self.ids[self.numbers_ended % 2].use(self.digits)
            self.numbers_ended += 1
            self.digits = ""

    def forbid(self, allowed: np.ndarray) -> None:
        """Take tokens out of the grammar's mask that can only lead to an id which is used."""
        ids = self.ids[self.numbers_ended % 2]
        candidates = [token for token in self.vocabulary.numbers if allowed[token]]
        if self.digits and self.digits not in ids.left:
            allowed[:] = False  # the number cannot end here
        for token in candidates:
            allowed[token] = ids.beginnings[self.digits + self.vocabulary.numbers[token]] > 0


class ConstrainedDecoding(LogitsProcessor):
    """Every other token has the score -inf; to stand before sampling.

    Args:
        vocabulary: of the model.
        constraints: one per row of the batch; None leaves a row alone.
    """

    def __init__(self, vocabulary: Vocabulary, constraints: Sequence[Constraint | None]):
        matchers = {c: _matcher(vocabulary, c) for c in set(constraints) if c is not None}
        self.rows = [
            None if c is None else _Row(vocabulary, matchers[c].deep_copy(), c) for c in constraints
        ]
        self.prompt_length: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.prompt_length is None:
            self.prompt_length = input_ids.shape[1]
        elif input_ids.shape[1] > self.prompt_length:
            for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
                if row is not None and not row.ended:
                    row.consume(token)
        allowed = np.ones(scores.shape, bool)
        bits = llguidance.numpy.allocate_token_bitmask(1, scores.shape[1])
        for row, own in zip(self.rows, allowed, strict=True):
            if row is None or row.ended:
                continue
            llguidance.numpy.fill_next_token_bitmask(row.matcher, bits)
            own[:] = np.unpackbits(bits.view(np.uint8)[0], bitorder="little")[: len(own)]
            row.forbid(own)
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)


def _matcher(vocabulary: Vocabulary, constraint: Constraint) -> Any:
    matcher = llguidance.LLMatcher(vocabulary.tokenizer, constraint.grammar, log_level=0)
    if matcher.is_error():
        raise RuntimeError(f"no grammar for {constraint.pairs} pairs: {matcher.get_error()}")
    return matcher

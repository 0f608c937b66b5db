"""Synthetic sequences whose answer is known: induction heads and selective copying.

Letters: B examples, L length in tokens, K answers an example. The answers are due at the last K
positions, from all that precedes them. Example i is a pure function of (seed, i), the stream
(training, validation, test) and the task's sizes; a token takes a word of Philox.

Source: Gu & Dao 2023 (arXiv:2312.00752), section 4.1 and appendix E.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.philox import key_of, philox4x32

Tokens = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]
Int64 = npt.NDArray[np.int64]
WORDS = 4  # a counter
MOST_TOKENS = 256  # a token is a byte


class Examples(NamedTuple):
    """Drawn examples: tokens uint8 (B, L) and answers int64 (B, K)."""

    tokens: Tokens
    answers: Int64


class Draw:
    """Random integers of some examples.

    Args:
        seed: in [0, 2^64).
        index: (B,) numbers of the examples, in [0, 2^64).
        stream: streams of other numbers are independent.

    Raises:
        InputError: the seed is out of range.
    """

    def __init__(self, seed: int, index: Int64, stream: int) -> None:
        self._key, self._index, self._stream = key_of(seed), index, stream
        self._block = 0

    def below(self, bound: int, count: int) -> Int64:
        """(B, count) integers, uniform in [0, bound) but for a bias of bound / 2^32; none again."""
        blocks = -(-count // WORDS)
        counter = np.empty((len(self._index), blocks, WORDS), dtype=np.uint32)
        counter[..., 0] = (self._index & 0xFFFFFFFF)[:, None]
        counter[..., 1] = (self._index >> 32)[:, None]
        counter[..., 2] = self._block + np.arange(blocks)
        counter[..., 3] = self._stream
        self._block += blocks
        words = philox4x32(counter.reshape(-1, WORDS), self._key)
        words = words.reshape(len(self._index), blocks * WORDS)[:, :count]
        return (words.astype(np.uint64) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def places(self, bound: int, count: int) -> Int64:
        """(B, count) different integers in [0, bound), ascending, all sets equally likely.

        Floyd's method (Bentley & Floyd 1987, "A sample of brilliance"): a draw of a sample of k
        takes k random numbers, whatever the bound.
        """
        chosen = np.empty((len(self._index), count), dtype=np.int64)
        for taken in range(count):
            last = bound - count + taken
            found = self.below(last + 1, 1)
            is_taken = (chosen[:, :taken] == found).any(axis=1)
            chosen[:, taken] = np.where(is_taken, last, found[:, 0])
        return np.sort(chosen, axis=1)


@dataclass(frozen=True)
class InductionHeads:
    """A token that follows a special one is to be named when the special one comes again.

    Ordinary tokens 0 to ``ordinary`` - 1 at random; the special token, number ``ordinary``, at one
    place before the last two and at the end. The answer is what followed its first occurrence.

    Args:
        ordinary: tokens beside the special one.

    Raises:
        InputError: fewer than two, or more than a byte holds.
    """

    ordinary: int = 16
    answers = 1

    def __post_init__(self) -> None:
        _check("ordinary", self.ordinary, 2, MOST_TOKENS - 1)

    @property
    def vocab_size(self) -> int:
        """Tokens, the special one included."""
        return self.ordinary + 1

    @property
    def shortest(self) -> int:
        """The least L: special, answer, special."""
        return 3

    def examples(self, draw: Draw, length: int) -> Examples:
        """The examples of a draw, of L tokens each."""
        at = draw.places(length - 2, 1)
        tokens = draw.below(self.ordinary, length).astype(np.uint8)
        rows = np.arange(len(tokens))[:, None]
        tokens[rows, at] = tokens[:, -1:] = self.ordinary
        return Examples(tokens, tokens[rows, at + 1].astype(np.int64))


@dataclass(frozen=True)
class SelectiveCopying:
    """Data tokens among noise at random places are to be repeated in order.

    Token 0 is noise, the last is the marker that asks for an answer, those between are data. A
    sequence has ``data_tokens`` of them in its first L - K tokens and ends with K markers.

    Args:
        tokens: noise, data and marker together.
        data_tokens: K.

    Raises:
        InputError: too few to tell data apart, or more than a byte holds.
    """

    tokens: int = 16
    data_tokens: int = 16

    def __post_init__(self) -> None:
        _check("tokens", self.tokens, 4, MOST_TOKENS)
        _check("data_tokens", self.data_tokens, 1, None)

    @property
    def vocab_size(self) -> int:
        """Noise, data and marker."""
        return self.tokens

    @property
    def answers(self) -> int:
        """K."""
        return self.data_tokens

    @property
    def shortest(self) -> int:
        """The least L: data and markers."""
        return 2 * self.data_tokens

    def examples(self, draw: Draw, length: int) -> Examples:
        """The examples of a draw, of L tokens each."""
        at = draw.places(length - self.answers, self.answers)
        data = 1 + draw.below(self.tokens - 2, self.answers)
        tokens = np.zeros((len(data), length), dtype=np.uint8)
        np.put_along_axis(tokens, at, data.astype(np.uint8), axis=1)
        tokens[:, -self.answers :] = self.tokens - 1
        return Examples(tokens, data)


KnownAnswers = InductionHeads | SelectiveCopying


def _check(name: str, value: int, least: int, most: int | None) -> None:
    if value < least or (most is not None and value > most):
        upper = "" if most is None else f" and at most {most}"
        raise InputError(f"expected {name} of at least {least}{upper}, got {value}")

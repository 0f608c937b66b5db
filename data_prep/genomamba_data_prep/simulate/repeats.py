"""Interspersed repeats: consensus sequences, and copies of them.

An Alu-like element is rich in GC and CpG and has two similar arms, an A-rich linker and an A tail.
An L1-like one is 6 kb long, and most copies lack their 5' end. The sequences themselves are random.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from genomamba_data_prep.codes import Codes, encode
from genomamba_data_prep.simulate.generate import MarkovSource
from genomamba_data_prep.simulate.words import Integers

ALU_ARM, ALU_INSERT = 120, 31  # the right arm is longer by the insert; with linker and tail 305
LINKER, TAIL = encode(b"AAAAATACAAAAAA"), encode(b"A" * 20)
ALU_BASES = (0.18, 0.32, 0.32, 0.18)
ARM_DIVERGENCE = 0.2
L1_LENGTH = 6000
L1_MEAN_COPY = 900.0  # mean of the geometric law of the 3' end's length, which the full length cuts


class Copies(NamedTuple):
    """Copies one after another: their codes (total,) and their lengths (n,)."""

    codes: Codes
    lengths: Integers


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """start, start + 1, ... of every range, one after another: (n,), (n,) -> (sum of lengths,)."""
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def diverge(rng: np.random.Generator, codes: Codes, probability: float) -> Codes:
    """Copies of bases, each replaced by one of the three others with the given probability."""
    change = rng.integers(1, 4, len(codes), dtype=np.uint8)
    change[rng.random(len(codes)) >= probability] = 0
    return (codes + change) & np.uint8(3)


def alu_consensus(rng: np.random.Generator) -> Codes:
    """An Alu-like consensus, about 300 bases."""
    bases = rng.choice(4, ALU_ARM + ALU_INSERT, p=ALU_BASES).astype(np.uint8)
    left, insert = np.split(bases, [ALU_ARM])
    right = diverge(rng, left, ARM_DIVERGENCE)
    half = ALU_ARM // 2
    return np.concatenate([left, LINKER, right[:half], insert, right[half:], TAIL])


def l1_consensus(rng: np.random.Generator, background: MarkovSource) -> Codes:
    """An L1-like consensus of 6 kb, drawn from the background."""
    body = background.sequences(rng, 1, L1_LENGTH - len(TAIL))[0]
    return np.concatenate([body, TAIL])


def l1_lengths(rng: np.random.Generator, n: int) -> Integers:
    """Lengths of L1-like copies, (n,); most have lost the 5' end."""
    return np.minimum(len(TAIL) + rng.geometric(1 / L1_MEAN_COPY, n), L1_LENGTH)


def l1_mean_length() -> float:
    """The expectation of `l1_lengths`."""
    longest = L1_LENGTH - len(TAIL)
    return len(TAIL) + L1_MEAN_COPY * (1 - (1 - 1 / L1_MEAN_COPY) ** longest)


def copies(rng: np.random.Generator, consensus: Codes, lengths: Integers) -> Copies:
    """Copies of a consensus's 3' end, (C,), on either strand; their lengths (n,) are at most C."""
    begins = np.repeat(lengths.cumsum() - lengths, lengths)
    offsets = np.arange(len(begins)) - begins
    whole = np.repeat(lengths, lengths)
    reverse = np.repeat(rng.random(len(lengths)) < 0.5, lengths)
    from_end = np.where(reverse, offsets + 1, whole - offsets)
    codes = consensus[len(consensus) - from_end]
    return Copies(np.where(reverse, np.uint8(3) - codes, codes), lengths)

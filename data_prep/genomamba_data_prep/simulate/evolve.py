"""What happens on one branch: substitutions, small indels, insertions of repeats.

Substitutions follow HKY85 (Hasegawa, Kishino & Yano 1985) with hypermutable CpG: the rate of b to x
is pi(x), times kappa for a transition, times ``cpg`` more for the transition of a CpG's C or G,
times the branch's own factor for that change in that trinucleotide (``spectrum_shift``). kappa is
such that the overall ratio of transitions to transversions is ``ts_tv``, and all rates are scaled
so that the mean over the sequence is the branch's length. A site changes at most once on a branch.

Small indels happen at ``indel_rate`` times the branch length a site, half of them deletions;
lengths are geometric. An insertion repeats the bases before it, as most short ones do in the human
genome (Messer & Arndt 2007, Mol Biol Evol 24:1190).

Letters: L bases, W = 64 trinucleotides.
"""

from __future__ import annotations

import numpy as np

from genomamba_data_prep.codes import BASE_BITS, SOFT_MASK, Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.repeats import Copies, ranges
from genomamba_data_prep.simulate.words import Floats, Integers, reverse_complement_words

BASE = np.arange(64) // 4 % 4  # the middle base of every trinucleotide
TRANSITION = np.arange(4) == (BASE[:, None] ^ 2)  # A 0 <-> G 2, C 1 <-> T 3
CPG = (np.arange(64) % 16 == 6) | (np.arange(64) // 4 == 6)  # NCG and CGN


def trinucleotides(codes: Codes) -> Codes:
    """The number of the trinucleotide around every base but the first and last, (L - 2,)."""
    bases = codes & np.uint8(BASE_BITS)
    four = np.uint8(4)
    return (bases[:-2] * four + bases[1:-1]) * four + bases[2:]


def trinucleotide_law(words: Codes) -> Floats:
    """Frequencies of trinucleotides, both strands together, (W,)."""
    counts = np.bincount(words, minlength=64)
    counts = counts + counts[reverse_complement_words(3)]
    return counts / counts.sum()


def spectrum_shift(rng: np.random.Generator, deviation: float) -> Floats:
    """Log-normal factors of the rates, the same for a change and its complement, (W, 4)."""
    factors = rng.standard_normal((64, 4))
    factors += factors[reverse_complement_words(3)][:, ::-1]  # the complement of x is 3 - x
    return np.exp(deviation * factors / np.sqrt(2))


def substitution_probabilities(
    law: Floats, length: float, ts_tv: float, cpg: float, factors: Floats
) -> Floats:
    """Probability that a trinucleotide's middle base becomes x on a branch, (W, 4).

    Args:
        law: of the trinucleotides, (W,); the mean over it of all changes is ``length``.
        length: substitutions a site.
        ts_tv: transitions over transversions, by number, before ``factors``.
        cpg: rate of CpG transitions over that of others of the same base.
        factors: (W, 4), see `spectrum_shift`.

    Raises:
        InputError: a probability over 1.
    """
    composition = np.bincount(BASE, weights=law, minlength=4)
    rates = np.tile(composition, (64, 1))
    rates[np.arange(64), BASE] = 0
    rates[TRANSITION & CPG[:, None]] *= cpg
    weighted = law[:, None] * rates
    kappa = ts_tv * weighted[~TRANSITION].sum() / weighted[TRANSITION].sum()
    rates = np.where(TRANSITION, kappa * rates, rates) * factors
    probabilities = rates * (length / (law[:, None] * rates).sum())
    if probabilities.sum(1).max() >= 1:
        raise InputError(
            "some trinucleotides would change with a probability over 1",
            fix="Lower --signal-strength",
        )
    return probabilities


def substitute(
    rng: np.random.Generator,
    codes: Codes,
    length: float,
    ts_tv: float,
    cpg: float,
    factors: Floats,
) -> None:
    """Draw a branch's substitutions in ``codes`` (L,), in place; the two end bases stay.

    The other arguments are those of `substitution_probabilities`.
    """
    words = trinucleotides(codes)
    law = trinucleotide_law(words)
    probabilities = substitution_probabilities(law, length, ts_tv, cpg, factors)
    thresholds = (probabilities.cumsum(1) * 2.0**32).astype(np.uint32)
    raw = rng.bit_generator.random_raw((len(words) + 1) // 2).view(np.uint32)[: len(words)]
    places = np.flatnonzero(raw < thresholds[:, 3].take(words))
    bases = (thresholds[words[places], :3] <= raw[places, None]).sum(1, dtype=np.uint8)
    codes[places + 1] = bases | (codes[places + 1] & np.uint8(SOFT_MASK))


def small_indels(
    rng: np.random.Generator, length: int, events: float, mean_length: float
) -> Integers:
    """Draw small indels.

    Args:
        rng: source of chance.
        length: L.
        events: expected number a site.
        mean_length: of an indel, bases.

    Returns:
        For every base of the new sequence its place in the old one, which an insertion repeats.
    """
    n_inserted, n_deleted = rng.poisson(events * length / 2, 2)
    lengths = np.minimum(rng.geometric(1 / mean_length, n_inserted), length)
    ends = rng.integers(lengths, length + 1)  # the insertion follows the bases that it repeats
    source = np.insert(np.arange(length), np.repeat(ends, lengths), ranges(ends - lengths, lengths))
    keep = np.ones(length, dtype=bool)
    lengths = rng.geometric(1 / mean_length, n_deleted)
    lost = ranges(rng.integers(0, length, n_deleted), lengths)
    keep[lost[lost < length]] = False
    return source[keep[source]]


def insert_repeats(rng: np.random.Generator, codes: Codes, repeats: Copies) -> Codes:
    """Insert soft-masked copies at random places."""
    places = np.repeat(rng.integers(0, len(codes) + 1, len(repeats.lengths)), repeats.lengths)
    return np.insert(codes, places, repeats.codes | np.uint8(SOFT_MASK))

"""Words of 31 bases that test and training sequence have in common.

31 bases occur once by chance in any genome, so a shared word is a repeat, a duplication or the same
locus on both sides. Words are canonical, without N, and distinct ones count once. Where a species
has more bases than ``MOST_WORDS`` in a split, a sample of the words is compared: those whose hash
begins with as many zero bits as needed. The sample is the same on all sides, so that fractions are
unbiased (FracMinHash: Irber et al. 2022, bioRxiv 2022.01.11.475838).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.audit.windows import mix64, window_codes
from genomamba_data_prep.kmers import canonical_words
from genomamba_data_prep.progress import Progress
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval

Words = npt.NDArray[np.uint64]

K = 31
MOST_WORDS = 1 << 25  # held at once for one species and split: a quarter of a gigabyte
BLOCK = 1 << 18  # bases read at once


@dataclass(frozen=True)
class SharedKmers:
    """Distinct canonical 31-mers of each test species, and how many each training species has.

    Letters: C classes.

    Attributes:
        sampled_one_in: 1, or the sample is one word in so many, by hash.
        distinct: of each class's test split, (C,), in the sample.
        shared: test class by training class, (C, C).
        shared_any: with any training class, (C,).
    """

    sampled_one_in: int
    distinct: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int64]
    shared_any: npt.NDArray[np.int64]


def shared_kmers(
    species_set: SpeciesSet, train: Sequence[Interval], test: Sequence[Interval]
) -> SharedKmers:
    """Compare the test split of every species with the training split of every species."""
    sizes = [_bases(side, s) for side in (train, test) for s in species_set.classes]
    zero_bits = 0
    while max(sizes) >> zero_bits > MOST_WORDS:
        zero_bits += 1
    n = len(species_set.classes)
    with Progress("comparing 31-mers", sum(sizes)) as progress:
        tests = [
            _distinct(species_set, test, species, zero_bits, progress)
            for species in species_set.classes
        ]
        found = [np.zeros(len(words), dtype=bool) for words in tests]
        shared = np.zeros((n, n), dtype=np.int64)
        for column, species in enumerate(species_set.classes):
            trained = _distinct(species_set, train, species, zero_bits, progress)
            for row, words in enumerate(tests):
                both = _in_sorted(words, trained)
                shared[row, column] = np.count_nonzero(both)
                found[row] |= both
    distinct = np.array([len(words) for words in tests], dtype=np.int64)
    any_ = np.array([np.count_nonzero(row) for row in found], dtype=np.int64)
    return SharedKmers(2**zero_bits, distinct, shared, any_)


def _bases(intervals: Sequence[Interval], species: str) -> int:
    return sum(i.end - i.start for i in intervals if i.species == species)


def _distinct(
    species_set: SpeciesSet,
    intervals: Sequence[Interval],
    species: str,
    zero_bits: int,
    progress: Progress,
) -> Words:
    """A species' distinct words in the sample, ascending."""
    parts = list(_sampled(species_set, intervals, species, zero_bits, progress))
    words = np.concatenate([np.zeros(0, dtype=np.uint64), *parts])
    words.sort()
    return words[np.concatenate([words[:1] == words[:1], words[1:] != words[:-1]])]


def _sampled(
    species_set: SpeciesSet,
    intervals: Sequence[Interval],
    species: str,
    zero_bits: int,
    progress: Progress,
) -> Iterator[Words]:
    """The words of the sample, block by block, repeats included."""
    for interval in intervals:
        if interval.species != species:
            continue
        for start in range(interval.start, interval.end, BLOCK):
            end = min(start + BLOCK + K - 1, interval.end)  # words that begin in the block
            words = canonical_words(window_codes(species_set, interval, start, end - start), K)
            if zero_bits:
                words = words[mix64(words) >> np.uint64(64 - zero_bits) == 0]
            yield words
            progress.advance(min(BLOCK, interval.end - start))


def _in_sorted(words: Words, ascending: Words) -> npt.NDArray[np.bool_]:
    """Which of the words are among the others; both ascending, so that the look-up is local."""
    if not len(ascending):
        return np.zeros(len(words), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, words), len(ascending) - 1)
    return ascending[at] == words

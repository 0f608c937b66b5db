from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from genomamba_data_prep.codes import SOFT_MASK, decode, encode, reverse_complement
from genomamba_data_prep.kmers import (
    canonical_classes,
    canonical_words,
    kmer_frequencies,
    shorter_classes,
)


@pytest.mark.parametrize(("k", "n"), [(1, 2), (2, 10), (3, 32), (4, 136), (5, 512)])
def test_number_of_classes(k: int, n: int) -> None:
    assert len(set(canonical_classes(k).tolist())) == n


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_counts_match_a_slow_count(k: int) -> None:
    codes = np.random.default_rng(k).integers(0, 5, 300).astype(np.uint8)
    text = decode(codes).decode()
    counts: Counter[str] = Counter()
    for i in range(len(text) - k + 1):
        word = text[i : i + k]
        if "N" not in word:
            other = decode(reverse_complement(encode(word.encode()))).decode()
            counts[min(word, other)] += 1
    slow = sorted(n / counts.total() for n in counts.values())
    fast = kmer_frequencies(codes[None], k)[0]
    assert sorted(fast[fast > 0]) == pytest.approx(slow)


def test_strand_and_soft_mask_do_not_matter() -> None:
    codes = np.random.default_rng(0).integers(0, 5, (4, 200)).astype(np.uint8)
    expected = kmer_frequencies(codes, 3)
    np.testing.assert_array_equal(kmer_frequencies(reverse_complement(codes), 3), expected)
    np.testing.assert_array_equal(kmer_frequencies(codes | np.uint8(SOFT_MASK), 3), expected)


def test_nothing_to_count() -> None:
    assert kmer_frequencies(np.full((1, 10), 4, np.uint8), 2).sum() == 0
    assert kmer_frequencies(np.zeros((1, 2), np.uint8), 3).sum() == 0
    with pytest.raises(ValueError, match="k from 1"):
        kmer_frequencies(np.zeros((1, 2), np.uint8), 9)


@pytest.mark.parametrize("k", [1, 5, 7, 31])
def test_canonical_words_match_slow_words(k: int) -> None:
    codes = np.random.default_rng(k).choice(5, 400, p=[0.24] * 4 + [0.04]).astype(np.uint8)
    text = decode(codes).decode()
    slow = []
    for i in range(len(text) - k + 1):
        if "N" not in (word := text[i : i + k]):
            other = decode(reverse_complement(encode(word.encode()))).decode()
            slow.append(
                min(int(w.translate(str.maketrans("ACGT", "0123")), 4) for w in (word, other))
            )
    fast = canonical_words(codes | np.uint8(SOFT_MASK), k)
    assert fast.tolist() == slow
    assert np.sort(canonical_words(reverse_complement(codes), k)).tolist() == sorted(slow)


def test_canonical_words_refuse_even_k() -> None:
    with pytest.raises(ValueError, match="odd k"):
        canonical_words(np.zeros(40, np.uint8), 30)


@pytest.mark.parametrize("shorter", [1, 2, 3, 4, 5, 6])
def test_shorter_words_follow_from_longer_ones(shorter: int) -> None:
    codes = np.random.default_rng(0).choice(4, (3, 4096), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
    derived = kmer_frequencies(codes, 6) @ shorter_classes(6, shorter)
    np.testing.assert_allclose(derived.sum(axis=1), 1)
    np.testing.assert_allclose(derived, kmer_frequencies(codes, shorter), atol=6 / 4096)

"""Words of k bases: strand-symmetric frequencies as features, canonical words as fingerprints.

A word is a number in base 4, its first base most significant. Words with an N are left out; the
soft mask does not matter.

Letters: B windows, L bases, K classes of k-mers that are equal up to reverse complement.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import BASE_BITS, Codes, N

MAX_K = 8  # of frequencies: words fit 16 bits, classes a table
TWO_BITS = np.uint8(BASE_BITS & ~N)  # A C G T as they are; N becomes A, and is left out later
MAX_CANONICAL_K = 31  # words fit 64 bits; odd, so that no word is its own reverse complement


def canonical_classes(k: int) -> npt.NDArray[np.intp]:
    """The class, 0 ... K - 1, of each of the 4 ** k words (base 4, first base most significant)."""
    words = np.arange(4**k)
    rest, reverse = words.copy(), np.zeros_like(words)
    for _ in range(k):
        reverse = reverse * 4 + (3 - rest % 4)  # A C G T are 0 1 2 3: the complement is 3 - base
        rest //= 4
    return np.unique(np.minimum(words, reverse), return_inverse=True)[1]


def kmer_frequencies(codes: Codes, k: int) -> npt.NDArray[np.float64]:
    """Frequencies of k-mers, a word and its reverse complement counted as one.

    Args:
        codes: (B, L), soft-mask bit allowed; words with an N are left out.
        k: 1 to ``MAX_K``.

    Returns:
        (B, K); rows sum to 1, or to 0 where a window has no word without N.
    """
    classes = canonical_classes(k)
    n_classes = int(classes.max()) + 1
    counts = np.zeros((len(codes), n_classes))
    for row, window in zip(counts, codes, strict=True):
        row[:] = np.bincount(classes, weights=word_counts(window, k), minlength=n_classes)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def word_counts(window: Codes, k: int) -> npt.NDArray[np.int64]:
    """How often each of the 4 ** k words occurs in a window (L,), on its own strand.

    Args:
        window: soft-mask bit allowed; words with an N are left out.
        k: 1 to ``MAX_K``.
    """
    if not 1 <= k <= MAX_K:
        raise ValueError(f"expected k from 1 to {MAX_K}, got {k}")
    words = _join(window & TWO_BITS, k, np.uint16)[_known(window, k)]
    return np.bincount(words, minlength=4**k)


def canonical_words(codes: Codes, k: int) -> npt.NDArray[np.uint64]:
    """The smaller of each word and its reverse complement, in order of place, repeats included.

    Args:
        codes: (L,), soft-mask bit allowed; words with an N are left out.
        k: odd, 1 to ``MAX_CANONICAL_K``.
    """
    if not (1 <= k <= MAX_CANONICAL_K and k % 2):
        raise ValueError(f"expected an odd k from 1 to {MAX_CANONICAL_K}, got {k}")
    bases = codes & TWO_BITS
    forward = _join(bases, k, np.uint64)
    reverse = _join(bases[::-1] ^ TWO_BITS, k, np.uint64)[::-1]
    return np.minimum(forward, reverse)[_known(codes, k)]


def shorter_classes(k: int, shorter: int) -> npt.NDArray[np.float64]:
    """Takes frequencies of k-mers to shorter words': (B, K of k) @ this = (B, K of shorter).

    A word is counted by the k-mers that begin or, on the other strand, end with it. Fewer do so
    within k - shorter bases of a window's or an N's border: in a window of 1,024 bases the
    frequencies differ from those of a count of its own by less than a part in a hundred.
    """
    classes, classes_shorter = canonical_classes(k), canonical_classes(shorter)
    words = np.arange(4**k)
    shares = np.zeros((classes.max() + 1, classes_shorter.max() + 1))
    np.add.at(shares, (classes, classes_shorter[words >> 2 * (k - shorter)]), 1.0)
    return shares / shares.sum(axis=1, keepdims=True)


def _join(bases: Codes, k: int, dtype: type) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The word at each of the L - k + 1 places, by doubling: few passes, whatever k."""
    n_words = max(0, len(bases) - k + 1)
    joined = [bases.astype(dtype)]  # words of 1, 2, 4 ... bases
    while 2 ** len(joined) <= k:
        half, size = joined[-1], 2 ** (len(joined) - 1)
        joined.append(half[: max(0, len(half) - size)] << dtype(2 * size) | half[size:])
    words, offset = np.zeros(n_words, dtype=dtype), 0
    for power in reversed(range(len(joined))):
        if k >> power & 1:
            part = joined[power][offset : offset + n_words]
            words = words << dtype(2 * 2**power) | part if offset else part
            offset += 2**power
    return words


def _known(codes: Codes, k: int) -> npt.NDArray[np.bool_] | slice:
    """Which of the L - k + 1 words have no N."""
    n_before = np.flatnonzero(codes & N)  # of the codes of bases, N alone has this bit
    if not n_before.size:
        return slice(None)
    unknown = np.zeros(len(codes) + 1, dtype=np.int32)
    np.add.at(unknown, np.maximum(n_before - k + 1, 0), 1)
    np.add.at(unknown, n_before + 1, -1)
    return np.cumsum(unknown)[: max(0, len(codes) - k + 1)] == 0

"""Strand-symmetric k-mer frequencies: the plain features that a sequence model has to beat.

Letters: B windows, L bases, K classes of k-mers that are equal up to reverse complement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import BASE_BITS, Codes, N

MAX_K = 8


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
    if not 1 <= k <= MAX_K:
        raise ValueError(f"expected k from 1 to {MAX_K}, got {k}")
    classes = canonical_classes(k)
    n_classes = int(classes.max()) + 1
    counts = np.zeros((len(codes), n_classes))
    for row, window in zip(counts, codes, strict=True):
        row[:] = np.bincount(classes[_words(window, k)], minlength=n_classes)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _words(window: Codes, k: int) -> npt.NDArray[np.int64]:
    """The words of a window (L,) that have no N, as numbers."""
    bases = (window & BASE_BITS).astype(np.int64)
    n_words = max(0, len(bases) - k + 1)
    words = np.zeros(n_words, dtype=np.int64)
    known = np.ones(n_words, dtype=bool)
    for offset in range(k):
        part = bases[offset : offset + n_words]
        words = words * 4 + part
        known &= part != N
    return words[known]

"""Distributions over words of w = k + 1 bases, and the Markov source that each of them defines.

A word's number is its bases in base 4, first base most significant (ACGT = 0123). A distribution p
over words is the law of a stationary k-th order source if its left and right k-mer marginals agree.

Letters: S species, W = 4 ** (k + 1) words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


def word_length(n_words: int) -> int:
    """Bases in a word, from the number of words."""
    return (n_words.bit_length() - 1) // 2


def reverse_complement_words(length: int) -> Integers:
    """For every word of ``length`` bases the number of its reverse complement, (4 ** length,)."""
    words = np.arange(4**length)
    result = np.zeros_like(words)
    for _ in range(length):
        words, base = np.divmod(words, 4)
        result = result * 4 + (3 - base)
    return result


def left_marginal(p: Floats) -> Floats:
    """Probability of the first k bases, (..., W) -> (..., W / 4)."""
    return p.reshape(*p.shape[:-1], -1, 4).sum(-1)


def right_marginal(p: Floats) -> Floats:
    """Probability of the last k bases, (..., W) -> (..., W / 4)."""
    return p.reshape(*p.shape[:-1], 4, -1).sum(-2)


def conditional(p: Floats) -> Floats:
    """P(last base | the k bases before it), (..., W), in the order of the words."""
    return p / np.repeat(left_marginal(p), 4, axis=-1)


def kl_rates(p: Floats) -> Floats:
    """KL rate in nats a base of every source from every other, (S, W) -> (S, S).

    Row s, column t: sum over words of p_s(word) log(p_s(base | context) / p_t(base | context)).
    """
    log = np.log(conditional(p))
    own = (p * log).sum(1)
    return own[:, None] - p @ log.T

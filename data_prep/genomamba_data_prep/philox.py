"""Philox4x32-10, the counter-based generator of Salmon et al. 2011, over whole arrays of counters.

A counter-based generator is a pure function (counter, key) -> bits, so that example number i of a
data set can be drawn without drawing the i - 1 before it, on any worker, rank or restart.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the
constants are those of its Random123 library.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.errors import InputError

ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # golden ratio and sqrt(3) - 1, added to the key each round
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(
    counter: npt.NDArray[np.uint32], key: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint32]:
    """Random bits of each counter.

    Args:
        counter: shape (n, 4); counters that differ in any word give independent results.
        key: shape (2,).

    Returns:
        Uniform words, shape (n, 4).
    """
    c0, c1, c2, c3 = (counter[:, word].astype(np.uint64) for word in range(4))
    k0, k1 = (int(word) for word in key)
    for _ in range(ROUNDS):
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (right >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (left >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = right & _LOW, left & _LOW
        k0 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF
        k1 = (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def key_of(seed: int) -> npt.NDArray[np.uint32]:
    """The key of a seed, shape (2,): its low and its high 32 bits.

    Raises:
        InputError: the seed is not in [0, 2^64).
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"expected a seed in [0, 2^64), got {seed}")
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32)

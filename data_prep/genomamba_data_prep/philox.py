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
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
# Golden ratio and sqrt(3) - 1, added to the key each round.
_KEY_STEPS = np.arange(ROUNDS, dtype=np.uint64)[:, None] * np.array(
    [0x9E3779B9, 0xBB67AE85], dtype=np.uint64
)
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
    words = counter.T.astype(np.uint64)
    # The words that are multiplied, 0 and 2, and the others, 1 and 3, side by side: few array
    # operations, whose number is what a call for one counter takes.
    multiplied, others = words[0::2], words[1::2]
    keys = key.astype(np.uint64) + _KEY_STEPS & _LOW  # (rounds, 2)
    for round_key in keys:
        products = (multiplied * _MULTIPLIERS)[::-1]
        multiplied = (products >> _HALF) ^ others ^ round_key[:, None]
        others = products & _LOW
    words[0::2], words[1::2] = multiplied, others
    return words.T.astype(np.uint32, order="C")


def key_of(seed: int) -> npt.NDArray[np.uint32]:
    """The key of a seed, shape (2,): its low and its high 32 bits.

    Raises:
        InputError: the seed is not in [0, 2^64).
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"expected a seed in [0, 2^64), got {seed}")
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32)

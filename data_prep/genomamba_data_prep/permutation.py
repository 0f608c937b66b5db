"""A seeded permutation of 0 ... n - 1, computed element by element and never stored.

A Feistel network over pairs (x, y), 0 <= x, y < a with a = ceil(sqrt(n)): each round maps (x, y)
to (y, (x + F(y)) mod a), which can be undone whatever F is, so that the rounds together are a
bijection of the a^2 pairs. F is Philox (Luby & Rackoff 1988, SIAM J Comput 17:373: with a random F
four such rounds are a pseudorandom permutation). A result that is not below n goes through the
network again until it is (cycle walking, Black & Rogaway 2002, CT-RSA): at most 2 sqrt(n) + 1 of
the pairs are not below n, so that this is rare.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.philox import philox4x32

ROUNDS = 12  # with 6, pairs of positions in sets of five to ten are visibly uneven
# Beside a round's number in the counter's second word: no other stream of draws has this bit there.
_TAG = np.uint32(1 << 31)

Int64 = npt.NDArray[np.int64]


def permuted(
    position: Int64, n: int, key: npt.NDArray[np.uint32], epoch: Int64, stream: int
) -> Int64:
    """The elements at these positions of the permutations of these epochs.

    Args:
        position: int64 (B,), in [0, n).
        n: how many elements, 1 to 2^62.
        key: of the seed, shape (2,) (`philox.key_of`).
        epoch: int64 (B,), in [0, 2^32): each has a permutation of its own.
        stream: what it is for; each has permutations of its own.

    Returns:
        int64 (B,), in [0, n); over all positions of an epoch each value once.
    """
    side = isqrt(n - 1) + 1
    result = position.copy()
    pending = np.arange(len(position))
    while pending.size:
        x, y = np.divmod(result[pending], side)
        for number in range(ROUNDS):
            x, y = y, (x + _round(y, number, key, epoch[pending], stream) % side) % side
        result[pending] = x * side + y
        pending = pending[result[pending] >= n]
    return result


def _round(y: Int64, number: int, key: npt.NDArray[np.uint32], epoch: Int64, stream: int) -> Int64:
    counter = np.empty((len(y), 4), dtype=np.uint32)
    counter[:, 0] = y  # below 2^31: side is at most 2^31
    counter[:, 1] = _TAG | np.uint32(number)
    counter[:, 2] = epoch
    counter[:, 3] = stream
    words = philox4x32(counter, key).astype(np.int64)
    return words[:, 0] | (words[:, 1] & 0x3FFFFFFF) << 32

"""The stretches of a record that have no N."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes, N
from genomamba_data_prep.progress import Progress

Int64 = npt.NDArray[np.int64]

BLOCK = 1 << 20  # bases looked at together


def without_n(codes: Codes, progress: Progress) -> Int64:
    """The maximal stretches without N, shape (stretches, 2): first base and one past the last."""
    borders: list[Int64] = []
    inside = 0  # whether the base before the block is one of a stretch
    for at in range(0, len(codes), BLOCK):
        block = codes[at : at + BLOCK]
        is_base = ((block & N) == 0).view(np.int8)  # of the codes of bases, N alone has this bit
        borders.append(at + np.flatnonzero(np.diff(is_base, prepend=np.int8(inside))))
        inside = int(is_base[-1])
        progress.advance(len(block))
    if inside:
        borders.append(np.array([len(codes)]))
    return np.concatenate(borders).astype(np.int64).reshape(-1, 2)

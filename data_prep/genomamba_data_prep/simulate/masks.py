"""Runs of N and of lower case: where they lie says nothing about the species.

Runs and gaps have geometric lengths, so that the mask is a stationary two-state Markov chain and
any window of it has the same law.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import SOFT_MASK, Codes, N


class Runs(NamedTuple):
    """The law of a mask: the fraction of bases in runs, and the mean length of a run."""

    fraction: float
    mean_length: float

    def draw(self, rng: np.random.Generator, length: int) -> npt.NDArray[np.bool_]:
        """A mask of ``length`` bases."""
        if self.fraction <= 0:
            return np.zeros(length, dtype=bool)
        mean_gap = self.mean_length * (1 - self.fraction) / self.fraction
        inside = rng.random() < self.fraction
        lengths, total = [], 0
        while total < length:
            n = 16 + int(1.1 * (length - total) / (self.mean_length + mean_gap))
            pairs = np.stack(
                [rng.geometric(1 / mean_gap, n), rng.geometric(1 / self.mean_length, n)], 1
            )
            lengths.append(pairs[:, ::-1] if inside else pairs)
            total += int(pairs.sum())
        runs = np.concatenate(lengths)
        return np.repeat(np.tile([inside, not inside], len(runs)), runs.ravel())[:length]


def mask(codes: Codes, n_mask: npt.NDArray[np.bool_], soft_mask: npt.NDArray[np.bool_]) -> None:
    """Put lower case and then N into ``codes``, in place; N stays upper case."""
    codes |= soft_mask.view(np.uint8) * np.uint8(SOFT_MASK)
    codes[n_mask] = N

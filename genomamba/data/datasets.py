"""Map-style datasets that answer a whole batch of example numbers at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from genomamba.data.batch import NO_LABEL, Batch
from genomamba_data_prep.codes import Codes
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.window_reader import Int64
from genomamba_data_prep.windows import WindowSampler


class SampledWindows(Dataset[Batch]):
    """Windows of a counter-based sampler; every example number from 0 is valid.

    Args:
        sampler: draws the windows.
        labelled: labels are the species; otherwise ``NO_LABEL``.
    """

    def __init__(self, sampler: WindowSampler, *, labelled: bool) -> None:
        self.sampler = sampler
        self.labelled = labelled

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = np.array(indices, dtype=np.int64)
        windows = self.sampler.draw(index)
        labels = windows.species if self.labelled else np.full_like(index, NO_LABEL)
        return _batch(self.sampler.codes(windows), labels, index, windows.attempts)


class ManifestWindows(Dataset[Batch]):
    """The rows of a frozen manifest.

    Args:
        reader: reads the rows' windows.
        labelled: labels are the rows' labels; otherwise ``NO_LABEL``.
    """

    def __init__(self, reader: ManifestReader, *, labelled: bool) -> None:
        self.reader = reader
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.reader.labels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = np.array(indices, dtype=np.int64)
        labels = self.reader.labels[index] if self.labelled else np.full_like(index, NO_LABEL)
        return _batch(self.reader.codes(index), labels, index, np.zeros_like(index))


def as_drawn(batch: Any) -> Batch:
    """The loaders' collate function: a batch is made whole, nothing is left to collate."""
    return batch


def _batch(codes: Codes, labels: Int64, index: Int64, refused: Int64) -> Batch:
    return Batch(*(torch.from_numpy(array) for array in (codes, labels, index, refused)))

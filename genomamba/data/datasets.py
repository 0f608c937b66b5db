"""Map-style datasets that answer a whole batch of example numbers at once. B windows, L bases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch.utils.data import Dataset

from genomamba.data.batch import NO_LABEL, Batch
from genomamba.data.schedule import Schedule
from genomamba_data_prep.codes import Codes
from genomamba_data_prep.epoch_windows import EpochSampler
from genomamba_data_prep.manifest_windows import ManifestReader
from genomamba_data_prep.n_index import Int64
from genomamba_data_prep.windows import WindowSampler


class WindowDataset(Dataset[Batch]):
    """Windows by example number.

    Args:
        labelled: labels are the species; otherwise ``NO_LABEL``.
    """

    def __init__(self, *, labelled: bool) -> None:
        self.labelled = labelled

    def length_of(self, example: int) -> int:
        """The length in bases of an example's window."""
        raise NotImplementedError

    def _fill(self, index: Int64, codes: Codes) -> tuple[Int64, Int64]:
        """Write the examples' codes (B, L); returns their species and refused draws, (B,)."""
        raise NotImplementedError

    def fill(self, batch: Batch, examples: Sequence[int]) -> None:
        """Write these examples, all of one length, into a batch's tensors.

        Raises:
            InputError: a user's mistake in the data.
        """
        index = np.array(examples, dtype=np.int64)
        labels, refused = self._fill(index, batch.codes.numpy())
        batch.labels.numpy()[:] = labels if self.labelled else NO_LABEL
        batch.index.numpy()[:] = index
        batch.refused.numpy()[:] = refused

    def __getitem__(self, example: int) -> Batch:
        return self.__getitems__([example])

    def __getitems__(self, examples: Sequence[int]) -> Batch:
        batch = Batch.empty(len(examples), self.length_of(examples[0]))
        self.fill(batch, examples)
        return batch


class SampledWindows(WindowDataset):
    """Windows of counter-based samplers; every example number from 0 is valid.

    Args:
        schedule: the stages.
        sampler: makes the sampler of windows of a length in bases.
        labelled: labels are the species; otherwise ``NO_LABEL``.
    """

    def __init__(
        self,
        schedule: Schedule,
        sampler: Callable[[int], WindowSampler | EpochSampler],
        *,
        labelled: bool,
    ) -> None:
        super().__init__(labelled=labelled)
        self.schedule = schedule
        by_length = {length: sampler(length) for length in {s.length for s in schedule.stages}}
        self.samplers = [by_length[stage.length] for stage in schedule.stages]

    def length_of(self, example: int) -> int:
        return self.schedule.stages[self.schedule.of_example(example)].length

    def _fill(self, index: Int64, codes: Codes) -> tuple[Int64, Int64]:
        stage = self.schedule.of_example(int(index[0])) if len(index) else 0
        windows = self.samplers[stage].draw(index)
        self.samplers[stage].fill(codes, windows)
        return windows.species, windows.attempts


class ManifestWindows(WindowDataset):
    """The rows of a frozen manifest.

    Args:
        reader: reads the rows' windows.
        labelled: labels are the rows' labels; otherwise ``NO_LABEL``.
    """

    def __init__(self, reader: ManifestReader, *, labelled: bool) -> None:
        super().__init__(labelled=labelled)
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader.labels)

    def length_of(self, example: int) -> int:
        return self.reader.length

    def _fill(self, index: Int64, codes: Codes) -> tuple[Int64, Int64]:
        self.reader.fill(codes, index)
        return self.reader.labels[index], np.zeros_like(index)

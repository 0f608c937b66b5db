"""Reads a manifest's windows, and checks that none of them is trained on."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

import numpy as np

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.manifests import SIGNS, Manifest
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits
from genomamba_data_prep.window_reader import FORWARD, REVERSE, Int64, WindowReader


class ManifestReader:
    """Gathers a manifest's windows by row number. Pickles without the genomes.

    Attributes:
        labels: class of each row, int64.
        length: L, in bases.
    """

    def __init__(self, manifest: Manifest, species_set: SpeciesSet) -> None:
        columns = manifest.table.to_pydict()
        keys = list(zip(columns["species"], columns["record"], strict=True))
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self.labels = manifest.labels
        self._record = np.array([numbers[key] for key in keys], dtype=np.int64)
        self._start = manifest.table["start"].to_numpy()
        strands = np.array(columns["strand"])
        self._strand = np.where(strands == SIGNS[REVERSE], REVERSE, FORWARD).astype(np.int8)
        self.length = manifest.length
        self._reader = WindowReader(species_set, list(numbers))

    def codes(self, rows: Int64) -> Codes:
        """Codes of these rows on their strands, soft-mask bit included, shape (B, L)."""
        return self._reader.codes(
            self._record[rows], self._start[rows], self._strand[rows], self.length
        )

    def fill(self, out: Codes, rows: Int64) -> None:
        """Write what `codes` returns into ``out``, (B, L), C-contiguous."""
        self._reader.fill(out, self._record[rows], self._start[rows], self._strand[rows])


def check_held_out(manifest: Manifest, splits: Splits) -> None:
    """That no window overlaps a training interval, unless the manifest is of the train split.

    Raises:
        InputError: one does; the manifest was drawn with another splits file.
    """
    if manifest.origin.split == "train":
        return
    training: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for interval in splits.intervals("train"):
        training[interval.species, interval.record].append(interval)
    columns = (manifest.table[name].to_pylist() for name in ("species", "record", "start", "end"))
    for row, (species, record, start, end) in enumerate(zip(*columns, strict=True)):
        intervals = training[species, record]  # in order, without overlaps
        before = bisect_left(intervals, end, key=lambda interval: interval.start)
        if before and intervals[before - 1].end > start:
            raise InputError(
                f"the window in row {row}, {species} {record} {start}-{end}, overlaps the training "
                f"interval {intervals[before - 1].start}-{intervals[before - 1].end}",
                file=manifest.path,
                fix="Use the splits file that the manifest was drawn with, or draw it again",
            )

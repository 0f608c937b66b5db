"""Gathers windows of codes from the records of a species set, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import COMPLEMENT_BLOCK, Codes, N, reverse_complement
from genomamba_data_prep.species_set import SpeciesSet

Int64 = npt.NDArray[np.int64]

FORWARD, REVERSE = 1, -1


class WindowReader:
    """Gathers windows from the records of a species set. Pickles without the genomes.

    Args:
        species_set: the genomes.
        records: species and common name of each record that windows will name by number.
    """

    def __init__(self, species_set: SpeciesSet, records: Sequence[tuple[str, str]]) -> None:
        self._records = [
            (species_set.stores[species], species_set.records(species)[record])
            for species, record in records
        ]
        self._views: list[Codes] | None = None

    @property
    def views(self) -> list[Codes]:
        """Each record's codes, a view of its store's memory map."""
        if self._views is None:
            self._views = [store.codes(record) for store, record in self._records]
        return self._views

    def count_n(self, record: Int64, start: Int64, length: int) -> Int64:
        """N in each window, shape (B,)."""
        views = self.views
        counts = [
            # Of the codes of bases, N alone has this bit.
            np.count_nonzero(views[r][s : s + length] & N)
            for r, s in zip(record.tolist(), start.tolist(), strict=True)
        ]
        return np.array(counts, dtype=np.int64)

    def codes(
        self, record: Int64, start: Int64, strand: npt.NDArray[np.int8], length: int
    ) -> Codes:
        """The windows' codes on their strands, soft-mask bit included, shape (B, L)."""
        views = self.views
        codes = np.empty((len(record), length), dtype=np.uint8)
        for row, (r, s) in enumerate(zip(record.tolist(), start.tolist(), strict=True)):
            codes[row] = views[r][s : s + length]
        flipped = np.flatnonzero(strand == REVERSE)
        for rows in np.array_split(flipped, 1 + flipped.size * length // COMPLEMENT_BLOCK):
            codes[rows] = reverse_complement(codes[rows])  # few at once, to stay in the cache
        return codes

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": None}

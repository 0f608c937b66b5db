"""Gathers windows of codes from the records of a species set, many at once. B windows, L bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import COMPLEMENT_BLOCK, Codes, N, reverse_complement
from genomamba_data_prep.n_index import Int64
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.store import Store

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
        self._stores = list(species_set.stores.values())
        self._genome = np.array([species_set.classes.index(s) for s, _ in records], dtype=np.int64)
        self._offset = np.array(
            [store.records[record].offset for store, record in self._records], dtype=np.int64
        )
        self._views: list[Codes] | None = None

    @property
    def views(self) -> list[Codes]:
        """Each record's codes: a view of its store's memory map, or what fetches from a FASTA."""
        if self._views is None:
            self._views = [store.view(record) for store, record in self._records]
        return self._views

    def count_n(self, record: Int64, start: Int64, length: int) -> Int64:
        """N in each window, shape (B,)."""
        counts = np.empty(len(record), dtype=np.int64)
        for store, own in self._by_genome(record):
            if store.n_index is None:
                counts[own] = self._count_base_by_base(record[own], start[own], length)
            else:
                first = self._offset[record[own]] + start[own]
                counts[own] = store.n_index.count(first, first + length)
        return counts

    def _by_genome(self, record: Int64) -> Iterator[tuple[Store, Int64]]:
        """Each genome that has some of the windows, with the places of these."""
        genome = self._genome[record]
        for number, store in enumerate(self._stores):
            own = np.flatnonzero(genome == number)
            if own.size:
                yield store, own

    def _count_base_by_base(self, record: Int64, start: Int64, length: int) -> list[int]:
        places = zip(record.tolist(), start.tolist(), strict=True)
        # Of the codes of bases, N alone has this bit.
        return [int(np.count_nonzero(self.views[r][s : s + length] & N)) for r, s in places]

    def codes(
        self, record: Int64, start: Int64, strand: npt.NDArray[np.int8], length: int
    ) -> Codes:
        """The windows' codes on their strands, soft-mask bit included, shape (B, L)."""
        codes = np.empty((len(record), length), dtype=np.uint8)
        self.fill(codes, record, start, strand)
        return codes

    def fill(self, out: Codes, record: Int64, start: Int64, strand: npt.NDArray[np.int8]) -> None:
        """Write what `codes` returns into ``out``, (B, L), C-contiguous: no copy between."""
        views, length = self.views, out.shape[1]
        for store, own in self._by_genome(record):
            store.will_need((self._offset[record[own]] + start[own]).tolist(), length)
        places = zip(record.tolist(), start.tolist(), strict=True)
        if length >= COMPLEMENT_BLOCK:
            for row, (r, s), sign in zip(out, places, strand.tolist(), strict=True):
                window = views[r][s : s + length]
                if sign == REVERSE:
                    reverse_complement(window, row)
                else:
                    row[:] = window
            return
        for row, (r, s) in zip(out, places, strict=True):
            row[:] = views[r][s : s + length]
        # Short windows are turned many at once, but few enough to stay in the cache.
        flipped = np.flatnonzero(strand == REVERSE)
        for rows in np.array_split(flipped, 1 + flipped.size * length // COMPLEMENT_BLOCK):
            out[rows] = reverse_complement(out[rows])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": None}

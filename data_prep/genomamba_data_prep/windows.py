"""Windows drawn from splits: example i is a pure function of (seed, i).

The rule: a species, uniformly; one of its records, uniformly, or none in particular where records
weigh by their length; a start, uniform over the places where the window lies wholly inside one
interval; a strand. A window with too many N is refused and record and start are drawn again from
(seed, i, attempt); the species stays, so that refusals do not tilt the classes.

Letters: B windows, L length in bases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.philox import key_of, philox4x32
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.window_reader import FORWARD, REVERSE, Int64, WindowReader

MAX_ATTEMPTS = 1000  # a rule that refuses 98 % of the windows fails once in 10^8 examples


class Stream(IntEnum):
    """What the examples are for: a word of the counter, so that the streams are independent."""

    TRAINING = 0
    VALIDATION = 1
    TEST = 2
    MANIFEST = 3


class Windows(NamedTuple):
    """Drawn windows, one array (B,) a column.

    Attributes:
        species: the label, int64.
        interval: place in the sampler's ``intervals``, int64.
        start: first base in the record, from 0, int64.
        strand: ``FORWARD`` or ``REVERSE``, int8.
        attempts: draws that were refused before this one, int64; all for their N.
    """

    species: Int64
    interval: Int64
    start: Int64
    strand: npt.NDArray[np.int8]
    attempts: Int64


class WindowSampler:
    """Draws windows of one length from the intervals of one split.

    Args:
        species_set: the genomes; its order is the class order.
        intervals: where windows may lie, each window wholly inside one of them.
        length: L, in bases.
        seed: in [0, 2^64).
        weight_by_length: all starts of a species are equally likely; otherwise all records are,
            and then all starts in the record.
        max_n_fraction: windows with a greater fraction of N are refused; in [0, 1), so that a
            window of nothing but N never reaches a loss.
        reverse_complement: either strand with probability 1/2; otherwise the FASTA's.
        balanced: example i is of species i modulo their number, for evaluation with exactly
            equal classes; otherwise its species is drawn.
        stream: what the examples are for.

    Attributes:
        intervals: the intervals that can hold a window, ordered by class.
        dropped: intervals left aside, by reason.

    Raises:
        InputError: an impossible argument, or a species without an interval that is long enough.
    """

    def __init__(
        self,
        species_set: SpeciesSet,
        intervals: Sequence[Interval],
        length: int,
        *,
        seed: int,
        weight_by_length: bool = True,
        max_n_fraction: float = 0.1,
        reverse_complement: bool = True,
        balanced: bool = False,
        stream: Stream = Stream.TRAINING,
    ) -> None:
        if length < 1:
            raise InputError(f"expected a window length of at least 1, got {length}")
        if not 0 <= max_n_fraction < 1:
            raise InputError(
                f"expected max_n_fraction in [0, 1), got {max_n_fraction}",
                fix="A window of nothing but N has nothing to learn from or to be judged by",
            )
        self.species_set, self.length, self.seed = species_set, length, seed
        self.balanced, self.reverse_complement, self.stream = balanced, reverse_complement, stream
        self._key = key_of(seed)
        self.max_n_fraction = max_n_fraction
        self.dropped: Counter[str] = Counter()
        self.intervals = self._usable(intervals)
        self._index(weight_by_length)

    def _usable(self, intervals: Sequence[Interval]) -> list[Interval]:
        """The intervals that can hold a window, grouped by class and record."""
        usable: dict[str, dict[str, list[Interval]]] = {s: {} for s in self.species_set.classes}
        longest: dict[str, Interval] = {}
        for interval in intervals:
            species, record, start, end, _ = interval
            other = longest.setdefault(species, interval)
            if end - start > other.end - other.start:
                longest[species] = interval
            if end - start < self.length:
                self.dropped["shorter than the window"] += 1
            elif self._n_of(species, record) == self.species_set.length(species, record):
                self.dropped["in a record of N only"] += 1
            else:
                usable[species].setdefault(record, []).append(interval)
        for species, records in usable.items():
            if not records:
                raise self._too_long(species, longest.get(species))
        return [i for records in usable.values() for own in records.values() for i in own]

    def _too_long(self, species: str, longest: Interval | None) -> InputError:
        """The error that says that no window of a species fits anywhere."""
        records = self.species_set.records(species)
        record = max(records, key=lambda name: self.species_set.length(species, name))
        bases = self.species_set.length(species, record)
        if bases < self.length:
            found = f"its longest record is {record} with {bases} bases"
        elif longest is None:
            found = "the split has none of it"
        elif longest.end - longest.start >= self.length:
            found = "those that are long enough lie in records of N only"
        else:
            found = f"the longest is {longest.record} {longest.start}-{longest.end}, "
            found += f"{longest.end - longest.start} bases"
        return InputError(
            f"the species {species} has no interval of at least {self.length} bases to draw "
            f"windows from; {found}",
            file=self.species_set.path,
            fix="Use a shorter window, or give every species longer intervals",
        )

    def _n_of(self, species: str, record: str) -> int:
        name = self.species_set.records(species)[record]
        return self.species_set.stores[species].records[name].n

    def _index(self, weight_by_length: bool) -> None:
        """Number the starts of all intervals one after another.

        A group is what a start is drawn from: a species, or one record of it. Groups are runs of
        intervals; each species has a run of groups.
        """
        records = list(dict.fromkeys((i.species, i.record) for i in self.intervals))
        record_number = {record: number for number, record in enumerate(records)}
        self._reader = WindowReader(self.species_set, records)
        self._record = np.array([record_number[i.species, i.record] for i in self.intervals])
        self._has_n = np.array([self._n_of(*record) > 0 for record in records])
        self._start = np.array([i.start for i in self.intervals])
        starts = np.array([i.end - i.start - self.length + 1 for i in self.intervals])
        self._last = np.cumsum(starts)  # one past each interval's last start, numbered over all
        self._first = self._last - starts

        label = {species: number for number, species in enumerate(self.species_set.classes)}
        species = np.array([label[i.species] for i in self.intervals])
        group, at = np.unique(species if weight_by_length else self._record, return_index=True)
        self._group_size = np.add.reduceat(starts, at).astype(np.uint64)
        self._group_first = self._first[at]
        _, self._species_group, self._species_groups = np.unique(
            species[at], return_index=True, return_counts=True
        )
        assert len(group) == self._species_groups.sum()

    def draw(self, indices: npt.ArrayLike) -> Windows:
        """The windows of these example numbers, each independent of the others in the call.

        Args:
            indices: int64 (B,), from 0.

        Raises:
            InputError: an example was refused ``MAX_ATTEMPTS`` times.
        """
        indices = np.asarray(indices, dtype=np.int64)
        words = self._words(indices, 0)
        n_species = len(self.species_set.classes)
        # Bit 0 of the first word is the strand, the rest the species; the second word is the
        # record; the other two are the start. The modulo's bias is below 2^-29 for the species
        # and below 2^-30 for starts in a genome of up to 2^34 bases.
        species = indices % n_species if self.balanced else (words[:, 0] >> 1) % n_species
        species = species.astype(np.int64)
        reverse = (words[:, 0] & 1).astype(bool) & self.reverse_complement
        strand = np.where(reverse, REVERSE, FORWARD).astype(np.int8)
        interval, start, attempts = (np.zeros(len(indices), dtype=np.int64) for _ in range(3))
        pending = np.arange(len(indices))
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                words = self._words(indices[pending], attempt)
            interval[pending], start[pending] = self._place(species[pending], words)
            pending = pending[self._refused(interval[pending], start[pending])]
            if not pending.size:
                return Windows(species, interval, start, strand, attempts)
            attempts[pending] += 1
        raise self._hopeless(self.species_set.classes[species[pending[0]]])

    def codes(self, windows: Windows) -> Codes:
        """The windows' codes on their strands, soft-mask bit included, shape (B, L)."""
        record = self._record[windows.interval]
        return self._reader.codes(record, windows.start, windows.strand, self.length)

    def fill(self, out: Codes, windows: Windows) -> None:
        """Write what `codes` returns into ``out``, (B, L), C-contiguous."""
        self._reader.fill(out, self._record[windows.interval], windows.start, windows.strand)

    def _words(self, indices: Int64, attempt: int) -> npt.NDArray[np.uint32]:
        counter = np.empty((len(indices), 4), dtype=np.uint32)
        counter[:, 0] = indices & 0xFFFFFFFF
        counter[:, 1] = indices >> 32
        counter[:, 2] = attempt
        counter[:, 3] = self.stream
        return philox4x32(counter, self._key)

    def _place(self, species: Int64, words: npt.NDArray[np.uint32]) -> tuple[Int64, Int64]:
        """Interval and start of each window."""
        group = self._species_group[species] + words[:, 1] % self._species_groups[species]
        uniform = words[:, 2].astype(np.uint64) | words[:, 3].astype(np.uint64) << np.uint64(32)
        number = self._group_first[group] + (uniform % self._group_size[group]).astype(np.int64)
        interval = np.searchsorted(self._last, number, side="right")
        return interval, self._start[interval] + number - self._first[interval]

    def _refused(self, interval: Int64, start: Int64) -> npt.NDArray[np.bool_]:
        """Which windows have too many N. Records without any, as the store knows, are not read."""
        record = self._record[interval]
        refused = self._has_n[record]
        suspect = np.flatnonzero(refused)
        counts = self._reader.count_n(record[suspect], start[suspect], self.length)
        refused[suspect] = counts / self.length > self.max_n_fraction
        return refused

    def _hopeless(self, species: str) -> InputError:
        return InputError(
            f"{MAX_ATTEMPTS} windows of {self.length} bases in a row, drawn from {species}, had "
            f"more N than the fraction {self.max_n_fraction}",
            file=self.species_set.path,
            fix="Use intervals with fewer N, a shorter window or a greater max_n_fraction",
        )

"""Windows of a split as an epoch: each of them once, in a seeded order that is never stored.

The windows are those of the published pretraining sets (Nguyen et al. 2023, HyenaDNA; Schiff et al.
2024, Caduceus; intervals of Kelley 2020, Basenji2): an interval of the splits file that is at least
as long as the window is cut into windows from its start, 2^17 / L of them from an interval of 2^17
bases; a shorter one gives one window, extended on both sides around its middle. Published codes
extend over chromosome ends and into the intervals of other splits. Here each run of intervals of
one split owns its record up to the middle of the gap to the next run of another split, and a
window is shifted to lie wholly in what its run owns, or left out. So no base is in the windows of
two splits.

Letters: B windows, L length in bases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from genomamba_data_prep.codes import Codes
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.permutation import permuted
from genomamba_data_prep.philox import key_of, philox4x32
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval, Splits
from genomamba_data_prep.window_reader import FORWARD, REVERSE, WindowReader
from genomamba_data_prep.windows import Stream, Windows

Int64 = npt.NDArray[np.int64]

COUNTED_TOGETHER = 1 << 16  # windows


class EpochSampler:
    """Gives the windows of one split, all of them once before any comes again.

    Example i is window number i modulo their count, in the order of epoch i // count.

    Args:
        species_set: the genomes.
        splits: all splits: a window must keep clear of the other ones' intervals.
        split: whose windows.
        length: L, in bases.
        seed: in [0, 2^64).
        max_n_fraction: windows with a greater fraction of N are left out; in [0, 1).
        reverse_complement: either strand with probability 1/2, anew each epoch.
        stream: what the examples are for.

    Attributes:
        intervals: the rows of the splits file that give windows.
        dropped: what is left out, by reason, in the reason's own units.

    Raises:
        InputError: an impossible argument, or no window at all.
    """

    def __init__(
        self,
        species_set: SpeciesSet,
        splits: Splits,
        split: str,
        length: int,
        *,
        seed: int,
        max_n_fraction: float = 0.1,
        reverse_complement: bool = True,
        stream: Stream = Stream.TRAINING,
    ) -> None:
        if length < 1:
            raise InputError(f"expected a window length of at least 1, got {length}")
        if not 0 <= max_n_fraction < 1:
            raise InputError(f"expected max_n_fraction in [0, 1), got {max_n_fraction}")
        self.species_set, self.length, self.seed = species_set, length, seed
        self.reverse_complement, self.stream = reverse_complement, stream
        self._key = key_of(seed)
        self.dropped: Counter[str] = Counter()
        own, starts, counts = self._tiles(splits.rows(), split)
        self.intervals = own
        self._start = starts
        self._last = np.cumsum(counts)  # one past each row's last window, numbered over all
        self._first = self._last - counts
        records = list(dict.fromkeys((row.species, row.record) for row in own))
        number = {record: place for place, record in enumerate(records)}
        self._record = np.array([number[row.species, row.record] for row in own], dtype=np.int64)
        label = {species: place for place, species in enumerate(species_set.classes)}
        self._label = np.array([label[row.species] for row in own], dtype=np.int64)
        self._reader = WindowReader(species_set, records)
        refused = self._with_too_many_n(max_n_fraction)
        # How many windows are kept before each that is left out; compact, and quick to search.
        self._kept_before = refused - np.arange(len(refused))
        if not len(self):
            raise self._nothing(splits, split)

    def __len__(self) -> int:
        """Windows an epoch."""
        return int(self._last[-1] if len(self._last) else 0) - len(self._kept_before)

    def draw(self, indices: npt.ArrayLike) -> Windows:
        """The windows of these example numbers, each independent of the others in the call.

        Args:
            indices: int64 (B,), from 0.
        """
        indices = np.asarray(indices, dtype=np.int64)
        epoch, position = np.divmod(indices, len(self))
        number = self._kept(permuted(position, len(self), self._key, epoch, self.stream))
        row, start = self._place(number)
        reverse = self._coins(indices) & self.reverse_complement
        strand = np.where(reverse, REVERSE, FORWARD).astype(np.int8)
        return Windows(self._label[row], row, start, strand, np.zeros_like(indices))

    def codes(self, windows: Windows) -> Codes:
        """The windows' codes on their strands, soft-mask bit included, shape (B, L)."""
        codes = np.empty((len(windows.start), self.length), dtype=np.uint8)
        self.fill(codes, windows)
        return codes

    def fill(self, out: Codes, windows: Windows) -> None:
        """Write what `codes` returns into ``out``, (B, L), C-contiguous."""
        self._reader.fill(out, self._record[windows.interval], windows.start, windows.strand)

    def _tiles(self, rows: Sequence[Interval], split: str) -> tuple[list[Interval], Int64, Int64]:
        """The split's rows that give windows, the start of each one's first and their count."""
        own, starts, counts = [], [], []
        taken: set[tuple[str, str, int]] = set()
        for row, low, high in owned(rows, self.species_set):
            if row.split != split:
                continue
            count, rest = divmod(row.end - row.start, self.length)
            start = row.start
            if not count:
                if high - low < self.length:
                    self.dropped["interval(s) that cannot be extended to the window"] += 1
                    continue
                middle = (row.start + row.end - self.length) // 2
                start = min(max(middle, low), high - self.length)
                count, rest = 1, 0
                if (row.species, row.record, start) in taken:
                    self.dropped["interval(s) with the same window as another one's"] += 1
                    continue
                taken.add((row.species, row.record, start))
            if rest:
                self.dropped["base(s) at interval ends, less than a window"] += rest
            own.append(row)
            starts.append(start)
            counts.append(count)
        return own, np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64)

    def _with_too_many_n(self, max_n_fraction: float) -> Int64:
        """Numbers of the windows that are left out for their N, ascending."""
        refused = [np.empty(0, dtype=np.int64)]
        total = int(self._last[-1]) if len(self._last) else 0
        for begin in range(0, total, COUNTED_TOGETHER):
            number = np.arange(begin, min(begin + COUNTED_TOGETHER, total))
            row, start = self._place(number)
            found = self._reader.count_n(self._record[row], start, self.length)
            refused.append(number[found / self.length > max_n_fraction])
        numbers = np.concatenate(refused)
        if len(numbers):
            self.dropped["window(s) with too many N"] = len(numbers)
        return numbers

    def _place(self, number: Int64) -> tuple[Int64, Int64]:
        """Row and start of the windows of these numbers."""
        row = np.searchsorted(self._last, number, side="right")
        return row, self._start[row] + (number - self._first[row]) * self.length

    def _kept(self, place: Int64) -> Int64:
        """Number of the window at each place among those that are not left out."""
        return place + np.searchsorted(self._kept_before, place, side="right")

    def _coins(self, indices: Int64) -> npt.NDArray[np.bool_]:
        counter = np.zeros((len(indices), 4), dtype=np.uint32)
        counter[:, 0] = indices & 0xFFFFFFFF
        counter[:, 1] = indices >> 32
        counter[:, 3] = self.stream
        return (philox4x32(counter, self._key)[:, 0] & 1).astype(bool)

    def _nothing(self, splits: Splits, split: str) -> InputError:
        left_out = "; ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        return InputError(
            f"the {split} split gives no window of {self.length} bases"
            + (f": {left_out}" if left_out else "; it has no intervals"),
            file=splits.file or self.species_set.path,
            fix="Use a shorter window or other intervals",
        )


def owned(rows: Sequence[Interval], species_set: SpeciesSet) -> list[tuple[Interval, int, int]]:
    """Each row with the part of its record that the windows of its run of rows may take.

    Args:
        rows: ordered by species and record, then by start; rows of different splits do not overlap.
        species_set: the genomes.

    Returns:
        Row, first base, one past the last base.
    """
    result: list[tuple[Interval, int, int]] = []
    run: list[Interval] = []  # consecutive rows of one split in one record
    low = reach = 0  # where the run's part begins, and where its rows end
    for row in rows:
        if run and row[:2] != run[0][:2]:
            length = species_set.length(*run[0][:2])
            result += [(member, low, length) for member in run]
            run, low, reach = [], 0, 0
        elif run and row.split != run[0].split:
            middle = (reach + row.start) // 2
            result += [(member, low, middle) for member in run]
            run, low = [], middle
        run.append(row)
        reach = max(reach, row.end)
    if run:
        length = species_set.length(*run[0][:2])
        result += [(member, low, length) for member in run]
    return result

"""Which part of each genome trains, validates and tests.

The splits file is a TSV with the columns species, record (common name), start, end, split; 0-based,
half-open; split is train, valid or test. What no row names is left out. No base is in two rows, and
a record is on the same sides in every species that has it in a split: homologous sequence under
one name must not train in one species and test in another.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.species_set import SpeciesSet, nearest
from genomamba_data_prep.tables import read_integer, read_table

SPLITS = ("train", "valid", "test")
COLUMNS = ("species", "record", "start", "end", "split")


class Interval(NamedTuple):
    """Bases ``start`` to ``end`` of a record, given by its common name, and their split."""

    species: str
    record: str
    start: int
    end: int
    split: str


class Splits:
    """Checked intervals, ordered by class, record and start.

    Attributes:
        digest: SHA-256 over the intervals.

    Raises:
        InputError: see `check`.
    """

    def __init__(
        self, species_set: SpeciesSet, intervals: Iterable[Interval], file: Path | None = None
    ) -> None:
        ranks = {
            (species, record): (label, rank)
            for label, species in enumerate(species_set.classes)
            for rank, record in enumerate(species_set.records(species))
        }
        intervals = list(intervals)
        check(intervals, file=file)
        intervals.sort(key=lambda i: (*ranks[i.species, i.record], i.start))
        self._intervals = intervals
        self.digest = hashlib.sha256(self.text().encode()).hexdigest()

    def intervals(self, split: str | None = None) -> tuple[Interval, ...]:
        """The intervals of one split, or of all."""
        return tuple(i for i in self._intervals if split in (i.split, None))

    def text(self) -> str:
        """The splits file's content."""
        rows = [COLUMNS, *self._intervals]
        return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def read(path: str | Path, species_set: SpeciesSet) -> Splits:
    """Read and check a splits file.

    Raises:
        InputError: a damaged table, an unknown species, record or split, an interval that is empty
            or outside its record, a base in two rows, a record on different sides in two species.
    """
    path = Path(path)
    intervals = []
    for line, row in read_table(path, COLUMNS):
        start = read_integer(row["start"], "start", file=path, line=line)
        end = read_integer(row["end"], "end", file=path, line=line)
        interval = Interval(row["species"], row["record"], start, end, row["split"])
        check_interval(interval, species_set, file=path, line=line)
        intervals.append(interval)
    return Splits(species_set, intervals, path)


def check_interval(
    interval: Interval,
    species_set: SpeciesSet,
    *,
    file: Path | None = None,
    line: int | None = None,
) -> None:
    """That the interval is one: known species, record and split, not empty, within the record."""
    species, record, start, end, split = interval
    if species not in species_set.classes:
        raise InputError(
            f"{species_set.path} has no species {species!r}",
            file=file,
            line=line,
            fix=nearest(species, species_set.stores),
        )
    records = species_set.records(species)
    if record not in records:
        raise InputError(
            f"the species {species} has no record {record!r}",
            file=file,
            line=line,
            fix=nearest(record, records),
        )
    length = species_set.length(species, record)
    if not start < end <= length:
        raise InputError(
            f"expected start < end <= {length}, the length of {species} {record}; got start "
            f"{start}, end {end}",
            file=file,
            line=line,
        )
    if split not in SPLITS:
        raise InputError(f"expected train, valid or test, got {split!r}", file=file, line=line)


def check(intervals: Sequence[Interval], *, file: Path | None = None) -> None:
    """That no base is in two intervals and that a record's sides agree between species.

    Raises:
        InputError: they do not.
    """
    ordered = sorted(intervals)
    for left, right in pairwise(ordered):
        if left[:2] == right[:2] and right.start < left.end:
            raise InputError(
                f"{left.species} {left.record}: {left.start}-{left.end} ({left.split}) and "
                f"{right.start}-{right.end} ({right.split}) overlap; a base must be in one "
                "interval only",
                file=file,
            )
    sides: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for interval in intervals:
        sides[interval.record][interval.species].add(interval.split)
    for record, by_species in sides.items():
        (first, expected), *others = by_species.items()
        for species, found in others:
            if found != expected:
                raise InputError(
                    f"{record} is in {_list(expected)} in {first}, but in {_list(found)} in "
                    f"{species}; one name must be on the same side in all species",
                    file=file,
                    fix="Change the split, or, if these records are not homologous, their common "
                    "names (record_names in the species set)",
                )


def _list(splits: set[str]) -> str:
    return " and ".join(split for split in SPLITS if split in splits)


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Join overlapping intervals of one split; those that only touch stay apart."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: (i.species, i.record, i.split, i.start)):
        last = merged[-1] if merged else None
        same = last and (*last[:2], last.split) == (*interval[:2], interval.split)
        if last and same and interval.start < last.end:
            merged[-1] = last._replace(end=max(last.end, interval.end))
        else:
            merged.append(interval)
    return merged


def left_out(splits: Splits, species_set: SpeciesSet) -> Counter[str]:
    """Records of each species that are in no split."""
    named = {interval[:2] for interval in splits.intervals()}
    return Counter(
        species
        for species in species_set.classes
        for record in species_set.records(species)
        if (species, record) not in named
    )

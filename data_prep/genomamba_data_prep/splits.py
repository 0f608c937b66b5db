"""Which part of each genome trains, validates and tests.

The splits file is a TSV with the columns species, record (common name), start, end, split; 0-based,
half-open; split is train, valid or test. What no row names is left out. No base is in two splits;
rows of one split may overlap, as the published intervals of pretraining sets do. A record is on the
same sides in every species that has it in a split: homologous sequence under one name must not
train in one species and test in another.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.naming import naming_fix
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
        digest: SHA-256 over the rows.
        file: where they were read, if they were.

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
        intervals.sort(key=lambda i: (*ranks[i.species, i.record], i.start, i.end))
        self.file = file
        self._rows = tuple(intervals)
        self._intervals = _joined(intervals)
        self.digest = hashlib.sha256(self.text().encode()).hexdigest()

    def intervals(self, split: str | None = None) -> tuple[Interval, ...]:
        """The intervals of one split, or of all: rows that overlap are joined to one."""
        return tuple(i for i in self._intervals if split in (i.split, None))

    def rows(self) -> tuple[Interval, ...]:
        """The rows as they are given, which may overlap within a split."""
        return self._rows

    def text(self) -> str:
        """The splits file's content."""
        rows = [COLUMNS, *self._rows]
        return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def read(path: str | Path, species_set: SpeciesSet) -> Splits:
    """Read and check a splits file.

    Raises:
        InputError: a damaged table, an unknown species, record or split, an interval that is empty
            or outside its record, a base in two splits, a record on different sides in two species.
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
            fix=naming_fix(record, records) or nearest(record, records),
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
    """That no base is in two splits and that a record's sides agree between species.

    Raises:
        InputError: they do not.
    """
    furthest: dict[str, Interval] = {}  # by split, of the current record
    for row in sorted(intervals):
        furthest = {s: other for s, other in furthest.items() if other[:2] == row[:2]}
        for split, other in furthest.items():
            if split != row.split and row.start < other.end:
                raise InputError(
                    f"{row.species} {row.record}: {other.start}-{other.end} ({split}) and "
                    f"{row.start}-{row.end} ({row.split}) overlap; a base must be in one "
                    "split only",
                    file=file,
                )
        last = furthest.get(row.split)
        if last is None or row.end > last.end:
            furthest[row.split] = row
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


def _joined(rows: Iterable[Interval]) -> tuple[Interval, ...]:
    """Join overlapping rows of one split, given by record and start; those that touch stay two."""
    joined: list[Interval] = []
    for row in rows:
        last = joined[-1] if joined else None
        if last and (*last[:2], last.split) == (*row[:2], row.split) and row.start < last.end:
            joined[-1] = last._replace(end=max(last.end, row.end))
        else:
            joined.append(row)
    return tuple(joined)


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Join overlapping intervals of one split; those that only touch stay apart."""
    return list(_joined(sorted(intervals, key=lambda i: (i.species, i.record, i.split, i.start))))


def left_out(splits: Splits, species_set: SpeciesSet) -> Counter[str]:
    """Records of each species that are in no split."""
    named = {interval[:2] for interval in splits.intervals()}
    return Counter(
        species
        for species in species_set.classes
        for record in species_set.records(species)
        if (species, record) not in named
    )

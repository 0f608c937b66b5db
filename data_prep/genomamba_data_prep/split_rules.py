"""Three ways to make splits: named records, seeded fractions, BED intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genomamba_data_prep.errors import InputError
from genomamba_data_prep.naming import naming_fix, other_style
from genomamba_data_prep.philox import key_of, philox4x32
from genomamba_data_prep.species_set import SpeciesSet, nearest
from genomamba_data_prep.splits import SPLITS, Interval, check_interval, merge
from genomamba_data_prep.tables import read_integer, read_lines


def by_names(species_set: SpeciesSet, names: Mapping[str, Sequence[str]]) -> list[Interval]:
    """Whole records by name, in every species that has them.

    Args:
        species_set: the genomes.
        names: the records' common names by split.

    Raises:
        InputError: a name that no species has, or one that is in two splits.
    """
    side: dict[str, str] = {}
    known = _names(species_set)
    for split in SPLITS:
        for name in names.get(split, ()):
            if name not in known:
                other = other_style(name, known)
                raise InputError(
                    f"--{split} names the record {name!r}, which is in no species of "
                    f"{species_set.path}",
                    fix=f"Did you mean {other}?" if other else nearest(name, known),
                )
            if name in side:
                raise InputError(f"the record {name!r} is in {side[name]} and in {split}")
            side[name] = split
    return _whole_records(species_set, side)


def by_fractions(
    species_set: SpeciesSet, fractions: Sequence[float], seed: int, *, within_records: bool = False
) -> list[Interval]:
    """About these fractions of the bases, as whole records or as pieces of every record.

    Whole records: the names are shuffled by the seed; each split with a fraction gets one, then
    each further record goes where most bases are missing. Pieces: every record is cut in the order
    train, valid, test; for genomes of one record, such as mitochondria.

    Args:
        species_set: the genomes.
        fractions: train, valid, test; their sum is 1.
        seed: in [0, 2^64).
        within_records: cut records instead of assigning them whole.

    Raises:
        InputError: fractions that are none, or fewer records than splits.
    """
    total = sum(fractions)
    if len(fractions) != 3 or not all(f >= 0 for f in fractions) or abs(total - 1) > 1e-6:
        raise InputError(f"expected three fractions with the sum 1, got {list(fractions)}")
    if within_records:
        return _pieces(species_set, fractions)
    bases = _names(species_set)
    order = np.array(sorted(bases))
    counters = np.zeros((len(order), 4), dtype=np.uint32)
    counters[:, 0] = np.arange(len(order))
    shuffled = order[np.argsort(philox4x32(counters, key_of(seed))[:, 0], kind="stable")].tolist()
    wanted = [split for split, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0]
    if len(shuffled) < len(wanted):
        raise InputError(
            f"{species_set.path} has {len(shuffled)} record(s), too few for {len(wanted)} splits",
            fix="Cut every record instead: --within-records",
        )
    missing = {s: f * sum(bases.values()) for s, f in zip(SPLITS, fractions, strict=True)}
    side = {}
    for number, name in enumerate(shuffled):
        neediest = max(wanted, key=lambda split: missing[split])
        side[name] = wanted[number] if number < len(wanted) else neediest
        missing[side[name]] -= bases[name]
    return _whole_records(species_set, side)


def by_bed(
    species_set: SpeciesSet,
    path: Path,
    species: str | None = None,
    *,
    rename: bool = False,
    joined: bool = True,
) -> list[Interval]:
    """Intervals of a BED file with the split in the fourth column.

    Basenji2's `sequences_human.bed` is one: 38,171 intervals of 131,072 bp of hg38, 34,021 train,
    2,213 valid and 1,937 test, which overlap within their split (Kelley 2020; the file is not in
    order). Its folds are named train, valid and test; Borzoi's fold0 ... fold7 are refused.

    Args:
        species_set: the genomes; the BED's first column is a common name.
        path: the BED file; lines that begin with #, track or browser are skipped.
        species: whose coordinates these are; None for those of every species that has the record.
        rename: take chr1 for 1, and 1 for chr1, where only the other is known.
        joined: make one interval of those that overlap; otherwise they stay as they are.

    Raises:
        InputError: not such a BED, an unknown species, record or split, an interval that is empty
            or outside its record.
    """
    if species is not None and species not in species_set.classes:
        raise InputError(
            f"the intervals are of the species {species!r}, which {species_set.path} has not",
            fix=nearest(species, species_set.stores),
        )
    candidates = species_set.classes if species is None else (species,)
    known = {name: None for owner in candidates for name in species_set.records(owner)}
    intervals = []
    for line, fields in read_lines(path):
        if fields[0].startswith("#") or fields[0].split(" ")[0] in ("track", "browser"):
            continue
        if len(fields) < 4:
            raise InputError(
                "expected the tab-separated columns record, start, end, split", file=path, line=line
            )
        record, split = fields[0], fields[3]
        if rename and record not in known:
            record = other_style(record, known) or record
        start = read_integer(fields[1], "start", file=path, line=line)
        end = read_integer(fields[2], "end", file=path, line=line)
        having = [name for name in candidates if record in species_set.records(name)]
        if not having:
            raise InputError(
                f"no species of {species_set.path} has a record {record!r}"
                if species is None
                else f"the species {species} has no record {record!r}",
                file=path,
                line=line,
                fix=naming_fix(record, known) or nearest(record, known),
            )
        for name in having:
            interval = Interval(name, record, start, end, split)
            check_interval(interval, species_set, file=path, line=line)
            intervals.append(interval)
    if not intervals:
        raise InputError("no intervals", file=path)
    return merge(intervals) if joined else intervals


def _names(species_set: SpeciesSet) -> dict[str, int]:
    """Bases under each common name, summed over the species that have it."""
    bases: dict[str, int] = {}
    for species in species_set.classes:
        for record in species_set.records(species):
            bases[record] = bases.get(record, 0) + species_set.length(species, record)
    return bases


def _whole_records(species_set: SpeciesSet, side: Mapping[str, str]) -> list[Interval]:
    return [
        Interval(species, record, 0, species_set.length(species, record), side[record])
        for species in species_set.classes
        for record in species_set.records(species)
        if record in side
    ]


def _pieces(species_set: SpeciesSet, fractions: Sequence[float]) -> list[Interval]:
    borders = np.round(np.cumsum([0.0, *fractions]), 12)
    intervals = []
    for species in species_set.classes:
        for record in species_set.records(species):
            cuts = (borders * species_set.length(species, record)).astype(int).tolist()
            for split, start, end in zip(SPLITS, cuts, cuts[1:], strict=False):
                if start < end:
                    intervals.append(Interval(species, record, start, end, split))
    return intervals

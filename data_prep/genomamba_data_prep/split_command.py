"""Assign each species' records, or BED intervals, to train, valid and test.

Whole records by name:      --train chr1,chr2 --valid chr3 --test chr4
Whole records by a seed:    --fractions 0.8,0.1,0.1 --seed 1
Pieces of every record:     --fractions 0.6,0.2,0.2 --within-records
BED, split in column four:  --bed FILE, or --bed SPECIES=FILE for each species

Record names are the species set's common names. A name is on the same side in every species, and
no base is in two splits. What is left out is counted on stderr.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.splits import Interval, Splits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("set", metavar="SET_OR_STORE", help="a species set's TSV or a store")
    parser.add_argument("--output", required=True, metavar="TSV", help="the splits file to write")
    for split in ("train", "valid", "test"):
        parser.add_argument(f"--{split}", metavar="NAME,...", help=f"records of the {split} split")
    parser.add_argument(
        "--fractions", metavar="TRAIN,VALID,TEST", help="share of the bases; the sum is 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="of --fractions (default 0)")
    parser.add_argument(
        "--within-records", action="store_true", help="--fractions cut every record in pieces"
    )
    parser.add_argument(
        "--bed", action="append", metavar="[SPECIES=]FILE", help="intervals; repeatable"
    )
    parser.add_argument("--force", action="store_true", help="replace a splits file that differs")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    from genomamba_data_prep.frozen import write_once
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.splits import Splits

    species_set = SpeciesSet.open(args.set)
    splits = Splits(species_set, _intervals(args, species_set))
    written = write_once(args.output, splits.text().encode(), force=args.force)
    _report(splits, species_set)
    print(f"{args.output}: {'written' if written else 'already up to date'}", file=sys.stderr)
    return 0


def _intervals(args: argparse.Namespace, species_set: SpeciesSet) -> list[Interval]:
    from pathlib import Path

    from genomamba_data_prep import split_rules
    from genomamba_data_prep.errors import InputError

    named = any((args.train, args.valid, args.test))
    if named + bool(args.fractions) + bool(args.bed) != 1:
        raise InputError("expected one of --train/--valid/--test, --fractions and --bed")
    if args.fractions:
        try:
            fractions = [float(field) for field in args.fractions.split(",")]
        except ValueError:
            raise InputError(
                f"expected --fractions like 0.8,0.1,0.1, got {args.fractions!r}"
            ) from None
        return split_rules.by_fractions(
            species_set, fractions, args.seed, within_records=args.within_records
        )
    if args.bed:
        intervals = []
        for item in args.bed:
            species, separator, path = item.partition("=")
            intervals += split_rules.by_bed(
                species_set, Path(path if separator else item), species if separator else None
            )
        return intervals
    lists = {split: getattr(args, split) or "" for split in ("train", "valid", "test")}
    names = {split: [name for name in text.split(",") if name] for split, text in lists.items()}
    return split_rules.by_names(species_set, names)


def _report(splits: Splits, species_set: SpeciesSet) -> None:
    """Bases, intervals and records of each split and species, and what is left out."""
    from genomamba_data_prep.splits import SPLITS, left_out

    for split in SPLITS:
        intervals = splits.intervals(split)
        for species in species_set.classes:
            own = [i for i in intervals if i.species == species]
            if own:
                records = len({i.record for i in own})
                bases = sum(i.end - i.start for i in own)
                print(
                    f"{split:<5} {species}: {bases:,} bases in {len(own)} interval(s) of "
                    f"{records} record(s)",
                    file=sys.stderr,
                )
    for species, count in left_out(splits, species_set).items():
        total = len(species_set.records(species))
        print(f"left out: {count} of {total} record(s) of {species}", file=sys.stderr)

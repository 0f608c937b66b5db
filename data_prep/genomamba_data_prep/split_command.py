"""Assign each species' records, or intervals, to train, valid and test.

Whole records by name:      --train chr1,chr2 --valid chr3 --test chr4
Whole records by a seed:    --fractions 0.8,0.1,0.1 --seed 1
Pieces of every record:     --fractions 0.6,0.2,0.2 --within-records
BED, split in column four:  --bed FILE, or --bed SPECIES=FILE for each species
Basenji's intervals:        --intervals sequences_human.bed, as --bed, but overlaps are kept
Chromosomes without their N: --by-chromosome --valid chr13 [--test chr14,chrX]
HyenaDNA's species task:    --protocol hyenadna [--valid 1,3,12,13] [--test 5,7,9,10,11]

Record names are the species set's common names. A name is on the same side in every species, and
no base is in two splits. With --by-chromosome and --protocol, what is neither valid nor test and
has a chromosome's name trains; 2A and 2B go with 2. What is left out is counted on stderr.
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
    parser.add_argument(
        "--intervals",
        action="append",
        metavar="[SPECIES=]FILE",
        help="the same, but intervals of one split that overlap stay as they are; repeatable",
    )
    parser.add_argument(
        "--rename",
        action="store_true",
        help="in --bed and --intervals take chr1 for 1 and 1 for chr1",
    )
    parser.add_argument(
        "--by-chromosome",
        action="store_true",
        help="stretches without N; --test is chr14,chrX unless given, --valid must be",
    )
    parser.add_argument("--protocol", choices=("hyenadna",), help="a published split")
    parser.add_argument("--force", action="store_true", help="replace a splits file that differs")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    from genomamba_data_prep.frozen import write_once
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.split_protocols import numbering_note
    from genomamba_data_prep.splits import Splits

    species_set = SpeciesSet.open(args.set)
    splits = Splits(species_set, _intervals(args, species_set))
    written = write_once(args.output, splits.text().encode(), force=args.force)
    note = numbering_note(species_set) if args.protocol else None
    if note:
        print(note, file=sys.stderr)
    _report(splits, species_set)
    print(f"{args.output}: {'written' if written else 'already up to date'}", file=sys.stderr)
    return 0


def _intervals(args: argparse.Namespace, species_set: SpeciesSet) -> list[Interval]:
    from pathlib import Path

    from genomamba_data_prep import split_rules
    from genomamba_data_prep.errors import InputError

    by_rule = args.by_chromosome or args.protocol
    named = any((args.train, args.valid, args.test)) and not by_rule
    chosen = (named, args.fractions, args.bed or args.intervals, args.by_chromosome, args.protocol)
    if sum(map(bool, chosen)) != 1:
        raise InputError(
            "expected one of --train/--valid/--test, --fractions, --bed or --intervals, "
            "--by-chromosome and --protocol"
        )
    if args.within_records and not args.fractions:
        raise InputError("--within-records is for --fractions: what share of each record?")
    if args.rename and not (args.bed or args.intervals):
        raise InputError("--rename is for the names in --bed and --intervals")
    lists = {split: _names(getattr(args, split)) for split in ("train", "valid", "test")}
    if by_rule:
        return _by_rule(args, lists, species_set)
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
    intervals = []
    for joined, items in ((True, args.bed or []), (False, args.intervals or [])):
        for item in items:
            species, separator, path = item.partition("=")
            if not (joined or separator or len(species_set.classes) == 1):
                raise InputError(
                    f"--intervals {item}: published intervals are the coordinates of one genome",
                    fix=f"Say of which: --intervals SPECIES={item}",
                )
            intervals += split_rules.by_bed(
                species_set,
                Path(path if separator else item),
                species if separator else None,
                rename=args.rename,
                joined=joined,
            )
    return intervals or split_rules.by_names(species_set, lists)


def _by_rule(
    args: argparse.Namespace, lists: dict[str, list[str]], species_set: SpeciesSet
) -> list[Interval]:
    """Chromosomes held out, the others train."""
    from genomamba_data_prep import split_protocols
    from genomamba_data_prep.errors import InputError

    if lists["train"]:
        raise InputError("--train: with --by-chromosome and --protocol the other chromosomes train")
    if args.protocol:
        held_out = {s: lists[s] or names for s, names in split_protocols.HYENADNA.items()}
        return split_protocols.by_held_out(species_set, held_out)
    if not lists["valid"]:
        raise InputError("--by-chromosome needs the validation chromosomes: --valid NAME,...")
    held_out = {"valid": lists["valid"], "test": lists["test"] or split_protocols.PRETRAINING_TEST}
    return split_protocols.by_held_out(species_set, held_out, without_n_only=True)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


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
    owner: dict[str, str] = {}
    for species, store in species_set.stores.items():
        other = owner.setdefault(store.digest, species)
        if other != species:
            print(
                f"note: {other} and {species} are the same sequences: {store.path}", file=sys.stderr
            )
    owners: dict[str, set[str]] = {}
    for row in splits.rows():
        owners.setdefault(row.record, set()).add(row.species)
    alone = sum(len(species) == 1 for species in owners.values())
    if alone and len(species_set.classes) > 1:
        print(
            f"note: {alone} of {len(owners)} record names are of one species only; homologous "
            "sequence under different names may be on different sides (record_names in the set)",
            file=sys.stderr,
        )
    for species, count in left_out(splits, species_set).items():
        total = len(species_set.records(species))
        print(f"left out: {count} of {total} record(s) of {species}", file=sys.stderr)

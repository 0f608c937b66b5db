"""Draw a frozen evaluation set from a split and write it as Parquet, with its hash beside it.

Row i is of species i modulo their number, so that classes are exactly equal up to a remainder; its
place is drawn by the seed as in training, from a stream of its own. A manifest is never drawn
again: the same command does nothing, another one is refused without --force.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("set", metavar="SET_OR_STORE", help="a species set's TSV or a store")
    parser.add_argument("--splits", required=True, metavar="TSV", help="the splits file")
    parser.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="default: test"
    )
    parser.add_argument("--length", type=int, required=True, help="window length in bases")
    parser.add_argument("--windows", type=int, required=True, help="how many, over all species")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--output", required=True, metavar="PARQUET", help="the file to write")
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--weight-by-length",
        dest="weight_by_length",
        action="store_true",
        default=True,
        help="every start in a species is equally likely (default)",
    )
    rule.add_argument(
        "--uniform-records",
        dest="weight_by_length",
        action="store_false",
        help="every record of a species is equally likely",
    )
    parser.add_argument(
        "--max-n-fraction", type=float, default=0.1, help="windows above it are refused (0.1)"
    )
    parser.add_argument(
        "--reverse-complement", action="store_true", help="either strand; default the FASTA's"
    )
    parser.add_argument("--force", action="store_true", help="replace a manifest that differs")


def run(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    from genomamba_data_prep import splits
    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.manifests import Origin, draw_manifest, write_manifest
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.windows import Stream, WindowSampler

    if args.windows < 1:
        raise InputError(f"expected --windows of at least 1, got {args.windows}")
    species_set = SpeciesSet.open(args.set)
    assigned = splits.read(args.splits, species_set)
    sampler = WindowSampler(
        species_set,
        assigned.intervals(args.split),
        args.length,
        seed=args.seed,
        weight_by_length=args.weight_by_length,
        max_n_fraction=args.max_n_fraction,
        reverse_complement=args.reverse_complement,
        balanced=True,
        stream=Stream.MANIFEST,
    )
    table, refused = draw_manifest(sampler, args.windows)
    origin = Origin(
        seed=args.seed,
        length=args.length,
        classes=species_set.classes,
        set_digest=species_set.digest,
        split=args.split,
        splits_digest=assigned.digest,
        weight_by_length=args.weight_by_length,
        max_n_fraction=args.max_n_fraction,
        reverse_complement=args.reverse_complement,
        refused=refused,
    )
    written = write_manifest(args.output, table, origin, force=args.force)
    for reason, count in sampler.dropped.items():
        print(f"not used: {count} interval(s) {reason}", file=sys.stderr)
    for reason, count in refused.items():
        print(f"refused and drawn again: {count} window(s) with {reason}", file=sys.stderr)
    state = f"{len(table)} windows of {args.length} bases" if written else "already up to date"
    print(f"{args.output}: {state}", file=sys.stderr)
    return 0

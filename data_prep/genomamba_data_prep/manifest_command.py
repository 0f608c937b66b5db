"""Draw frozen evaluation sets from a split and write them as Parquet, each with its hash.

    genomamba prepare manifest set.tsv --splits splits.tsv --length 16384 --windows 1000 \\
        --output test.parquet
    genomamba prepare manifest set.tsv --splits splits.tsv --lengths 2^10..2^20 --windows 1000 \\
        --uniform-records --output manifests

    genomamba prepare manifest set.tsv --splits splits.tsv --lengths 2^10..2^16 --windows 30000 \\
        --apart --output manifests

With --lengths the output is a folder with a manifest for each length, such as test-1024.parquet.
Row i is of species i modulo their number, so that classes are exactly equal up to a remainder; its
place is drawn by the seed as in training, from a stream of its own. A manifest is never drawn
again: the same command does nothing, another one is refused without --force. With --apart windows
lie end to end from each interval's start, so that none shares a base with another, equally many of
every species: as many as there are of the one with the fewest, at most --windows in all.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyarrow import Table

    from genomamba_data_prep.manifests import Origin
    from genomamba_data_prep.species_set import SpeciesSet
    from genomamba_data_prep.splits import Splits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("set", metavar="SET_OR_STORE", help="a species set's TSV or a store")
    parser.add_argument("--splits", required=True, metavar="TSV", help="the splits file")
    parser.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="default: test"
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--length", type=int, help="window length in bases")
    length.add_argument(
        "--lengths",
        metavar="LIST",
        help="several: 2^10..2^20 for each power of two, or 1024,2^14,1000000",
    )
    parser.add_argument(
        "--windows", type=int, required=True, help="how many of a length, over all species"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="the file, or for --lengths the folder, to write",
    )
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
    rule.add_argument(
        "--apart",
        action="store_true",
        help="windows end to end, without overlap; --windows is the most that are taken",
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
    from pathlib import Path

    from genomamba_data_prep import splits
    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.manifests import write_manifest
    from genomamba_data_prep.species_set import SpeciesSet

    if args.windows < 1:
        raise InputError(f"expected --windows of at least 1, got {args.windows}")
    if args.apart and args.reverse_complement:
        raise InputError("--apart lays windows on the FASTA's strand, without --reverse-complement")
    output = Path(args.output)
    if output.exists() and output.is_dir() != (args.lengths is not None):
        raise InputError(
            "is a folder, and --length writes one file"
            if output.is_dir()
            else "is a file, and --lengths writes a folder of manifests",
            file=output,
            fix="Choose another --output",
        )
    if args.lengths is None:
        outputs = {args.length: output}
    else:
        name = f"{args.split}-{{}}.parquet"
        outputs = {length: output / name.format(length) for length in read_lengths(args.lengths)}
    species_set = SpeciesSet.open(args.set)
    assigned = splits.read(args.splits, species_set)
    notes: list[str] = []
    if without := species_set.classes[args.windows :]:
        notes.append(f"too few --windows: none of {', '.join(without)}")
    # All are drawn before any is written, and those that are there are compared first, so that a
    # mistake leaves nothing half done.
    drawn = {
        path: _draw(args, length, species_set, assigned, notes) for length, path in outputs.items()
    }
    if args.lengths is not None:
        output.mkdir(parents=True, exist_ok=True)
    states = []
    for path in sorted(drawn, key=lambda path: not path.exists()):
        table, origin = drawn[path]
        written = write_manifest(path, table, origin, force=args.force)
        state = (
            f"{len(table)} windows of {origin.length} bases" if written else "already up to date"
        )
        states.append(f"{path}: {state}")
    print(*notes, *states, sep="\n", file=sys.stderr)
    return 0


def read_lengths(text: str) -> list[int]:
    """Window lengths: A..B for each power of two from A to B, or a list; a number may be 2^k.

    Raises:
        InputError: anything else.
    """
    from genomamba_data_prep.errors import InputError

    def number(field: str) -> int:
        base, power, exponent = field.strip().partition("^")
        if text.isascii() and base.isdigit():
            if not power:
                return int(base)
            if base == "2" and exponent.isdigit() and int(exponent) < 63:
                return 2 ** int(exponent)
        raise InputError(f"expected --lengths like 2^10..2^20 or 1024,2^14, got {text!r}")

    first, span, last = text.partition("..")
    if not span:
        lengths = [number(field) for field in text.split(",")]
    else:
        low, high = number(first), number(last)
        lengths = [2**k for k in range(63) if low <= 2**k <= high]
        if not lengths or lengths[0] != low or lengths[-1] != high:
            raise InputError(f"expected --lengths from one power of two to another, got {text!r}")
    return sorted(set(lengths))


def _draw(
    args: argparse.Namespace,
    length: int,
    species_set: SpeciesSet,
    assigned: Splits,
    notes: list[str],
) -> tuple[Table, Origin]:
    """A manifest's rows and how they were drawn; notes what was not used."""
    from genomamba_data_prep.manifests import Origin, draw_manifest, lay_manifest
    from genomamba_data_prep.windows import Stream, WindowSampler

    if args.apart:
        table, refused = lay_manifest(
            species_set,
            assigned.intervals(args.split),
            length,
            args.windows,
            seed=args.seed,
            max_n_fraction=args.max_n_fraction,
        )
    else:
        sampler = WindowSampler(
            species_set,
            assigned.intervals(args.split),
            length,
            seed=args.seed,
            weight_by_length=args.weight_by_length,
            max_n_fraction=args.max_n_fraction,
            reverse_complement=args.reverse_complement,
            balanced=True,
            stream=Stream.MANIFEST,
        )
        table, refused = draw_manifest(sampler, args.windows)
        for reason, count in sampler.dropped.items():
            notes.append(f"{length}: not used: {count} interval(s) {reason}")
    origin = Origin(
        seed=args.seed,
        length=length,
        classes=species_set.classes,
        set_digest=species_set.digest,
        split=args.split,
        splits_digest=assigned.digest,
        weight_by_length=args.weight_by_length,
        max_n_fraction=args.max_n_fraction,
        reverse_complement=args.reverse_complement,
        refused=refused,
        apart=args.apart,
    )
    for reason, count in refused.items():
        done = "passed over" if args.apart else "refused and drawn again"
        notes.append(f"{length}: {done}: {count} window(s) with {reason}")
    return table, origin

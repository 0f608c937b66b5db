"""Check the FASTA files of one genome and encode them into a store.

FASTA is plain, gzip or bgzip, told by its first bytes. The store is a folder with one byte a base
and a manifest; it appears whole or not at all. When the store of the same files is already there,
nothing is done: the files are hashed again to know.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("fasta", nargs="+", metavar="FASTA", help="files of one genome")
    parser.add_argument("--output", required=True, metavar="STORE", help="the folder to write")
    parser.add_argument("--species", help="species name (default: the folder's name)")
    parser.add_argument(
        "--assembly", help="assembly name (default: the first file's name up to its first dot)"
    )
    parser.add_argument("--force", action="store_true", help="rebuild a store that is there")


def run(args: argparse.Namespace) -> int:
    """Write the store, or say that it is there, on stderr."""
    from pathlib import Path

    from genomamba_data_prep.encode import current_store, write_store

    output = Path(args.output)
    names = (args.species, args.assembly)
    store = None if args.force else current_store(args.fasta, output, *names)
    if store is not None:
        print(f"{output}: up to date, made from the same files", file=sys.stderr)
        return 0
    records = write_store(args.fasta, output, *names).records.values()
    n, ambiguous, uracil = (
        sum(getattr(record, field) for record in records) for field in ("n", "ambiguous", "uracil")
    )
    print(
        f"{output}: {len(records)} records, {sum(record.length for record in records):,} bases, "
        f"{n:,} of them N ({ambiguous:,} ambiguous letters read as N), "
        f"{uracil:,} letters U read as T",
        file=sys.stderr,
    )
    return 0

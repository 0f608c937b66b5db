"""Download published genomes, checked, or take files that are there already.

    genomamba prepare download --set hg38
    genomamba prepare download --set great-apes --output genomes --from /data/ncbi

A download that broke off goes on where it stopped when the command is run again. A file appears
under its name when it is whole and its checksum is right. --list prints the table of files,
accessions, addresses and checksums without fetching anything.
"""

from __future__ import annotations

import argparse
import sys

from genomamba_data_prep.sources import SETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("--set", required=True, choices=tuple(SETS), help="which files")
    parser.add_argument("--output", metavar="DIR", help="where to (default: the set's name)")
    parser.add_argument(
        "--from",
        dest="take_from",
        metavar="DIR",
        help="take the files from this folder, under their names or their addresses' last parts",
    )
    parser.add_argument("--list", action="store_true", help="print the table of files and stop")


def run(args: argparse.Namespace) -> int:
    """Bring the set's files; say on stderr what each of them is."""
    from contextlib import suppress
    from pathlib import Path

    from genomamba_data_prep.download import bring, read_lock
    from genomamba_data_prep.errors import InputError

    files = SETS[args.set]
    if args.list:
        _print_table(args.set)
        return 0
    take_from = Path(args.take_from) if args.take_from else None
    if take_from is not None and not take_from.is_dir():
        raise InputError("no such folder", file=take_from)
    folder = Path(args.output or args.set)
    if folder.exists() and not folder.is_dir():
        raise InputError("is not a folder", file=folder, fix="Choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for file in files:
            done = bring(file, folder, take_from)
            entry = read_lock(folder)[file.name]
            print(
                f"{folder / file.name}: {done}; {entry.bytes:,} bytes, sha256 {entry.sha256}, "
                f"publisher's checksum {entry.checked}",
                file=sys.stderr,
            )
    finally:
        with suppress(OSError):
            folder.rmdir()  # only if nothing came at all
    return 0


def _print_table(name: str) -> None:
    columns = ("file", "species", "assembly", "accession", "url", "bytes", "checksum", "source")
    print("\t".join(columns))
    for file in SETS[name]:
        published = f"in {file.checksums}" if file.checksums else "unknown"
        fields = (file.name, file.species, file.assembly, file.accession, " ".join(file.urls))
        known = (file.bytes or "unknown", file.checksum or published, file.source)
        print("\t".join(str(field) for field in (*fields, *known)))

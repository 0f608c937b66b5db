"""Print the records of a store or of a FASTA file: length, GC, N, soft mask.

GC is the fraction of A, C, G and T that is C or G; N and soft mask are fractions of all bases.
N includes the ambiguous letters, which are also counted by themselves, as are the letters U.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from genomamba_data_prep.store import Record

COUNTS = ("length", "gc", "n", "soft_masked", "ambiguous", "uracil")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("path", metavar="STORE|FASTA")
    parser.add_argument("--json", action="store_true", help="counts in bases, for machines")
    parser.add_argument(
        "--verify", action="store_true", help="hash a store's codes: are they what was encoded?"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table or the JSON on stdout."""
    from pathlib import Path

    from genomamba_data_prep.compression import decompressed, raw_blocks
    from genomamba_data_prep.encode import count_records
    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.fasta import read_pieces
    from genomamba_data_prep.store import Store
    from genomamba_data_prep.store_check import verify

    path = Path(args.path)
    header: dict[str, object] = {"path": args.path}
    if path.is_dir():
        store = Store.open(path)
        if args.verify:
            verify(store.manifest, store.files)
            print(f"{args.path}: as it was encoded", file=sys.stderr)
        records = list(store.records.values())
        header |= {"species": store.species, "assembly": store.assembly, "digest": store.digest}
    elif args.verify:
        raise InputError(
            "--verify is for a store, and this is no folder",
            file=path,
            fix="A FASTA that is read in place is hashed at every use",
        )
    else:
        records = count_records(read_pieces(decompressed(raw_blocks(path), path), path))
    if args.json:
        _print_json(header, records)
    else:
        _print_table(header, records)
    return 0


def _print_json(header: dict[str, object], records: Sequence[Record]) -> None:
    import json

    rows = [{field: getattr(record, field) for field in ("name", *COUNTS)} for record in records]
    total = {field: sum(row[field] for row in rows) for field in COUNTS}
    json.dump(header | {"total": total, "records": rows}, sys.stdout, indent=1)
    print()


def _print_table(header: dict[str, object], records: Sequence[Record]) -> None:
    for name, value in header.items():
        print(f"{name:<9}{value}")
    rows = [(record.name, *(getattr(record, field) for field in COUNTS)) for record in records]
    totals = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    cells = [("record", "length", "GC", "N", "soft mask", "ambiguous", "U")]
    cells += [_cells(*row) for row in [*rows, (f"{len(rows)} records", *totals)]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print()
    for name, *numbers in cells:
        columns = zip(numbers, widths[1:], strict=True)
        print(
            f"{name:<{widths[0]}}", *(f"{number:>{width}}" for number, width in columns), sep="  "
        )


def _cells(
    name: str, length: int, gc: int, n: int, soft_masked: int, ambiguous: int, uracil: int
) -> tuple[str, ...]:
    called = length - n
    fractions = (f"{gc / called:.2%}" if called else "-", f"{n / length:.2%}")
    soft_mask = f"{soft_masked / length:.2%}"
    return (name, f"{length:,}", *fractions, soft_mask, f"{ambiguous:,}", f"{uracil:,}")

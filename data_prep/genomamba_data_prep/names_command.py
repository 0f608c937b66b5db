"""Write the record_names table of a species set from a FASTA's headers.

    genomamba prepare names genomes/chimpanzee.fna.gz --species chimpanzee --output chimpanzee.tsv

Chromosomes get the name of their human homologue (chr1, chr2A, chrX): from names such as
chr3_hap1_hsa4, or from descriptions such as "chromosome 3,". Where these are in the apes' own
order, as in their telomere-to-telomere assemblies, --species says which; give the whole assembly,
since a few chromosomes do not tell the order. Other records keep their names.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument("fasta", metavar="FASTA", help="plain, gzip or bgzip")
    parser.add_argument("--output", required=True, metavar="TSV", help="the table to write")
    parser.add_argument("--species", help="chimpanzee, bonobo, gorilla or orangutan")
    parser.add_argument("--force", action="store_true", help="replace a table that differs")


def run(args: argparse.Namespace) -> int:
    """Write the table; say on stderr how many records have a name in it."""
    from genomamba_data_prep.ape_chromosomes import common_names
    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.frozen import write_once

    records = list(_headers(args.fasta))
    names = common_names(records, args.species)
    if not names:
        raise InputError(
            "no header names a chromosome beside the record's name",
            file=args.fasta,
            fix="Records that are named after human's already, such as chr1, need no table; for "
            "others write it by hand: the columns record and name, separated by a tab",
        )
    rows = [("record", "name"), *names.items()]
    content = "".join(f"{record}\t{name}\n" for record, name in rows).encode()
    written = write_once(args.output, content, force=args.force)
    state = "written" if written else "already up to date"
    print(f"{args.output}: {state}, {len(names)} of {len(records)} records", file=sys.stderr)
    return 0


def _headers(fasta: str) -> Iterator[tuple[str, str]]:
    """Name and description of each record."""
    import os

    from genomamba_data_prep.compression import decompressed, raw_blocks
    from genomamba_data_prep.errors import InputError
    from genomamba_data_prep.fasta import HEADER_BYTES
    from genomamba_data_prep.progress import Progress

    size = os.path.getsize(fasta) if os.path.isfile(fasta) else 0
    with Progress("reading headers", size) as progress:

        def blocks() -> Iterator[bytes]:
            for block in raw_blocks(fasta):
                progress.advance(len(block))
                yield block

        rest = b"\n"
        for block in decompressed(blocks(), fasta):
            data = rest + block
            at = data.find(b"\n>")
            while at >= 0 and (end := data.find(b"\n", at + 1)) >= 0:
                yield _split(data[at + 2 : end])
                at = data.find(b"\n>", end)
            rest = data[at:] if at >= 0 else data[-1:]
            if len(rest) > HEADER_BYTES:
                raise InputError("the header line does not end: expected FASTA", file=fasta)
        if rest.startswith(b"\n>"):
            yield _split(rest[2:])


def _split(header: bytes) -> tuple[str, str]:
    name, _, description = header.decode("utf-8", "replace").strip().partition(" ")
    return name, description

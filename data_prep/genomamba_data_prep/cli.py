"""``genomamba prepare``: one subcommand a module, which imports what it needs when it runs.

A subcommand's module has ``add_arguments(parser)`` and ``run(args) -> int`` and imports the
standard library only, so that ``genomamba prepare --help`` is instant.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from genomamba_data_prep import (
    audit_command,
    download_command,
    encode_command,
    inspect_command,
    manifest_command,
    names_command,
    split_command,
)
from genomamba_data_prep.simulate import bayes_command
from genomamba_data_prep.simulate import command as simulate_command

SUBCOMMANDS: dict[str, tuple[ModuleType, str]] = {
    "download": (download_command, "fetch published genomes, checked, or take them from a folder"),
    "encode": (encode_command, "check FASTA files and encode them into a store"),
    "inspect": (inspect_command, "print a store's or a FASTA's records as a table"),
    "names": (names_command, "name chromosomes after their human homologues, from FASTA headers"),
    "split": (split_command, "assign records or BED intervals to train, valid and test"),
    "manifest": (manifest_command, "draw a frozen evaluation set from a split"),
    "audit": (audit_command, "what tells species apart that should not: N, masks, shared sequence"),
    "simulate": (simulate_command, "simulate a clade of species with a known signal"),
    "bayes": (bayes_command, "print the best possible accuracy on a simulated clade"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba prepare", description="FASTA in; an encoded, split data set out."
    )
    subparsers = parser.add_subparsers(title="subcommands", metavar="SUBCOMMAND", required=True)
    for name, (module, summary) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=module.__doc__)
        subparser.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: list[str]) -> int:
    """Run ``genomamba prepare argv`` and return its exit code.

    Raises:
        InputError: bad input; the console command prints it and exits with 2.
        SystemExit: help (0) or bad usage (2).
    """
    args = _parser().parse_args(argv)
    return args.run(args)

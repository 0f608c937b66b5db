"""``genomamba classify``: FASTA and a checkpoint in, a table of predictions out."""

from __future__ import annotations

import argparse
from pathlib import Path

from genomamba_data_prep.errors import InputError

BATCH_BASES = 1 << 17  # bases a batch by default: a few hundred MB of activations in a small model

COLUMNS = """\
The table has one row a record: {records}.
--windows-output has one row a window: {windows}.
A window is as long as those of training (--window changes it). Windows do not overlap, except
that the last one ends at the record's end; a record shorter than a window is classified as it is,
without padding. Probabilities of a record: softmax of the mean log-probability over its windows.
Coordinates are 0-based, half-open.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba classify",
        description="Classify the records of FASTA files, plain, gzip or bgzip, with a checkpoint.",
        epilog=COLUMNS.format(
            records="file, record, length, n_fraction, windows, windows_skipped, prediction, "
            "probability, prob_CLASS for every class, reason (why there is no prediction)",
            windows="file, record, start, end, n_fraction and the same results",
        ),
    )
    add = parser.add_argument
    add("fasta", nargs="+", type=Path, metavar="FASTA")
    add("--checkpoint", required=True, type=Path, metavar="CKPT", help="a classifier's .ckpt file")
    add("--output", required=True, type=Path, metavar="OUT", help="OUT.tsv or OUT.parquet")
    add("--windows-output", type=Path, metavar="OUT", help="a second table, one row a window")
    add("--records", nargs="+", metavar="NAME", help="classify only the records of these names")
    add(
        "--both-strands",
        action="store_true",
        help="average over the sequence and its reverse complement; adds strand_disagreement",
    )
    add("--window", type=int, metavar="BASES", help="default: as in training")
    add(
        "--batch-size",
        type=int,
        metavar="WINDOWS",
        help=f"windows at once, each strand (default: as many as make {BATCH_BASES} bases); "
        "changes memory and speed, not the result",
    )
    add(
        "--max-n-fraction",
        type=float,
        default=0.5,
        metavar="F",
        help="skip windows with a larger fraction of N (default 0.5); N only is always skipped",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    return parser


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what can be refused before torch is imported and a model read."""
    from genomamba.inference.writers import check_output

    for name in ("window", "batch_size"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    if not 0 <= args.max_n_fraction <= 1:
        parser.error("--max-n-fraction: expected 0 to 1")
    inputs = {path.resolve() for path in (*args.fasta, args.checkpoint)}
    outputs = [path for path in (args.output, args.windows_output) if path is not None]
    for path in outputs:
        check_output(path)
        if path.resolve() in inputs:
            raise InputError("is an input too", file=path, fix="Name another output")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError("--output and --windows-output are the same file", file=args.output)
    for path in args.fasta:  # an hour's work must not end at a misspelt last file
        with path.open("rb"):
            pass
    repeated = {path for path in args.fasta if args.fasta.count(path) > 1}
    if repeated:
        raise InputError("is given more than once", file=min(repeated))


def main(argv: list[str]) -> int:
    """Run ``genomamba classify``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(args, parser)
    from genomamba.inference.run import classify_files

    return classify_files(args)

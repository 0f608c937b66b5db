"""``genomamba classify``: FASTA and a checkpoint in, a table of predictions out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from genomamba.inference.options import MAX_BASES, SHARD_BASES
from genomamba_data_prep.errors import InputError

EPILOG = """\
examples:
  genomamba classify unknown.fa.gz --checkpoint run.ckpt --output table.tsv
  genomamba classify contigs/ 'more/*.fna' --checkpoint run.ckpt --output all.jsonl --both-strands
  genomamba classify --samples sheet.tsv --checkpoint run.ckpt --output table.tsv --abstain 0.9
  genomamba classify chr1.fa.gz --checkpoint run.ckpt --output table.tsv --mode stream \\
      --track chr1.bedgraph --step 10000
  genomamba classify reads.fa --checkpoint run.ckpt --output table.tsv --shard 3/8  # then: merge

columns (docs/classify.md explains them): sample, file, record, label, length, n_fraction,
  prediction, probability, prob_CLASS for every class, margin, entropy, strand_disagreement,
  windows, windows_skipped, checkpoint, reason (why there is no prediction).
  Coordinates are 0-based, half-open. A record shorter than a window is classified as it is,
  without padding.

jobs: the output appears when it is complete. Until then work lies in OUT.parts/; the same command
  goes on where a killed one stopped, and its output is the same to the byte. Times are kept in
  OUT.journal.jsonl.

exit codes: 0 done; 2 bad input or usage; 3 done, but memory did not hold --max-bases, so that the
  last digits may differ from a run that did not have to halve it; 4 done, with bad records and
  --on-error report; 130 interrupted.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba classify",
        description="Classify the records of FASTA files, plain, gzip or bgzip, with a checkpoint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("input").add_argument
    add(
        "fasta",
        nargs="*",
        metavar="FASTA",
        help="a file, a folder of FASTA files, a pattern in quotes, or - for standard input",
    )
    add(
        "--samples",
        type=Path,
        metavar="TSV",
        help="a sheet of samples: columns sample, path (relative to the sheet), optional label",
    )
    add("--checkpoint", required=True, type=Path, metavar="CKPT", help="a classifier's .ckpt file")
    add("--records", nargs="+", metavar="NAME", help="classify only the records of these names")
    add("--min-length", type=int, default=0, metavar="BASES", help="leave out shorter records")
    add(
        "--max-n",
        "--max-n-fraction",
        type=float,
        default=0.5,
        metavar="F",
        help="leave out windows (of --mode stream: records) with a larger fraction of N (default "
        "0.5); N only is always left out",
    )
    add(
        "--on-error",
        choices=["fail", "skip", "report"],
        default="fail",
        help="bad records and files: refuse all before any work (default), leave them out and say "
        "why in the table, or that and list them on stderr and exit with 4",
    )

    add = parser.add_argument_group("output").add_argument
    add(
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="OUT.tsv, OUT.parquet or OUT.jsonl: one row a record",
    )
    add("--windows-output", type=Path, metavar="OUT", help="likewise, one row a window")
    add(
        "--track",
        type=Path,
        metavar="OUT",
        help="OUT.bedgraph or OUT.parquet: log-probabilities a window; with --mode stream the "
        "running readout every --step bases",
    )
    add("--step", type=int, default=10_000, metavar="BASES", help="of a stream's track (10000)")
    add(
        "--abstain",
        type=float,
        default=0.0,
        metavar="P",
        help="no prediction where its probability is below P",
    )

    add = parser.add_argument_group("model").add_argument
    add(
        "--mode",
        choices=["windows", "stream"],
        default="windows",
        help="windows: the mean log-probability of windows on their own (default); stream: the "
        "state carried from the first base to the last, the head read once at the end",
    )
    add("--window", type=int, metavar="BASES", help="default: as in training")
    add(
        "--both-strands",
        action="store_true",
        help="average over the sequence and its reverse complement; fills strand_disagreement",
    )

    add = parser.add_argument_group("running").add_argument
    add(
        "--max-bases",
        type=int,
        metavar="BASES",
        help="bases at a time, each strand, which bounds memory (default "
        f"{MAX_BASES['cpu']}, on a GPU {MAX_BASES['cuda']})",
    )
    add(
        "--batch-size",
        type=int,
        metavar="WINDOWS",
        help="the same as a number of windows, in place of --max-bases",
    )
    add(
        "--shard-bases",
        type=int,
        metavar="BASES",
        help=f"what a kill loses at most (default {SHARD_BASES['cpu']}, on a GPU "
        f"{SHARD_BASES['cuda']})",
    )
    add(
        "--shard",
        type=_task,
        metavar="I/N",
        help="do the I-th of N parts of the job, from 1; `genomamba merge OUT` makes the table",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    return parser


def _task(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, got {text!r}")
    return int(match[1]), int(match[2])


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what can be refused before torch is imported and a model read."""
    from genomamba.inference.writers import TRACK_SUFFIXES, check_output

    for name in ("window", "batch_size", "max_bases", "shard_bases", "step"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    for name in ("max_n", "abstain"):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name.replace('_', '-')}: expected 0 to 1")
    if not args.fasta and args.samples is None:
        parser.error("nothing to classify: name FASTA files or give --samples")
    if args.mode == "stream" and args.windows_output is not None:
        parser.error("--windows-output: a stream has no windows; use --track")
    check_output(args.output)
    if args.windows_output is not None:
        check_output(args.windows_output)
    if args.track is not None:
        check_output(args.track, TRACK_SUFFIXES)
    read = [*args.fasta, args.checkpoint, *([args.samples] if args.samples else [])]
    inputs = {Path(path).resolve() for path in read}
    outputs = [p for p in (args.output, args.windows_output, args.track) if p is not None]
    for path in outputs:
        if path.resolve() in inputs:
            raise InputError("is an input too", file=path, fix="Name another output")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError("two outputs are the same file", file=args.output)


def main(argv: list[str]) -> int:
    """Run ``genomamba classify``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(args, parser)
    from genomamba.inference.run import classify_files

    return classify_files(args)

"""``genomamba report``: all that a workflow made, as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from genomamba_data_prep.errors import InputError

EPILOG = """\
example:
  genomamba report --species-set species.tsv --splits splits.tsv \\
      --manifests valid.parquet test.parquet --run runs/apes --evaluation evaluation.json \\
      --predictions reads.tsv --tracks reads.track.parquet --output report.html

The page stands alone: charts are drawn in it, and nothing is loaded from elsewhere. It is refused
where its inputs do not belong together: an evaluation or predictions of another checkpoint, a
manifest of other stores, a model that was trained on other splits. The same inputs give the same
page. docs/report.md describes it.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba report",
        description="One page of data, training, evaluation, predictions and their hashes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--species-set", required=True, type=Path, metavar="TSV", help="that was trained on")
    add("--splits", required=True, type=Path, metavar="TSV", help="of `genomamba prepare split`")
    add(
        "--manifests",
        nargs="*",
        default=[],
        type=Path,
        metavar="PARQUET",
        help="frozen windows: what `genomamba prepare manifest` wrote",
    )
    add("--run", required=True, type=Path, metavar="DIR", help="of `genomamba fit --run`")
    add(
        "--checkpoint",
        type=Path,
        metavar="CKPT",
        help="that was evaluated (default: RUN/checkpoints/last.ckpt)",
    )
    add(
        "--evaluation",
        required=True,
        type=Path,
        metavar="JSON",
        help="the .json that `genomamba evaluate` wrote beside its page",
    )
    add(
        "--predictions",
        nargs="*",
        default=[],
        type=Path,
        metavar="TABLE",
        help="of `genomamba classify --output`: .tsv, .parquet or .jsonl",
    )
    add(
        "--tracks",
        nargs="*",
        default=[],
        type=Path,
        metavar="PARQUET",
        help="of `genomamba classify --track`; the longest records of all are drawn",
    )
    add("--output", required=True, type=Path, metavar="OUT.html", help="the page to write")
    add("--force", action="store_true", help="replace an output that exists")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Refuse an output that could not be written, before anything is read."""
    from genomamba.inference.writers import check_output

    check_output(args.output, (".html",))
    if args.output.exists() and not args.force:
        raise InputError(
            "exists already",
            file=args.output,
            fix="Choose another name, or replace it with --force",
        )


def main(argv: list[str]) -> int:
    """Run ``genomamba report``; returns the exit code."""
    args = _parser().parse_args(argv)
    _check(args)
    from genomamba.inference.report.build import report_files

    return report_files(args)

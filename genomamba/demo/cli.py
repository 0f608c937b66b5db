"""``genomamba demo``: the whole path on a simulated clade, in a few minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path

from genomamba_data_prep.errors import InputError

DESCRIPTION = """\
Simulate five species that differ only in their short-range statistics, train a small Mamba model to
tell them apart, classify chromosomes that it has never seen, and compare it with the best accuracy
that any classifier can reach. Every step is a genomamba command and is printed as it runs.

OUTPUT/report.html holds the result. An OUTPUT of an earlier demonstration is replaced.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba demo",
        description=DESCRIPTION,
        epilog="Exit codes: 0 every check passed, 1 one failed, 2 bad usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="OUTPUT")
    parser.add_argument("--seed", type=int, default=1, help="of everything (default 1)")
    return parser


def main(argv: list[str]) -> int:
    """Run ``genomamba demo``; returns the exit code."""
    args = _parser().parse_args(argv)
    if not args.output.absolute().parent.is_dir():
        raise InputError(
            "its folder does not exist", file=args.output, fix=f"mkdir -p {args.output.parent}"
        )
    from genomamba.demo.run import run

    return run(args.output, args.seed)

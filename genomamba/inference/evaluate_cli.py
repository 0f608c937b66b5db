"""``genomamba evaluate``: a classifier on frozen manifests, as figures, tables and a page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from genomamba_data_prep.errors import InputError

MAX_BASES = 1 << 17

EPILOG = """\
examples:
  genomamba evaluate --checkpoint last.ckpt --species-set set.tsv --manifest test-*.parquet \\
      --prefixes --output report.html
  genomamba evaluate --checkpoint last.ckpt --species-set set.tsv --manifest valid.parquet \\
      --output valid.html --fit-temperature calibrated.ckpt

OUT.html stands alone; OUT.parquet and OUT.json beside it hold the figures (docs/evaluate.md has the
columns). Intervals are of 95 %, over loci that are drawn again whole, never over windows.
A prefix is the first 2^k bases of a manifest's windows, read from the state that was carried so
far: another quantity than windows drawn at that length, and reported beside it.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba evaluate",
        description="Accuracy, confusion and calibration of a classifier on frozen manifests.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", required=True, type=Path, metavar="CKPT", help="a classifier's .ckpt file")
    add("--species-set", required=True, type=Path, metavar="TSV", help="that it was trained on")
    add(
        "--manifest",
        required=True,
        nargs="+",
        type=Path,
        metavar="PARQUET",
        help="frozen windows: what `genomamba prepare manifest` writes",
    )
    add("--output", required=True, type=Path, metavar="OUT.html", help="the page to write")
    add(
        "--prefixes",
        action="store_true",
        help="also read the head after each window's first 2^10, 2^11 ... bases, in the same pass",
    )
    add(
        "--both-strands",
        action="store_true",
        help="average over each window and its reverse complement, as `genomamba classify` does: "
        "twice the time (with --prefixes three times)",
    )
    add(
        "--predictions",
        type=Path,
        metavar="FILE.parquet",
        help="also write each window's log-probabilities, prediction and locus",
    )
    add(
        "--fit-temperature",
        type=Path,
        metavar="NEW.ckpt",
        help="fit one temperature to the manifests, of the split valid, and write the checkpoint "
        "with it; figures are at the fitted temperature then",
    )
    add(
        "--locus",
        type=int,
        metavar="BASES",
        help="of a record that count as one locus (default: the larger of 1,000,000 and four "
        "windows)",
    )
    add(
        "--max-bases",
        type=int,
        default=MAX_BASES,
        metavar="BASES",
        help=f"bases at a time, which bounds memory (default {MAX_BASES})",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    add("--force", action="store_true", help="replace outputs that exist")
    return parser


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what can be refused before torch is imported and a model read."""
    for name in ("max_bases", "locus"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    if args.output.suffix != ".html":
        raise InputError("expected an --output that ends in .html", file=args.output)
    outputs = [args.output.with_suffix(suffix) for suffix in (".html", ".parquet", ".json")]
    if args.fit_temperature is not None:
        if args.fit_temperature.suffix != ".ckpt":
            raise InputError("expected a name that ends in .ckpt", file=args.fit_temperature)
        outputs.append(args.fit_temperature)
    if args.predictions is not None:
        if args.predictions.suffix != ".parquet":
            raise InputError("expected a name that ends in .parquet", file=args.predictions)
        if args.predictions.resolve() in {path.resolve() for path in outputs}:
            raise InputError(
                "is the table of figures of --output too",
                file=args.predictions,
                fix="Name another --predictions",
            )
        outputs.append(args.predictions)
    inputs = {path.resolve() for path in (args.checkpoint, args.species_set, *args.manifest)}
    for path in outputs:
        if not path.parent.is_dir():
            raise InputError("its folder does not exist", file=path, fix=f"mkdir -p {path.parent}")
        if path.is_dir():
            raise InputError("is a folder, not a file", file=path)
        if path.resolve() in inputs:
            raise InputError("is an input too", file=path, fix="Name another output")
        if path.exists() and not args.force:
            raise InputError(
                "exists already", file=path, fix="Choose another name, or replace it with --force"
            )
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError("its folder is not writable", file=path, fix="Check its permissions")


def main(argv: list[str]) -> int:
    """Run ``genomamba evaluate``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(args, parser)
    from genomamba.inference.evaluate import evaluate_files

    return evaluate_files(args)

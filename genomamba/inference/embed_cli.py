"""``genomamba embed``: the hidden vector of each record or window of a FASTA file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from genomamba_data_prep.errors import InputError

SEGMENT = 1 << 15  # bases at a time: some hundred MB of activations in a model of width 256
SUFFIXES = (".parquet", ".npy")

NOTES = """\
A row a record, or a window of it with --window: windows follow one another from the record's first
base, each is read on its own, and the last one is as long as what is left. Columns of X.parquet:
record, start, end (0-based, half-open), n_fraction, embedding (d_model float32). X.npy is the
embeddings alone, shape (rows, d_model); X.npy.rows.tsv names its rows. "last" is the vector after
the last base, which has read all of the sequence; "mean" is the mean over its positions.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba embed",
        description="Pooled hidden vectors of the records of a FASTA file, plain, gzip or bgzip.",
        epilog=NOTES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="of pretraining or of a classifier")
    add("fasta", type=Path, metavar="FASTA")
    add("--output", type=Path, required=True, metavar="X", help="X.parquet or X.npy")
    add("--pool", choices=("mean", "last"), default="mean", help="default mean")
    add("--window", type=int, metavar="BASES", help="default: whole records")
    add(
        "--max-bases",
        type=int,
        default=SEGMENT,
        metavar="BASES",
        help=f"at a time (default {SEGMENT}); bounds memory, changes the result by rounding only",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    return parser


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    for name in ("window", "max_bases"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1")
    if args.output.suffix not in SUFFIXES:
        raise InputError(
            f"expected a name that ends with {' or '.join(SUFFIXES)}", file=args.output
        )
    if not args.output.absolute().parent.is_dir():
        raise InputError(
            "its folder does not exist", file=args.output, fix=f"mkdir -p {args.output.parent}"
        )
    with args.fasta.open("rb"):  # before the model is read
        pass


def main(argv: list[str]) -> int:
    """Run ``genomamba embed``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(args, parser)
    from genomamba.inference.embedding import Embedder, read_stretches
    from genomamba.inference.embedding_files import embedding_writer
    from genomamba.inference.run import choose_device
    from genomamba.models import MambaForClassification, MambaForPretraining
    from genomamba.training.checkpoint import check_streams, load_model
    from genomamba_data_prep.progress import Progress

    device = choose_device(args.device)
    model, _ = load_model(args.checkpoint)
    assert isinstance(model, MambaForClassification | MambaForPretraining)
    check_streams(model.config, args.checkpoint)
    backbone = model.backbone.to(device)
    embed = Embedder(backbone, args.pool, args.max_bases)
    told = {"pool": args.pool, "checkpoint": args.checkpoint.name, "fasta": args.fasta.name}
    told |= {} if args.window is None else {"window": str(args.window)}
    rows = bases = 0
    with (
        embedding_writer(args.output, backbone.config.d_model, told) as writer,
        Progress("bases embedded", 0) as progress,
    ):
        stretches = read_stretches(args.fasta, args.window)

        def watched():
            for stretch in stretches:
                yield stretch
                progress.advance(len(stretch.codes))

        for row in embed(watched()):
            writer.write(row)
            rows, bases = rows + 1, bases + row.end - row.start
    print(f"{args.output}: {rows:,} rows, {bases:,} bases", file=sys.stderr)
    return 0

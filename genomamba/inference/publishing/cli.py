"""``genomamba export`` and ``genomamba import``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_EXPORT = """\
safetensors  our names and every bit: model.safetensors, genomamba.json
hf           Hugging Face transformers: MambaForCausalLM, or MambaModel and classifier.safetensors,
             with tokenizer and generation config
mamba-ssm    MambaLMHeadModel.from_pretrained: config.json, pytorch_model.bin; no classifiers

Each with a model card, README.md. docs/models.md tells more.
"""
_IMPORT = """\
DIR is a folder of `genomamba export`, or a Mamba model of DNA that transformers or mamba-ssm saved
(save_pretrained), of the vocabulary A, C, G, T, N in this order. Nothing in it is executed.
"""


def export_main(argv: list[str]) -> int:
    """Run ``genomamba export``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="genomamba export",
        description="Write a checkpoint's model as a folder that other programs load.",
        epilog=_EXPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--to", required=True, choices=("safetensors", "hf", "mamba-ssm"))
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="must not exist")
    args = parser.parse_args(argv)
    from genomamba.inference.publishing.exporting import export_checkpoint

    export_checkpoint(args.checkpoint, args.to, args.output)
    print(f"{args.output}: {args.to}, with README.md", file=sys.stderr)
    return 0


def import_main(argv: list[str]) -> int:
    """Run ``genomamba import``; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="genomamba import",
        description="Make a checkpoint of a folder that `genomamba export`, transformers or "
        "mamba-ssm wrote.",
        epilog=_IMPORT,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--output", required=True, type=Path, metavar="CHECKPOINT")
    args = parser.parse_args(argv)
    from genomamba.inference.publishing.importing import import_folder

    meta = import_folder(args.folder, args.output)
    print(f"{args.output}: a checkpoint of {meta['task']}", file=sys.stderr)
    return 0

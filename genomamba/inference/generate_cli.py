"""``genomamba generate``: sequences drawn from a pretrained model, as FASTA."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from genomamba_data_prep.atomic import atomic_file
from genomamba_data_prep.errors import InputError

if TYPE_CHECKING:
    from genomamba.inference.generation import Draw
    from genomamba_data_prep.codes import Codes

LINE_WIDTH = 80
BATCH = 64

NOTES = """\
Output: FASTA, lines of 80 bases; a record holds what was drawn, without its prompt. Its name is the
prompt's ("generated" without one), a dot and the copy's number from 1; its header names seed,
temperature, top-k and the prompt's length. The same command on the same device gives the same file.
Without a prompt the first base is A, C, G or T with equal probability.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genomamba generate",
        description="Draw sequences from a pretrained model, base by base.",
        epilog=NOTES,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a pretrained model's .ckpt file")
    add("--prompt", type=Path, metavar="FASTA", help="what precedes: each of its records")
    add("--length", type=int, required=True, metavar="BASES", help="to draw")
    add("--number", type=int, default=1, metavar="K", help="sequences a prompt (default 1)")
    add("--temperature", type=float, default=1.0, metavar="T", help="default 1; 0: the likeliest")
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest bases (default all)")
    add("--seed", type=int, default=0, help="default 0")
    add("--allow-n", action="store_true", help="draw N too, which is never drawn otherwise")
    add("--batch-size", type=int, default=BATCH, metavar="ROWS", help=f"at once (default {BATCH})")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default auto)")
    add("--output", type=Path, required=True, metavar="FASTA")
    return parser


def _check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    for name, least in (("length", 1), ("number", 1), ("top_k", 1), ("batch_size", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')}: expected at least {least}, got {value}")
    if not (math.isfinite(args.temperature) and args.temperature >= 0):
        parser.error(f"--temperature: expected 0 or more, got {args.temperature}")
    if not 0 <= args.seed < 2**64:
        parser.error(f"--seed: expected 0 to 2^64 - 1, got {args.seed}")
    if not args.output.absolute().parent.is_dir():
        raise InputError(
            "its folder does not exist", file=args.output, fix=f"mkdir -p {args.output.parent}"
        )
    inputs = [path.resolve() for path in (args.prompt, args.checkpoint) if path is not None]
    if args.output.resolve() in inputs:
        raise InputError("is an input too", file=args.output, fix="Name another output")


def main(argv: list[str]) -> int:
    """Run ``genomamba generate``; returns the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    _check(args, parser)
    from genomamba.inference.generation import Sampling, generate
    from genomamba.inference.run import choose_device
    from genomamba.models import MambaForPretraining
    from genomamba.training.checkpoint import load_model
    from genomamba_data_prep.progress import Progress

    device = choose_device(args.device)
    model, meta = load_model(args.checkpoint)
    if not isinstance(model, MambaForPretraining):
        raise InputError(
            f"a checkpoint of {meta['task']}: it predicts no next base",
            file=args.checkpoint,
            fix="Use a checkpoint of pretraining",
        )
    if not model.config.can("steps"):
        raise InputError(
            f"its mixer, {model.config.mixer}, reads whole sequences and cannot go on base by base",
            file=args.checkpoint,
            fix="Use a checkpoint of mixer mamba, s4d or attention",
        )
    model = model.to(device)
    sampling = Sampling(args.temperature, args.top_k, args.seed, args.allow_n)
    names, draws = _draws(args)
    top_k = "all" if args.top_k is None else args.top_k
    drawing = f"seed={args.seed} temperature={args.temperature:g} top_k={top_k}"
    with (
        atomic_file(args.output) as temporary,
        temporary.open("wb") as file,
        Progress("generated", len(draws) * args.length) as progress,
    ):
        for start in range(0, len(draws), args.batch_size):
            batch = draws[start : start + args.batch_size]
            sequences = generate(model, batch, args.length, sampling, progress.advance)
            for draw, codes in zip(batch, sequences, strict=True):
                known = 0 if draw.codes is None else len(draw.codes)
                prompt = "none" if draw.codes is None else names[draw.prompt]
                name = f"{names[draw.prompt]}.{draw.copy + 1}"
                header = f">{name} {drawing} prompt={prompt} prompt_length={known}\n"
                file.write(header.encode())
                _write_lines(file, codes)
    print(f"{args.output}: {len(draws):,} sequences of {args.length:,} bases", file=sys.stderr)
    return 0


def _draws(args: argparse.Namespace) -> tuple[list[str], list[Draw]]:
    """The prompts' names, and everything that is to be drawn."""
    from genomamba.inference.generation import Draw
    from genomamba_data_prep.fasta import read_fasta

    prompts: list[tuple[str, Codes | None]] = [("generated", None)]
    if args.prompt is not None:
        prompts = [(record.name, record.codes) for record in read_fasta(args.prompt)]
    draws = [
        Draw(number, codes, copy)
        for number, (_, codes) in enumerate(prompts)
        for copy in range(args.number)
    ]
    return [name for name, _ in prompts], draws


def _write_lines(file: BinaryIO, codes: Codes) -> None:
    from genomamba_data_prep.codes import decode

    letters = decode(codes)
    file.writelines(line + b"\n" for line in _lines(letters))


def _lines(letters: bytes) -> Iterator[bytes]:
    for start in range(0, len(letters), LINE_WIDTH):
        yield letters[start : start + LINE_WIDTH]

"""What ``genomamba classify`` costs beside the model, and what packing saves.

    python benchmarks/classify.py share --megabases 20 --forward-bases 262144
    python benchmarks/classify.py packing --records 10000 --device cuda
    python benchmarks/classify.py share --megabases 2000 --window 1048576 --device cuda

share: the command's own CPU and wall time over a bgzip FASTA with a model that does nothing
(checking, reading, cutting, batching, journal, shards, tables), beside the bare model's forward
time for as many bases. packing: the model's time for records of 500 to 20,000 bases, as classify
packs them, one by one, and padded to the longest of each batch. Random weights, shape model/1.4m.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from genomamba.cli import main as genomamba
from genomamba.data.tokens import VOCABULARY
from genomamba.inference import run
from genomamba.inference.budget import Budget
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.options import Options
from genomamba.inference.reading import Piece
from genomamba.inference.windows_job import classify_windows
from genomamba.models import MambaConfig, MambaForClassification
from genomamba_data_prep.codes import decode
from genomamba_data_prep.compression import BGZIP_EOF

CLASSES = 5
SHORTEST, LONGEST = 500, 20_000
BGZIP_BLOCK = 65_280  # bytes of content a block, as bgzip writes


class NoModel(WindowClassifier):
    """Takes the tokens to the device and says that all classes are alike."""

    def _forward(self, codes, seq_idx):
        self.tokens(codes)
        count = len(codes) if seq_idx is None else int(seq_idx.max()) + 1
        return np.full((count, CLASSES), -np.log(CLASSES))


def model() -> MambaForClassification:
    torch.manual_seed(0)
    return MambaForClassification(MambaConfig(d_model=128, n_layer=12), CLASSES).eval()


def write_checkpoint(path: Path, window: int) -> None:
    net = model()
    meta: dict[str, Any] = {"format": 1, "task": "classification", "config": net.config.as_dict()}
    meta |= {"vocabulary": list(VOCABULARY), "classes": list("abcde"), "pooling": "mean"}
    weights = {f"model.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": weights, "genomamba": meta | {"length": window}}, path)


def write_bgzip(path: Path, bases: int, records: int = 10) -> None:
    """Random records, lines of 60, in bgzip blocks."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for number in range(records):
            letters = decode(rng.integers(0, 4, bases // records).astype(np.uint8))
            lines = b"\n".join(letters[i : i + 60] for i in range(0, len(letters), 60))
            text = b">r%d\n%s\n" % (number, lines)
            for start in range(0, len(text), BGZIP_BLOCK):
                file.write(bgzip_block(text[start : start + BGZIP_BLOCK]))
        file.write(BGZIP_EOF)


def bgzip_block(content: bytes) -> bytes:
    plain = gzip.compress(content, 6, mtime=0)
    size = len(plain) + 8 - 1
    head = plain[:3] + b"\x04" + plain[4:10] + b"\x06\x00BC\x02\x00" + size.to_bytes(2, "little")
    return head + plain[10:]


def seconds(work: Callable[[], Any], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def share(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, bases = Path(name), int(args.megabases * 1e6)
        write_bgzip(folder / "in.fa.gz", bases)
        write_checkpoint(folder / "model.ckpt", args.window)
        command = ["classify", folder / "in.fa.gz", "--checkpoint", folder / "model.ckpt"]
        command += ["--output", folder / "out.tsv", "--windows-output", folder / "windows.tsv"]
        command += ["--device", args.device, "--max-bases", max(args.window, 1 << 17)]
        with mock.patch.object(run, "WindowClassifier", NoModel):
            genomamba(list(map(str, [*command, "--records", "r0"])))  # what starts once, starts now
            cpu = sum(os.times()[:2])
            wall = seconds(lambda: genomamba(list(map(str, command))), args.device)
            cpu = sum(os.times()[:2]) - cpu
    classifier = WindowClassifier(model(), CLASSES, args.device)
    rows = max(1, args.forward_bases // args.window)
    shape = rows, min(args.window, args.forward_bases)
    windows = list(np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8))
    classifier(windows[:1])
    forward_cpu = sum(os.times()[:2])
    forward = seconds(lambda: classifier(windows), args.device) / np.prod(shape)
    forward_cpu = (sum(os.times()[:2]) - forward_cpu) / np.prod(shape)
    print(f"reading to tables, no model: {bases / wall / 1e6:8.2f} Mbp/s, CPU {cpu:.2f} s")
    print(f"the model's forward pass:    {1e-6 / forward:8.3f} Mbp/s")
    print(f"share of the forward time:   {wall / bases / forward:8.3%}")
    if args.device == "cpu":
        print(f"likewise, of CPU time:       {cpu / bases / forward_cpu:8.3%}")


def packing(args: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    if args.lengths == "uniform":
        lengths = rng.integers(SHORTEST, LONGEST + 1, args.records)
    else:
        lengths = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), args.records)).astype(int)
    records = [rng.integers(0, 4, length).astype(np.uint8) for length in lengths]
    classifier = WindowClassifier(model(), CLASSES, args.device)
    options = Options(window=LONGEST, max_bases=args.max_bases)
    rows = args.max_bases // LONGEST

    def packed() -> None:
        pieces = (Piece(i, 0, len(codes), codes) for i, codes in enumerate(records))
        budget = Budget(args.max_bases, lambda _: sys.exit("out of memory"))
        classify_windows(pieces, classifier, options, budget, lambda _: None)

    def one_by_one() -> None:
        for codes in records:
            classifier([codes])

    def padded() -> None:
        for start in range(0, len(records), rows):
            batch = records[start : start + rows]
            longest = max(map(len, batch))
            classifier([np.pad(codes, (0, longest - len(codes))) for codes in batch])

    bases = int(lengths.sum())
    print(f"{args.records:,} records, {bases:,} bases, lengths {args.lengths}")
    classifier(records[:2])
    rates = {}
    for name, work in (("packed", packed), ("one by one", one_by_one), ("padded", padded)):
        rates[name] = bases / seconds(work, args.device) / 1e6
        times = rates["packed"] / rates[name]
        print(f"{name:12} {rates[name]:8.3f} Mbp/s   packed is {times:.2f} times it", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("share")
    one.set_defaults(work=share)
    one.add_argument("--megabases", type=float, default=20)
    one.add_argument("--window", type=int, default=16_384)
    one.add_argument("--forward-bases", type=int, default=1 << 18)
    two = commands.add_parser("packing")
    two.set_defaults(work=packing)
    two.add_argument("--records", type=int, default=10_000)
    two.add_argument("--lengths", choices=["uniform", "log"], default="uniform")
    two.add_argument("--max-bases", type=int, default=1 << 17)
    for command in (one, two):
        command.add_argument("--device", default="cpu")
    args = parser.parse_args()
    where = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor()
    print(f"{where or platform.machine()}, {torch.get_num_threads()} threads, {torch.__version__}")
    args.work(args)


if __name__ == "__main__":
    main()

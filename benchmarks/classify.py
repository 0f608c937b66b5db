"""What ``genomamba classify`` costs beside the model: four modes, a row each as soon as it is done.

    python benchmarks/classify.py windows --device cuda
    python benchmarks/classify.py packing --device cuda
    python benchmarks/classify.py stream --device cuda
    python benchmarks/classify.py share --device cuda

windows: the command from a bgzip FASTA to tables in windows of 2^20 bases, beside the bare model's
forward pass over as long windows that lie on the device already (goal: 80 % of its rate).
packing: 10,000 records of 500 to 20,000 bases through the command's batches, beside one record at a
time and beside padding to the longest of a batch, of which a sample of the records is timed (goals:
5 and 3 times). stream: the command with --mode stream on one record of 248,956,422 bases and on a
quarter of it, and the memory of both (goal: the same). share: the command with a model that does
nothing (checking, reading, cutting, batching, journal, shards, tables), beside the bare model's
time for as many bases (goal: 10 % at most).

Random weights, random bases, float32, shape model/1.4m unless --model says another. Files are made
in a temporary folder before the clock runs; compiling the kernels is not counted either: each mode
first does a little of the same work. Rows go to --output.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "kernels" / "benchmarks"))

from bgzip_input import write_bgzip
from peak_memory import PeakMemory
from records import append_row, environment
from sizes import size

from genomamba.cli import main as genomamba
from genomamba.data.tokens import VOCABULARY
from genomamba.inference import run
from genomamba.inference.budget import Budget
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.options import MAX_BASES, Options
from genomamba.inference.reading import Piece
from genomamba.inference.windows_job import classify_windows
from genomamba.models import MambaConfig, MambaForClassification
from genomamba_data_prep.codes import Codes

CLASSES = 5
SHORTEST, LONGEST = 500, 20_000
HUMAN_CHR1 = 248_956_422  # bases of GRCh38's chromosome 1
COLUMNS = (
    *("mode", "case", "window", "max_bases", "records", "bases", "seconds", "mbp_s", "cpu_seconds"),
    *("reference", "reference_mbp_s", "ratio", "goal", "gpu_peak_mib", "rss_peak_mib", "note"),
)


class NoModel(WindowClassifier):
    """Takes the tokens to the device and says that all classes are alike."""

    def _forward(self, codes, seq_idx):
        self.tokens(codes)
        count = len(codes) if seq_idx is None else int(seq_idx.max()) + 1
        return np.full((count, CLASSES), -np.log(CLASSES))


class Bench:
    """What the modes share: the model, its checkpoint, the clock and the rows."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.device = torch.device(args.device)
        self.max_bases: int = args.max_bases or MAX_BASES[self.device.type]
        self._constant = environment(self.device)

    def model(self) -> MambaForClassification:
        torch.manual_seed(0)
        width, depth = map(int, self.args.model.split("x"))
        return MambaForClassification(MambaConfig(d_model=width, n_layer=depth), CLASSES).eval()

    def measured(self, work: Callable[[], Any]) -> PeakMemory:
        """Do the work; its time and memory."""
        with PeakMemory(self.device) as found:
            work()
        return found

    def fasta(self, lengths: Sequence[int]) -> Path:
        path = self.folder / f"{sum(lengths)}.fa.gz"
        write_bgzip(path, lengths)
        return path

    def command(self, fasta: Path, window: int, *options: str) -> None:
        """`genomamba classify` of a file."""
        checkpoint = self.folder / "model.ckpt"
        if not checkpoint.exists():
            self._write_checkpoint(checkpoint, window)
        given = [str(fasta), "--checkpoint", str(checkpoint), "--window", str(window)]
        given += ["--output", str(self.folder / f"{fasta.name}.tsv"), "--device", self.args.device]
        code = genomamba(["classify", *given, "--max-bases", str(self.max_bases), *options])
        if code != 0:  # 3: memory did not hold --max-bases
            sys.exit(f"genomamba classify ended with {code}")

    def _write_checkpoint(self, path: Path, window: int) -> None:
        net = self.model()
        meta: dict[str, Any] = {"format": 1, "task": "classification", "pooling": "mean"}
        meta |= {"vocabulary": list(VOCABULARY), "classes": list("abcde"), "length": window}
        weights = {f"model.{name}": value for name, value in net.state_dict().items()}
        meta["config"] = net.config.as_dict()
        torch.save({"state_dict": weights, "genomamba": meta}, path)

    @torch.inference_mode()
    def bare(self, window: int, bases: int) -> Callable[[], float]:
        """A clock of the bare model: bases a second over windows that are on the device.

        On the CPU in pieces that its caches hold, as the command; on a GPU window by window.
        """
        model = WindowClassifier(self.model(), CLASSES, self.device).model
        rows = max(1, min(self.max_bases, bases) // window)
        batches = max(1, bases // (rows * window))
        generator = torch.Generator().manual_seed(1)
        shape = batches, rows, window
        tokens = torch.randint(4, shape, generator=generator, dtype=torch.uint8).to(self.device)

        @torch.inference_mode()
        def rate() -> float:
            found = self.measured(lambda: [model(batch) for batch in tokens])
            return tokens.numel() / found.seconds

        if self.device.type == "cuda":
            rate()  # compiles
        return rate

    def row(self, found: PeakMemory, case: str, bases: int, **fields: Any) -> None:
        """Write and print a row."""
        row = {"mode": self.args.mode, "case": case, "max_bases": self.max_bases, "bases": bases}
        row |= {"seconds": f"{found.seconds:.3f}", "mbp_s": f"{bases / found.seconds / 1e6:.4g}"}
        row |= {"rss_peak_mib": f"{found.rss_mib:.0f}", "window": self.args.window}
        if found.gpu_mib is not None:
            row["gpu_peak_mib"] = f"{found.gpu_mib:.1f}"
        row |= fields
        assert row.keys() <= set(COLUMNS)
        row = {**self._constant, "model": self.args.model} | {c: row.get(c, "") for c in COLUMNS}
        append_row(self.args.output, row)
        print(
            ", ".join(f"{name} {value}" for name, value in row.items() if value != ""), flush=True
        )


def windows(bench: Bench) -> None:
    args, window = bench.args, bench.args.window
    lengths = [args.bases // args.records] * args.records
    fasta, warm = bench.fasta(lengths), bench.fasta([window])
    bench.command(warm, window)
    bare = bench.bare(window, args.forward_bases)
    before = bare()
    found = bench.measured(lambda: bench.command(fasta, window))
    rate = 2 / (1 / before + 1 / bare())  # the clocks may change: before and after
    bases = sum(lengths)
    bench.row(
        found,
        "bgzip FASTA to tables",
        bases,
        records=args.records,
        reference="bare forward, windows on the device",
        reference_mbp_s=f"{rate / 1e6:.4g}",
        ratio=f"{bases / found.seconds / rate:.3f}",
        goal=">= 0.8",
        note=f"bare forward timed on {args.forward_bases} bases, before and after",
    )


def share(bench: Bench) -> None:
    args, window = bench.args, bench.args.window
    lengths = [args.bases // args.records] * args.records
    fasta, warm = bench.fasta(lengths), bench.fasta([window])
    with mock.patch.object(run, "WindowClassifier", NoModel):
        bench.command(warm, window)
        cpu = sum(os.times()[:2])
        options = "--windows-output", str(bench.folder / "windows.tsv")
        found = bench.measured(lambda: bench.command(fasta, window, *options))
        cpu = sum(os.times()[:2]) - cpu
    rate, bases = bench.bare(window, args.forward_bases)(), sum(lengths)
    bench.row(
        found,
        "no model",
        bases,
        records=args.records,
        cpu_seconds=f"{cpu:.2f}",
        reference="bare forward",
        reference_mbp_s=f"{rate / 1e6:.4g}",
        ratio=f"{found.seconds / (bases / rate):.5f}",
        goal="<= 0.1",
        note=f"bare forward timed on {args.forward_bases} bases; ratio of wall times",
    )


def stream(bench: Bench) -> None:
    args = bench.args
    peaks: list[PeakMemory] = []
    warm = bench.fasta([2 * bench.max_bases])
    options = "--mode", "stream"
    bench.command(warm, args.window, *options)
    for length in (args.length // 4, args.length):
        fasta = bench.fasta([length])
        peaks.append(
            bench.measured(lambda fasta=fasta: bench.command(fasta, args.window, *options))
        )
        fasta.unlink()
        fields: dict[str, Any] = {"records": 1}
        if len(peaks) == 2:
            first, whole = peaks
            rss = whole.rss_mib / first.rss_mib
            gpu = whole.gpu_mib / first.gpu_mib if whole.gpu_mib and first.gpu_mib else None
            fields["reference"] = "peak memory at a quarter of the length"
            fields["ratio"] = f"{gpu or rss:.3f}"
            fields["note"] = f"ratio of {'GPU' if gpu else 'RSS'} peaks; of RSS peaks {rss:.3f}"
            fields["goal"] = "1"
        bench.row(peaks[-1], "one record", length, **fields)


def packing(bench: Bench) -> None:
    args, rng = bench.args, np.random.default_rng(0)
    if args.lengths == "uniform":
        lengths = rng.integers(SHORTEST, LONGEST + 1, args.records)
    else:
        lengths = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), args.records)).astype(int)
    records = [rng.integers(0, 4, length).astype(np.uint8) for length in lengths]
    classifier = WindowClassifier(bench.model(), CLASSES, args.device)
    rows = max(1, bench.max_bases // LONGEST)

    def packed(records: Sequence[Codes]) -> None:
        pieces = (Piece(i, 0, len(codes), codes) for i, codes in enumerate(records))
        budget = Budget(bench.max_bases, lambda _: sys.exit("out of memory"))
        options = Options(window=LONGEST, max_bases=bench.max_bases)
        classify_windows(pieces, classifier, options, budget, lambda _: None)

    def one_by_one(records: Sequence[Codes]) -> None:
        for codes in records:
            classifier([codes])

    def padded(records: Sequence[Codes]) -> None:
        for start in range(0, len(records), rows):
            batch = records[start : start + rows]
            longest = max(map(len, batch))
            classifier([np.pad(codes, (0, longest - len(codes))) for codes in batch])

    sample = records[: args.sample]
    ways = {
        "packed": (packed, records, ""),
        "one by one": (one_by_one, sample, ">= 5"),
        "padded to the batch's longest": (padded, sample, ">= 3"),
    }
    ours = 0.0
    for name, (work, given, goal) in ways.items():
        work(records[: 4 * rows if bench.device.type == "cuda" else 1])  # compiles
        found = bench.measured(partial(work, given))
        bases = sum(map(len, given))
        rate = bases / found.seconds
        fields: dict[str, Any] = {"records": len(given), "window": LONGEST}
        if goal:
            fields |= {"reference": "packed", "reference_mbp_s": f"{ours / 1e6:.4g}"}
            fields |= {"ratio": f"{ours / rate:.3f}", "goal": goal}
        else:
            ours = rate
        note = f"{args.lengths} lengths {SHORTEST} to {LONGEST}"
        if len(given) < len(records):
            note += f"; the first {len(given)} of {len(records)} records"
        bench.row(found, name, bases, note=note, **fields)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    modes = parser.add_subparsers(required=True, dest="mode")
    for name, work in (("windows", windows), ("packing", packing), ("stream", stream)):
        modes.add_parser(name).set_defaults(work=work)
    modes.add_parser("share").set_defaults(work=share)
    for name in ("windows", "share"):
        add = modes.choices[name].add_argument
        add("--bases", type=size, default=2**27, help="of the file (default 2^27)")
        add("--records", type=int, default=4)
        add("--window", type=size, default=2**20, help="bases, such as 2^14 (default 2^20)")
        add(
            "--forward-bases",
            type=size,
            default=2**24,
            help="for the bare model, at least a window",
        )
    add = modes.choices["stream"].add_argument
    add("--length", type=size, default=HUMAN_CHR1, help="bases of the record")
    add("--window", type=size, default=2**20, help=argparse.SUPPRESS)
    add = modes.choices["packing"].add_argument
    add("--records", type=int, default=10_000)
    add("--sample", type=int, default=1000, help="records for the two slow sides (default 1000)")
    add("--lengths", choices=["log", "uniform"], default="log", help="log: their logarithm uniform")
    add("--window", type=size, default=LONGEST, help=argparse.SUPPRESS)
    for mode in modes.choices.values():
        mode.add_argument("--max-bases", type=size, help="as of the command (default: likewise)")
        mode.add_argument("--model", default="128x12", help="d_model x n_layer")
        mode.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        results = Path(__file__).parent / "results" / "classify.csv"
        mode.add_argument("--output", type=Path, default=results)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        args.work(Bench(args, Path(folder)))


if __name__ == "__main__":
    main()

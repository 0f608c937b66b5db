"""Throughput of drawing and gathering windows, in Gbp/s: python data_prep/benchmarks/windows.py

Two synthetic genomes with a run of N each, so that every window is checked; reverse complement half
the time; random access. Rows: the sampler alone, the loader in the training process, the loader
with one worker process. The store stays in the page cache. Prints a TSV; best of three.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from genomamba.data.datasets import SampledWindows, as_drawn
from genomamba.data.samplers import StepBatchSampler
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.windows import WindowSampler

SHAPES = ((1024, 1024), (64, 16384), (4, 1 << 18), (1, 1 << 20))  # windows a batch, length


def make_set(folder: Path, bases: int) -> SpeciesSet:
    rows = ["species\tstore"]
    for number, species in enumerate(("first", "second")):
        codes = np.random.default_rng(number).integers(0, 8, bases, dtype=np.uint8)
        letters = np.frombuffer(b"ACGTacgt", np.uint8)[codes]
        letters[bases // 3 : bases // 3 + bases // 100] = ord("N")
        fasta = folder / f"{species}.fa"
        fasta.write_bytes(b">chr1\n" + letters.tobytes() + b"\n")
        encode_fasta([fasta], folder / species)
        fasta.unlink()
        rows.append(f"{species}\t{species}")
    path = folder / "set.tsv"
    path.write_text("\n".join(rows) + "\n")
    return SpeciesSet.read(path)


def best_rate(run: Callable[[], int]) -> float:
    """Gbp/s of the best of three runs; ``run`` returns the bases that it read."""
    rates = []
    for _ in range(3):
        begin = time.perf_counter()
        bases = run()
        rates.append(bases / (time.perf_counter() - begin) / 1e9)
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", type=int, default=100_000_000, help="of each genome")
    parser.add_argument("--read", type=int, default=1 << 29, help="bases to read a run")
    args = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, NumPy {np.__version__}")
    print("batch\tlength\tsampler\tloader\tloader, 1 worker\tunit")
    with tempfile.TemporaryDirectory() as folder:
        species_set = make_set(Path(folder), args.bases)
        intervals = [Interval(s, "chr1", 0, args.bases, "train") for s in species_set.classes]
        for size, length in SHAPES:
            batches = max(8, args.read // (size * length))
            sampler = WindowSampler(species_set, intervals, length, seed=0)

            def draw(sampler=sampler, size=size, n=batches) -> int:
                for number in range(n):
                    windows = sampler.draw(np.arange(number * size, (number + 1) * size))
                    sampler.codes(windows)
                return n * size * sampler.length

            def load(workers: int, sampler=sampler, size=size, batches=batches) -> float:
                loader = DataLoader(
                    SampledWindows(sampler, labelled=True),
                    batch_sampler=StepBatchSampler(size),
                    num_workers=workers,
                    collate_fn=as_drawn,
                )
                stream = iter(loader)
                next(stream)  # the worker's start-up is not the rate
                return best_rate(lambda: sum(b.codes.numel() for b in islice(stream, batches)))

            row = (size, length, *(f"{rate:.2f}" for rate in (best_rate(draw), load(0), load(1))))
            print(*row, "Gbp/s", sep="\t")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

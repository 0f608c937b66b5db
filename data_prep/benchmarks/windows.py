"""Throughput and memory of reading windows: python data_prep/benchmarks/windows.py

Two synthetic genomes (lines of 60 bases, half lower case, a run of N each), windows at random
places, reverse complement half the time, everything in the page cache. Prints tables of
tab-separated values, best of three runs each; then each target with what was measured. Other work
on the machine shows in the figures: run it on an idle one. `--profile` adds where the time goes,
`--cold DIR` the reading of stores that are not in the page cache.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from window_memory import tree_pss
from window_peers import DictionaryTokeniser, MapCopy, NumpyEncoding

from genomamba.data.datasets import SampledWindows
from genomamba.data.loader import WindowLoader
from genomamba.data.samplers import StepBatchSampler
from genomamba.data.schedule import Schedule
from genomamba_data_prep.encode import encode_fasta
from genomamba_data_prep.species_set import SpeciesSet
from genomamba_data_prep.splits import Interval
from genomamba_data_prep.store import CODES_NAME
from genomamba_data_prep.window_reader import REVERSE
from genomamba_data_prep.windows import WindowSampler

SHAPES = ((1024, 1024), (64, 16384), (4, 1 << 18), (1, 1 << 20))  # windows a batch, length
LONG = 1 << 20
WIDTH = 60  # bases a line


def write_genomes(folder: Path, bases: int) -> tuple[Path, Path]:
    """Two species as stores and as FASTA files; returns the set of each."""
    bases -= bases % WIDTH
    rows = {"stores": ["species\tstore"], "fastas": ["species\tstore"]}
    for number, species in enumerate(("first", "second")):
        codes = np.random.default_rng(number).integers(0, 8, bases, dtype=np.uint8)
        letters = np.frombuffer(b"ACGTacgt", np.uint8)[codes]
        letters[bases // 3 : bases // 3 + bases // 100] = ord("N")
        lines = np.full((bases // WIDTH, WIDTH + 1), ord("\n"), dtype=np.uint8)
        lines[:, :WIDTH] = letters.reshape(-1, WIDTH)
        fasta = folder / f"{species}.fa"
        fasta.write_bytes(b">chr1\n" + lines.tobytes())
        encode_fasta([fasta], folder / species)
        rows["stores"].append(f"{species}\t{species}")
        rows["fastas"].append(f"{species}\t{species}.fa")
    for name, content in rows.items():
        (folder / f"{name}.tsv").write_text("\n".join(content) + "\n")
    return folder / "stores.tsv", folder / "fastas.tsv"


def sampler_of(species_set: SpeciesSet, length: int, seed: int = 0) -> WindowSampler:
    intervals = [
        Interval(species, name, 0, species_set.length(species, name), "train")
        for species in species_set.classes
        for name in species_set.records(species)
    ]
    return WindowSampler(species_set, intervals, length, seed=seed)


def best_rate(run: Callable[[], int], runs: int = 3) -> float:
    """Mbp/s of the best run; ``run`` returns the bases that it read."""
    rates = []
    for _ in range(runs):
        begin = time.perf_counter()
        bases = run()
        rates.append(bases / (time.perf_counter() - begin) / 1e6)
    return max(rates)


def loader_of(species_set: SpeciesSet, size: int, length: int, workers: int) -> WindowLoader:
    schedule = Schedule(length, size)
    dataset = SampledWindows(schedule, lambda n: sampler_of(species_set, n), labelled=True)
    sampler = StepBatchSampler(schedule)
    return WindowLoader(dataset, sampler, sampler.shapes, num_workers=workers)


def loader_rate(species_set: SpeciesSet, size: int, length: int, workers: int, read: int) -> float:
    stream = iter(loader_of(species_set, size, length, workers))
    next(stream)  # the processes' start-up is not the rate
    batches = max(8, read // (size * length))
    return best_rate(lambda: sum(batch.codes.numel() for batch in islice(stream, batches)))


def places(sampler: WindowSampler, windows: int) -> Iterator[tuple[str, int, int, bool]]:
    """The first species' windows among the sampler's first ones."""
    drawn = sampler.draw(np.arange(2 * windows))
    own = np.flatnonzero(drawn.species == 0)[:windows]
    for start, strand in zip(drawn.start[own].tolist(), drawn.strand[own].tolist(), strict=True):
        yield "chr1", start, start + sampler.length, strand == REVERSE


def peer_rate(peer: Any, sampler: WindowSampler, windows: int) -> float:
    own = list(places(sampler, windows))
    peer.read("chr1", 0, 1000, True)
    return best_rate(lambda: sum(peer.read(*place).numel() for place in own))


def profile(species_set: SpeciesSet, read: int) -> None:
    """Where the time goes in the loading process, by function."""
    for size, length in (SHAPES[0], SHAPES[-1]):
        stream = iter(loader_of(species_set, size, length, 0))
        next(stream)
        profiler = cProfile.Profile()
        profiler.runcall(lambda s=stream, n=read // (size * length): list(map(len, islice(s, n))))
        print(f"\n# profile, {size} windows of {length} bases a batch")
        pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(10)


def memory(species_set: SpeciesSet) -> None:
    """Proportional set size while batches of 16 windows of 2^18 bases pass."""
    print("\nworkers\tthis process, MiB\tits children, MiB\tall, MiB\t(PSS without store pages)")
    for workers in (0, 1, 2, 4):
        stream = iter(loader_of(species_set, 16, 1 << 18, workers))
        for _ in islice(stream, 12):
            pass
        own, others = (np.array(value) / 2**20 for value in tree_pss())
        listed = " ".join(f"{value:.1f}" for value in np.atleast_1d(others))
        print(
            workers, f"{own:.1f}", listed or "-", f"{own + others.sum():.1f}", sep="\t", flush=True
        )
        stream.close()  # type: ignore[attr-defined]


def cold(folder: Path, bases: int) -> None:
    """Reading a store whose pages were dropped from the cache before each run."""
    species_set = SpeciesSet.open(write_genomes(folder, bases)[0])
    print("\nbatch\tlength\tcold, Mbp/s\t(page cache dropped before each run)")
    for size, length in SHAPES:
        rates = []
        for run in range(3):
            for species in species_set.classes:
                with (species_set.stores[species].path / CODES_NAME).open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            fresh = SpeciesSet.open(species_set.path)  # without a map that holds the pages
            sampler = sampler_of(fresh, length, seed=run)
            batches = max(1, (1 << 24 if length < 1 << 18 else 1 << 27) // (size * length))
            begin = time.perf_counter()
            for number in range(batches):
                sampler.codes(sampler.draw(np.arange(number * size, (number + 1) * size)))
            rates.append(batches * size * length / (time.perf_counter() - begin) / 1e6)
        print(size, length, f"{max(rates):.0f}", sep="\t", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bases", type=int, default=100_000_000, help="of each genome")
    parser.add_argument("--read", type=int, default=1 << 29, help="bases to read a run")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--cold", type=Path, metavar="DIR", help="a folder on the disk to measure")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    print(f"# {platform.machine()}, {os.cpu_count()} CPUs, NumPy {np.__version__}, ", end="")
    print(f"PyTorch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores, fastas = write_genomes(folder, args.bases)
        species_set = SpeciesSet.open(stores)
        rates = {}
        print("batch\tlength\tno worker\t1 worker\t2 workers\t(Mbp/s reaching this process)")
        for size, length in SHAPES:
            row = [loader_rate(species_set, size, length, n, args.read) for n in (0, 1, 2)]
            rates[size, length] = row
            print(size, length, *(f"{rate:.0f}" for rate in row), sep="\t", flush=True)

        sampler = sampler_of(species_set, LONG)
        fasta = folder / "first.fa"
        peers = {
            "pyfaidx, dictionary tokeniser": (DictionaryTokeniser(fasta), 8),
            "pyfaidx, NumPy encoding": (NumpyEncoding(fasta), 100),
            "memory map, copy only": (MapCopy(folder / "first" / CODES_NAME), 400),
        }
        print(f"\nwindows of {LONG} bases, one at a time\tMbp/s")
        for name, (peer, windows) in peers.items():
            rates[name] = peer_rate(peer, sampler, windows)
            print(name, f"{rates[name]:.0f}", sep="\t", flush=True)
        direct = loader_rate(SpeciesSet.open(fastas), 1, LONG, 0, 1 << 27)
        print("FASTA in place, no worker", f"{direct:.0f}", sep="\t", flush=True)
        memory(species_set)
        if args.profile:
            profile(species_set, args.read)

    ours, with_worker, _ = rates[1, LONG]
    print("\ntarget\tmeasured")
    print(f"2^20, no worker: 1400 Mbp/s\t{ours:.0f}")
    print(f"2^20, 1 worker: 800 Mbp/s\t{with_worker:.0f}")
    print(f"60 x the dictionary tokeniser\t{ours / rates['pyfaidx, dictionary tokeniser']:.0f}")
    print(f"5 x NumPy encoding\t{ours / rates['pyfaidx, NumPy encoding']:.1f}")
    print(f"2^10, batch 1024, 1 worker: 100 Mbp/s\t{rates[1024, 1024][1]:.0f}")
    if args.cold:
        with tempfile.TemporaryDirectory(dir=args.cold) as name:
            cold(Path(name), args.bases)


if __name__ == "__main__":
    main()

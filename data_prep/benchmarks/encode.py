"""FASTA to codes: genomamba against pyfaidx and Biopython, on the same file, in the same run.

    python data_prep/benchmarks/encode.py --megabases 500

Every reader starts as a new process without an index; the file is in the page cache for all. The
peers read, translate to codes and keep one record at a time; genomamba also checks every letter,
hashes source and codes, counts, and writes the store to disk. CPU is user and system time together,
so that Mbp/s a core does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

RECORDS = 10
LINE = 60


class Cost(NamedTuple):
    """What a process took: seconds, seconds, bytes."""

    wall: float
    cpu: float
    peak: int


def write_fasta(path: str, megabases: int) -> None:
    """Records of equal length, half of the bases in lower case, 5 % N in runs."""
    import numpy as np

    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    rows = megabases * 1_000_000 // RECORDS // LINE
    with open(path, "wb") as file:
        for record in range(RECORDS):
            file.write(b">chr%d synthetic\n" % (record + 1))
            lines = np.full((rows, LINE + 1), ord("\n"), dtype=np.uint8)
            lines[:, :LINE] = letters[rng.integers(0, 4, (rows, LINE), dtype=np.uint8)]
            for start in range(0, rows, 10):  # repeats of 300 bases
                lines[start : start + 5, :LINE] |= 0x20
            lines[: rows // 20, :LINE] = ord("N")
            file.write(lines.tobytes())


def read_with(reader: str, fasta: str) -> None:
    """Read all records as codes with a peer."""
    from genomamba_data_prep.codes import encode

    if reader == "pyfaidx":
        from pyfaidx import Fasta

        for record in Fasta(fasta, as_raw=True, rebuild=True):
            encode(record[:].encode())
    elif reader == "SeqIO.parse":
        from Bio import SeqIO

        for record in SeqIO.parse(fasta, "fasta"):
            encode(bytes(record.seq))
    else:
        from Bio.SeqIO.FastaIO import SimpleFastaParser

        with open(fasta) as file:
            for _, letters in SimpleFastaParser(file):
                encode(letters.encode())


def measure(command: list[str]) -> Cost:
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    wall = time.perf_counter() - start
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(folder: Path, megabases: int, repeats: int) -> None:
    fasta = folder / "synthetic.fa"
    script = [sys.executable, __file__, "--megabases", str(megabases), "--fasta", str(fasta)]
    # In a process of its own: a child's peak memory counts its parent's at the fork.
    subprocess.run([*script, "--task", "write"], check=True)
    bases = megabases * 1_000_000 // RECORDS // LINE * LINE * RECORDS
    encode = [sys.executable, "-m", "genomamba", "prepare", "encode", str(fasta)]
    readers = {"genomamba": [*encode, "--output", str(folder / "store"), "--force"]}
    for peer in ("pyfaidx", "SimpleFastaParser", "SeqIO.parse"):
        readers[peer] = [*script, "--task", peer]
    _print_versions(bases)
    print(
        f"{'reader':<18}{'wall s':>8}{'CPU s':>8}{'Mbp/s wall':>12}{'Mbp/s CPU':>11}{'peak MB':>9}"
    )
    for name, command in readers.items():
        costs = []
        for _ in range(repeats):
            fasta.with_name(fasta.name + ".fai").unlink(missing_ok=True)
            costs.append(measure(command))
        wall = statistics.median(cost.wall for cost in costs)
        cpu = statistics.median(cost.cpu for cost in costs)
        peak = max(cost.peak for cost in costs) / 1e6
        speeds = f"{bases / wall / 1e6:>12.0f}{bases / cpu / 1e6:>11.0f}"
        print(f"{name:<18}{wall:>8.2f}{cpu:>8.2f}{speeds}{peak:>9.0f}")


def _print_versions(bases: int) -> None:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyfaidx", "biopython"))
    print(f"commit {commit}; {platform.python_implementation()} {platform.python_version()}, ")
    print(f"{packages}; {os.cpu_count()} cores, {_processor()}; {bases:,} bases, lines of {LINE}\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabases", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3, help="the median is printed")
    parser.add_argument("--folder", help="where to write the files (default: the temporary folder)")
    parser.add_argument("--task", help=argparse.SUPPRESS)  # of a process that this one starts
    parser.add_argument("--fasta", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task == "write":
        write_fasta(args.fasta, args.megabases)
    elif args.task:
        read_with(args.task, args.fasta)
    else:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            compare(Path(folder), args.megabases, args.repeats)


if __name__ == "__main__":
    main()

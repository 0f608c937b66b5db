"""Measures how fast genomes are simulated, FASTA output included.

    python data_prep/benchmarks/simulate.py [--megabases 4] [--repeats 3]

Prints a TSV: signal, million bases of all species, CPU seconds (the least of the repeats), million
bases a CPU second. One process, one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from genomamba_data_prep.simulate.clade import Clade, write_clade
from genomamba_data_prep.simulate.markov_simulation import markov_truth, write_markov
from genomamba_data_prep.simulate.masks import Runs
from genomamba_data_prep.simulate.tree import SPECIES

N_RUNS, SOFT_MASK_RUNS = Runs(0.002, 300.0), Runs(0.4, 300.0)


def simulate(signal: str, directory: Path, length: int) -> None:
    """Two chromosomes of every species."""
    if signal == "clade":
        write_clade(directory, Clade(chromosomes=2, length=length, seed=0, n_runs=N_RUNS))
        return
    truth = markov_truth(
        chromosomes=2,
        length=length,
        seed=0,
        order=2,
        kl=1.5e-5,
        n_runs=N_RUNS,
        soft_mask_runs=SOFT_MASK_RUNS,
    )
    write_markov(directory, truth)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure how fast genomes are simulated.")
    parser.add_argument("--megabases", type=int, default=4, help="of a chromosome; default 4")
    parser.add_argument("--repeats", type=int, default=3, help="default 3")
    args = parser.parse_args()
    bases = 2 * len(SPECIES) * args.megabases
    print("signal\tMbp\tcpu_s\tMbp_per_s")
    for signal in ("markov", "clade"):
        seconds = []
        for _ in range(args.repeats):
            with tempfile.TemporaryDirectory() as directory:
                begin = time.process_time()
                simulate(signal, Path(directory), args.megabases * 1_000_000)
                seconds.append(time.process_time() - begin)
        print(f"{signal}\t{bases}\t{min(seconds):.2f}\t{bases / min(seconds):.1f}")


if __name__ == "__main__":
    main()

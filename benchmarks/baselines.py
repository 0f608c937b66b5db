"""Mamba beside S4D, a Transformer and Hyena on the same footing; a row for each figure.

    python benchmarks/baselines.py --output results/baselines.csv
    python benchmarks/baselines.py --phases step decode --device cuda --output results/baselines.csv
    python benchmarks/baselines.py --phases induction --steps 20000 --minutes 5 --output out.csv
    python benchmarks/baselines.py --phases next-token clade --species-set human.tsv
        --splits splits.tsv --train-lengths 1024 16384 --output out.csv

Phases, each for every mixer, with the same data, optimiser and steps, and as many blocks of
matrices of as many weights (mlp_ratio 1). Each row says the parameters: Hyena's filters add some
10,000 and 64 d_model a block.

- induction: ``genomamba fit`` of the task on --task-configs, then ``test`` at --test-lengths;
- next-token: ``genomamba fit`` of pretraining/base at --train-lengths, then ``validate``: bits a
  base on the validation windows. Of a clade that is simulated where no --species-set is given;
- clade: the same of species/base, the accuracy on the validation windows;
- step: tokens/s and peak memory (of a GPU) of a training step, next-token loss, random tokens, at
  --step-lengths; bf16 autocast on a GPU;
- decode: tokens/s of one step a token after a prompt of --prompt tokens, mixers mamba and
  attention. The Transformer is the usual one here, with mlp_ratio 4, heads of 64
  and half the blocks.

A training ends after --steps ("budget" in the row), when it has learnt the task ("convergence"), or
after --minutes ("time"): then the learning rate's schedule, which is of all steps, is unfinished.

A row is appended as soon as it is known, and one that is there is not measured again: run the same
command again to go on. What does not fit the memory is a row, "out of memory", and so is what
failed; after it, and after a test pass or a step of more than --most-seconds, the phase leaves
longer lengths out. The exit code is 1 if something failed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "kernels" / "benchmarks"))

import torch
from baseline_runs import clade, induction, next_token
from baseline_speed import decode, step
from baseline_table import Figure, Point, Table, measure_all

from genomamba.models.config import ABILITIES
from genomamba_data_prep.errors import InputError

TRAININGS = {"induction": induction, "next-token": next_token, "clade": clade}
PHASES = (*TRAININGS, "step", "decode")


def points_of(phase: str, mixer: str, args: argparse.Namespace) -> Iterator[Point]:
    """In the order of their cost."""
    device = torch.device(args.device)
    if phase in TRAININGS:
        train, lengths = TRAININGS[phase], args.train_lengths
        if phase == "induction":
            lengths = args.test_lengths
        for length in sorted(lengths):

            def learn(length: int = length) -> list[Figure]:
                return train(mixer, length, args)

            yield Point(phase, mixer, "config", length, "", learn)
    elif phase == "step":
        for length in sorted(args.step_lengths):
            batch = max(1, args.step_tokens // length)

            def measure(length: int = length, batch: int = batch) -> list[Figure]:
                return step(mixer, args.shape, length, batch, device)

            yield Point(phase, mixer, args.shape, length, batch, measure)
    elif mixer in ("mamba", "attention"):
        for batch in sorted(args.batches):

            def measured(batch: int = batch) -> list[Figure]:
                return decode(mixer, args.decode_shape, args.prompt, batch, device)

            yield Point(phase, mixer, args.decode_shape, args.prompt, batch, measured)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--phases", nargs="+", choices=PHASES, default=list(PHASES))
    add("--mixers", nargs="+", choices=list(ABILITIES), default=list(ABILITIES))
    add("--output", type=Path, required=True, metavar="CSV")
    add("--runs", type=Path, default=Path("runs/baselines"), help="folder of the trainings")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--seed", type=int, default=0)
    add("--steps", type=int, default=20_000, help="of each training, at most")
    add("--minutes", type=float, default=10.0, help="of each training, at most")
    add(
        "--most-seconds",
        type=float,
        default=60.0,
        help="a test pass or step; longer ones are left out",
    )
    add("--task-configs", nargs="+", default=["tasks/induction"])
    add("--task-length", type=int, default=256, help="Hyena's filter_length: the task's length")
    add("--test-lengths", nargs="+", type=int, default=[2**n for n in range(6, 21, 2)])
    add("--test-examples", type=int, default=64)
    add("--species-set", type=Path, help="store and names; with --splits")
    add("--splits", type=Path)
    add("--model-config", default="model/tiny", help="shape of next-token and clade")
    add("--train-lengths", nargs="+", type=int, default=[1024, 8192])
    add("--batch-tokens", type=int, default=2**16, help="a step of next-token and clade")
    add("--valid-examples", type=int, default=1024, help="of next-token and clade")
    add("--shape", default="128x12", help="d_model x n_layer of step")
    add("--step-lengths", nargs="+", type=int, default=[2**n for n in range(10, 21, 2)])
    add("--step-tokens", type=int, default=2**16, help="fills the batch of short lengths")
    add("--decode-shape", default="768x24", help="d_model x n_layer of Mamba; 2048x48 is 1.4B")
    add("--batches", nargs="+", type=int, default=[1, 64], help="of decode")
    add("--prompt", type=int, default=2048, help="tokens before the first step of decode")
    args = parser.parse_args()
    if (args.species_set is None) != (args.splits is None):
        parser.error("--species-set and --splits: expected both or neither")
    return args


def main() -> int:
    args = parse()
    command = shlex.join(["python", *sys.argv])
    try:
        table = Table(args.output, command, torch.device(args.device), args.seed)
        for phase in args.phases:
            for mixer in args.mixers:
                measure_all(table, points_of(phase, mixer, args), args.most_seconds)
    except InputError as error:
        print(f"baselines: error: {error}", file=sys.stderr)
        return 2
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())

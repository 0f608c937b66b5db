"""Trains one model with two backends on the same data, and once on the same data in another order.

    python kernels/benchmarks/curves.py

Two correct backends differ by rounding, which training slowly amplifies. What they may differ by:
at most 1e-4 of loss over the first 20 steps, and after that at most a quarter, on average, of what
another order of the data changes. Runs `genomamba` itself: simulate, encode, split, and three
trainings side by side. Writes the three curves as a CSV; exit code 1 if a criterion is missed.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from records import environment

EARLY_STEPS, EARLY_LIMIT = 20, 1e-4
LATE_SHARE = 0.25
GENOMAMBA = (sys.executable, "-m", "genomamba")


def genomamba(*arguments: Any) -> None:
    command = [*GENOMAMBA, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")


def prepare(folder: Path) -> tuple[Path, Path]:
    """A species' store and its splits, from a simulated clade."""
    clade, store, splits = folder / "clade", folder / "store", folder / "splits.tsv"
    genomamba(
        *("prepare", "simulate", "--preset", "demo", "--chromosomes", 2, "--length", 500_000),
        *("--output", clade),
    )
    fasta = min(clade.glob("*.fa"))
    genomamba("prepare", "encode", fasta, "--output", store)
    genomamba(
        *("prepare", "split", store, "--train", "chr1", "--valid", "chr2", "--output", splits)
    )
    return store, splits


def train(
    run: Path, backend: str, order: int, data: tuple[Path, Path], arguments: argparse.Namespace
) -> subprocess.Popen[str]:
    """Starts a training in float32; the network's seed is always the same."""
    store, splits = data
    options = {
        "run": run,
        "trainer.precision": "32-true",
        "trainer.accelerator": arguments.accelerator,
        "trainer.max_steps": arguments.steps,
        "trainer.log_every_n_steps": 1,
        "trainer.limit_val_batches": 0,
        "model.init_args.backbone.backend": backend,
        "data.init_args.species_set": store,
        "data.init_args.splits": splits,
        "data.init_args.length": arguments.length,
        "data.init_args.batch_size": arguments.batch_size,
        "data.init_args.num_workers": 0,
        "data.init_args.seed": order,
    }
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    configs = ["--config", "pretraining/base", "--config", f"model/{arguments.model}"]
    return subprocess.Popen(
        [*GENOMAMBA, "fit", *configs, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(run: Path) -> list[float]:
    """The training loss of every step."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "train/loss"]
    return [float(row["value"]) for row in sorted(rows, key=lambda row: int(row["step"]))]


def distances(a: Sequence[float], b: Sequence[float]) -> list[float]:
    return [abs(x - y) for x, y in zip(a, b, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs=2, default=["torch", "triton"])
    add("--model", default="1.4m", help="a name in configs/model")
    add("--steps", type=int, default=200)
    add("--length", type=int, default=2048)
    add("--batch-size", type=int, default=8)
    add("--accelerator", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=Path(__file__).parent / "results" / "curves.csv")
    arguments = parser.parse_args()
    if arguments.steps <= EARLY_STEPS:
        parser.error(f"--steps: expected more than {EARLY_STEPS}, got {arguments.steps}")

    first, second = arguments.backends
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepare(folder)
        wanted = {first: (first, 0), second: (second, 0), f"{second}, other order": (second, 1)}
        runs = {curve: folder / f"run{i}" for i, curve in enumerate(wanted)}
        started = {curve: train(runs[curve], *wanted[curve], data, arguments) for curve in wanted}
        for curve, process in started.items():
            _, messages = process.communicate()
            if process.returncode:
                raise SystemExit(f"{curve}: exit code {process.returncode}\n{messages[-3000:]}")
        curves = {curve: losses(run) for curve, run in runs.items()}

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *curves])
        for step, values in enumerate(zip(*curves.values(), strict=True)):
            writer.writerow([step, *values])

    here = environment(torch.device(arguments.accelerator))
    print(", ".join(f"{name} {value}" for name, value in here.items() if value))
    one, other, order = curves.values()
    early = max(distances(one, other)[:EARLY_STEPS])
    late = statistics.mean(distances(one, other)[EARLY_STEPS:])
    orders = statistics.mean(distances(other, order)[EARLY_STEPS:])
    print(f"{first} and {second}: loss {one[0]:.4f} to {one[-1]:.4f} and {other[-1]:.4f}")
    print(f"first {EARLY_STEPS} steps: at most {early:.2e} apart, allowed {EARLY_LIMIT:g}")
    print(f"after that: {late:.2e} apart on average; two orders {orders:.2e}, allowed a quarter")
    return 0 if early <= EARLY_LIMIT and late <= LATE_SHARE * orders else 1


if __name__ == "__main__":
    raise SystemExit(main())

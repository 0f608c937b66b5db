"""The demonstration's steps, in order: simulate, prepare, train, classify, compare, report."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from genomamba.demo.evaluation import Row, evaluate, failed_checks, text_table
from genomamba.demo.report import write_report
from genomamba.demo.shell import Shell, StepFailed
from genomamba_data_prep.errors import InputError
from genomamba_data_prep.simulate.truth import MarkovTruth, read_markov
from genomamba_data_prep.store import Store

CHROMOSOMES, CHROMOSOME_LENGTH = 12, 500_000
VALID, TEST = "chr11", "chr12"
LENGTHS = (1024, 2048, 4096, 8192)
VALID_WINDOWS = 500
MARKER = ".genomamba-demo"


def run(output: Path, seed: int) -> int:
    """Make the demonstration in ``output``; returns 0 if it reaches what it promises, else 1.

    Raises:
        InputError: ``output`` holds something else than an earlier demonstration.
    """
    _clear(output)
    begin = time.monotonic()
    shell = Shell(output / "logs")
    shell.say("genomamba demo: five simulated species, told apart by a small Mamba model.")
    shell.say("It takes a few minutes on two cores. Each step is a command that you can run too.")
    try:
        truth = _prepare(shell, output, seed)
        _train(shell, output, seed)
        rows = _classify(shell, output, truth)
    except StepFailed as failure:
        print(f"\ngenomamba demo: {failure}", file=sys.stderr)
        return 1
    failed = failed_checks(rows)
    report = write_report(output, shell, truth, rows, failed, time.monotonic() - begin)
    shell.heading(f"Accuracy on {TEST}, which the model has never seen")
    sys.stderr.flush()
    print(text_table(rows), flush=True)
    shell.say(f"\n{time.monotonic() - begin:.0f} s in all. Report: {report}")
    for sentence in failed:
        print(f"genomamba demo: check failed: {sentence}", file=sys.stderr)
    return 1 if failed else 0


def _clear(output: Path) -> None:
    """An empty folder with the marker by which the next run knows that it may replace it."""
    if output.exists():
        if not (output / MARKER).is_file() and not (output.is_dir() and not any(output.iterdir())):
            raise InputError(
                "exists and is not an earlier demonstration", file=output, fix="Name another folder"
            )
        shutil.rmtree(output)
    (output / "logs").mkdir(parents=True)
    (output / MARKER).touch()


def _prepare(shell: Shell, output: Path, seed: int) -> MarkovTruth:
    clade, stores, species_set = output / "clade", output / "stores", output / "species.tsv"
    shell.heading("1. Simulate a clade whose species are known exactly")
    size = ["--chromosomes", CHROMOSOMES, "--length", CHROMOSOME_LENGTH]
    simulate = ["prepare", "simulate", "--preset", "demo", *size]
    shell.run("simulate", [*simulate, "--seed", seed, "--output", clade])
    truth = read_markov(clade)

    shell.heading("2. Encode the FASTA files, hold a chromosome back, freeze a validation set")
    stores.mkdir()
    encode = [
        ["prepare", "encode", clade / f"{name}.fa", "--output", stores / name]
        for name in truth.species
    ]
    lines = ["species\tstore", *(f"{name}\tstores/{name}" for name in truth.species)]
    species_set.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shell.run("encode", *encode)
    shell.say(f"  {species_set} lists the five stores; its order is the order of the classes")
    train = ",".join(name for name in truth.chromosomes if name not in (VALID, TEST))
    held_out = ["--valid", VALID, "--test", TEST]
    splits, valid = output / "splits.tsv", output / "valid.parquet"
    shape = ["--length", LENGTHS[0], "--windows", VALID_WINDOWS, "--seed", seed]
    draw = ["prepare", "manifest", species_set, "--splits", splits, "--split", "valid", *shape]
    shell.run(
        "split",
        ["prepare", "split", species_set, "--train", train, *held_out, "--output", splits],
        [*draw, "--output", valid],
    )
    return truth


def _train(shell: Shell, output: Path, seed: int) -> None:
    shell.heading(f"3. Train on windows of {LENGTHS[0]} bp")
    configs = ["--config", "species/base", "--config", "demo"]
    seeds = ["--seed_everything", seed, "--data.seed", seed]
    data = ["--data.species_set", output / "species.tsv", "--data.splits", output / "splits.tsv"]
    valid = ["--data.valid_manifest", output / "valid.parquet"]
    shell.run("fit", ["fit", *configs, "--run", output / "run", *seeds, *data, *valid])


def _classify(shell: Shell, output: Path, truth: MarkovTruth) -> list[Row]:
    shell.heading(f"4. Classify the held-out {TEST} of every species, at four window lengths")
    fasta = [output / "clade" / f"{name}.fa" for name in truth.species]
    checkpoint = output / "run" / "checkpoints" / "last.ckpt"
    common = ["classify", *fasta, "--records", TEST, "--checkpoint", checkpoint]
    tables = {length: output / f"windows-{length}.tsv" for length in LENGTHS}
    for length, table in tables.items():
        outputs = ["--output", output / f"records-{length}.tsv", "--windows-output", table]
        shell.run(f"classify-{length}", [*common, "--window", length, *outputs])
    stores = {name: Store.open(output / "stores" / name) for name in truth.species}
    return [evaluate(table, length, truth, stores) for length, table in tables.items()]

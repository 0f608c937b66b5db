"""From a simulation to a table of predictions through the console command alone."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from genomamba.cli import main

TRAINING = """\
model:
  init_args: {backbone: {d_model: 16, n_layer: 1, d_state: 4}, optimizer: {learning_rate: 0.01}}
data: {init_args: {length: 256, batch_size: 25, balanced: true, num_workers: 0}}
trainer: {max_steps: 40, val_check_interval: 20, accelerator: cpu, log_every_n_steps: 1}
checkpoint: {every_n_train_steps: 20}
"""


def _genomamba(*arguments: str | Path | int) -> None:
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model and what it was made from."""
    folder = tmp_path_factory.mktemp("path")
    clade, splits, manifest = folder / "clade", folder / "splits.tsv", folder / "valid.parquet"
    size = ["--chromosomes", 3, "--length", 60_000, "--kl", 0.02, "--seed", 1]
    _genomamba("prepare", "simulate", "--preset", "demo", *size, "--output", clade)
    species = json.loads((clade / "truth.json").read_text())["species"]
    for name in species:
        _genomamba("prepare", "encode", clade / f"{name}.fa", "--output", folder / name)
    species_set = folder / "species.tsv"
    rows = ["species\tstore", *(f"{name}\t{name}" for name in species)]
    species_set.write_text("\n".join(rows) + "\n")
    sides = ["--train", "chr1", "--valid", "chr2", "--test", "chr3"]
    _genomamba("prepare", "split", species_set, *sides, "--output", splits)
    drawn = ["--split", "valid", "--length", 256, "--windows", 50, "--output", manifest]
    _genomamba("prepare", "manifest", species_set, "--splits", splits, *drawn)
    (folder / "small.yaml").write_text(TRAINING)
    configs = ["--config", "species/base", "--config", folder / "small.yaml"]
    data = ["--data.species_set", species_set, "--data.splits", splits]
    data += ["--data.valid_manifest", manifest]
    _genomamba("fit", *configs, "--run", folder / "run", *data)
    return folder


def test_the_exported_card_has_the_run_s_accuracy(folder: Path) -> None:
    checkpoint, out = folder / "run" / "checkpoints" / "last.ckpt", folder / "exported"
    _genomamba("export", checkpoint, "--to", "safetensors", "--output", out)
    accuracy = json.loads((folder / "run" / "valid.json").read_text())["accuracy"]
    card = (out / "README.md").read_text()
    assert f"| accuracy | {accuracy} |" in card
    assert "| step | 40 |" in card
    _genomamba("import", out, "--output", folder / "back.ckpt")
    fasta = sorted((folder / "clade").glob("*.fa"))[0]
    tables = []
    for number, path in enumerate((checkpoint, folder / "back.ckpt")):
        tables.append(folder / f"{number}.npy")
        _genomamba("embed", path, fasta, "--window", 9999, "--output", tables[-1])
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_classify_tells_held_out_chromosomes_apart(folder: Path) -> None:
    fasta = sorted((folder / "clade").glob("*.fa"))
    checkpoint = folder / "run" / "checkpoints" / "last.ckpt"
    common = ["--checkpoint", checkpoint, "--records", "chr3", "--window", 4096]
    out = folder / "out.tsv"
    _genomamba("classify", *fasta, *common, "--both-strands", "--output", out)
    table = pd.read_csv(out, sep="\t")
    assert len(table) == 5
    assert (table["windows"] == 15).all()
    # 60 kb at 0.02 nats a base leave no doubt: any working path gets them all.
    assert table["prediction"].tolist() == [path.stem for path in fasta]


def test_the_run_folder_has_what_users_look_for(folder: Path) -> None:
    run = folder / "run"
    metrics = pd.read_csv(run / "metrics.csv")
    assert {"train/loss", "valid/loss", "valid/accuracy"} <= set(metrics["metric"])
    assert (run / "config.yaml").is_file()
    assert json.loads((run / "valid.json").read_text())["examples"] == 50

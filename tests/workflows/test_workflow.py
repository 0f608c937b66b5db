"""The workflow runs from FASTA files to predictions, and a second time has nothing to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genomamba.assets import copy_to
from genomamba.cli import main

CONFIG = """\
output: results
species_sheet: species_sheet.tsv
split: --train chr1 --valid chr2 --test chr3
length: 128
evaluation_windows: 10
seed: 1
configs: [species/base, model/tiny]
training_options: >-
  --data.batch_size 4 --data.num_workers 0 --trainer.max_steps 2 --trainer.val_check_interval 2
classify: [sim/human.fa]
shards: 2
"""


def snakemake(folder: Path, *options: str) -> str:
    binaries = Path(sys.executable).parent
    done = subprocess.run(
        [binaries / "snakemake", "--cores", "1", *options],
        cwd=folder,
        env=os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_from_fasta_to_predictions(tmp_path: Path) -> None:
    copy_to(tmp_path)
    folder = tmp_path / "workflows"
    simulated = ["--signal", "markov", "--chromosomes", "3", "--length", "3000", "--seed", "1"]
    assert main(["prepare", "simulate", "--output", str(folder / "sim"), *simulated]) == 0
    species = ["human", "gorilla"]
    rows = "".join(f"{name}\tsim/{name}.fa\n" for name in species)
    (folder / "species_sheet.tsv").write_text("species\tfasta\n" + rows)
    (folder / "config.yaml").write_text(CONFIG)

    snakemake(folder)

    results = folder / "results"
    evaluation = json.loads((results / "evaluation.json").read_text())
    assert evaluation["results"][0]["windows"] == 10
    header, *records = (results / "predictions" / "human.tsv").read_text().splitlines()
    assert {f"prob_{name}" for name in species} <= set(header.split("\t"))
    assert len(records) == 3
    assert "Nothing to be done" in snakemake(folder)


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A workflow that can be planned; its FASTA files are empty."""
    copy_to(tmp_path)
    folder = tmp_path / "workflows"
    (folder / "sim").mkdir()
    (folder / "sim" / "human.fa").touch()
    (folder / "species_sheet.tsv").write_text("species\tfasta\nhuman\tsim/human.fa\n")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def test_plan_on_slurm(planned: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    plan = snakemake(planned, "--dry-run", "--profile", "profiles/slurm")
    assert "classify" in plan
    assert "merge" in plan


def test_a_wrong_config_is_refused_before_any_job(planned: Path) -> None:
    (planned / "config.yaml").write_text(CONFIG.replace("shards: 2", "shards: 0"))
    with pytest.raises(AssertionError, match="0 is less than the minimum of 1"):
        snakemake(planned)
    assert not (planned / "results").exists()

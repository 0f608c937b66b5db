"""Runs Snakemake on a copy of the shipped workflow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genomamba.assets import copy_to

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
  --trainer.log_every_n_steps 1
classify: [sim/human.fa]
sample_sheet: samples.tsv
classify_options: --window 100
shards: 2
"""
SPECIES = ("human", "gorilla")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def snakemake() -> Run:
    """Runs it in a folder; what it says is in stdout."""

    def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        binaries = Path(sys.executable).parent
        return subprocess.run(
            [binaries / "snakemake", "--cores", "1", *options],
            cwd=folder,
            env=os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """The workflow's folder with a config and sheets; the FASTA files are empty."""
    copy_to(tmp_path)
    folder = tmp_path / "workflows"
    (folder / "sim").mkdir()
    for name in SPECIES:
        (folder / "sim" / f"{name}.fa").touch()
    rows = "".join(f"{name}\tsim/{name}.fa\n" for name in SPECIES)
    (folder / "species_sheet.tsv").write_text("species\tfasta\n" + rows)
    (folder / "samples.tsv").write_text("sample\tpath\tlabel\nunknown\tsim/gorilla.fa\tgorilla\n")
    (folder / "config.yaml").write_text(CONFIG)
    return folder

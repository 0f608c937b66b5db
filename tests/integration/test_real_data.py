"""The path on real sequence: mitochondria of five apes whole, chromosome 1 in part."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from genomamba.cli import main

pytestmark = pytest.mark.real_data

SPECIES = ["human", "chimp", "bonobo", "gorilla", "orangutan"]
TRAINING = """\
model: {init_args: {backbone: {d_model: 16, n_layer: 1, d_state: 4}}}
data: {init_args: {length: 512, batch_size: 10, balanced: true, num_workers: 0}}
trainer: {max_steps: 3, limit_val_batches: 0, accelerator: cpu, log_every_n_steps: 1}
"""


def _genomamba(*arguments: str | Path | int) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def test_mitochondria_from_fasta_to_table(real_data: Path, tmp_path: Path) -> None:
    fasta = [real_data / "great_apes" / "mito" / f"{name}.fa.gz" for name in SPECIES]
    rows = ["species\tstore\trecord_names"]
    for name, path in zip(SPECIES, fasta, strict=True):
        _genomamba("prepare", "encode", path, "--output", tmp_path / name)
        with gzip.open(path, "rt") as file:
            record = file.readline()[1:].split()[0]
        (tmp_path / f"{name}.names.tsv").write_text(f"record\tname\n{record}\tMT\n")
        rows.append(f"{name}\t{name}\t{name}.names.tsv")
    species_set, splits = tmp_path / "species.tsv", tmp_path / "splits.tsv"
    species_set.write_text("\n".join(rows) + "\n")
    thirds = ["--fractions", "0.4,0.3,0.3", "--within-records"]
    _genomamba("prepare", "split", species_set, *thirds, "--output", splits)
    (tmp_path / "small.yaml").write_text(TRAINING)
    run = tmp_path / "run"
    configs = ["--config", "species/base", "--config", tmp_path / "small.yaml", "--run", run]
    _genomamba("fit", *configs, "--data.species_set", species_set, "--data.splits", splits)
    out, checkpoint = tmp_path / "out.tsv", run / "checkpoints" / "last.ckpt"
    _genomamba("classify", *fasta, "--checkpoint", checkpoint, "--output", out)
    table = pd.read_csv(out, sep="\t")
    assert all(16_400 <= length <= 16_600 for length in table["length"].tolist())
    assert set(table["windows"].tolist()) == {33}
    total = table[[f"prob_{name}" for name in SPECIES]].to_numpy().sum(axis=1)
    assert total == pytest.approx(1, abs=1e-3)


def test_chromosome_1_encodes_with_the_same_records_in_all_species(
    real_data: Path, tmp_path: Path
) -> None:
    from genomamba_data_prep.store import Store

    folder = real_data / "great_apes" / "chr1"
    names = set()
    for name in ("human", "gorilla"):
        _genomamba("prepare", "encode", folder / f"{name}.valid.fa.gz", "--output", tmp_path / name)
        store = Store.open(tmp_path / name)
        names.add(tuple(store.records))
        assert 0 < sum(record.n for record in store.records.values()) < 50_000
    assert len(names) == 1


@pytest.mark.slow
def test_the_sets_of_people_and_apes_have_no_n_and_equal_bases(
    real_data: Path, tmp_path: Path
) -> None:
    from genomamba_data_prep.manifests import read_manifest
    from genomamba_data_prep.species_set import SpeciesSet

    script = Path(__file__).parents[2] / "docs" / "real-data" / "run.sh"
    command = Path(sys.executable).with_name("genomamba")
    given = {"GENOMAMBA_REAL_DATA": str(real_data), "GENOMAMBA": str(command)}
    for name in ("human_sets", "apes_sets"):
        done = subprocess.run(
            ["bash", script, name, tmp_path],
            env=os.environ | given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in (tmp_path / "human.bed").read_text().splitlines()]
    assert {int(end) - int(start) for _, start, end, _ in rows} == {1 << 20}
    assert Counter(row[3] for row in rows) == {"train": 44, "valid": 2, "test": 3}
    for name, lengths in (("human", (10, 13, 16, 20)), ("apes", (14, 16, 18, 20))):
        species_set = SpeciesSet.read(tmp_path / f"{name}.tsv")
        for store in species_set.stores.values():
            assert all(record.n == 0 for record in store.records.values())
        for part in ("valid", "test"):
            paths = [tmp_path / name / f"{part}-{1 << power}.parquet" for power in lengths]
            manifests = [read_manifest(path, species_set) for path in paths]
            if name == "human":
                assert len({len(m) * m.length for m in manifests}) == 1
            assert all(m.origin.refused == {"too many N": 0} for m in manifests)

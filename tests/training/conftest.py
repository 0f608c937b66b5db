"""A small species set, an overlay that trains on it in a second, the command line in-process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

LETTERS = np.frombuffer(b"ACGTacgt", np.uint8)
RECORDS = {"chr1": ("train", 6000), "chr2": ("valid", 2000), "chr3": ("test", 2000)}
SPECIES = ("human", "chimp", "gorilla")


class Data(NamedTuple):
    species_set: Path
    splits: Path
    overlay: Path
    """For --config: a tiny network and the data's paths."""


@pytest.fixture(autouse=True)
def _one_thread_and_settings_restored() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def data(write_species_set: Callable[..., Path], tmp_path: Path) -> Data:
    """Three species with base frequencies of their own; a seventh of chr1 is N."""
    genomes = {}
    for number, species in enumerate(SPECIES):
        weights = np.ones(8)
        weights[[number, number + 4]] = 2.0
        rng = np.random.default_rng(number)
        genomes[species] = {
            record: rng.choice(LETTERS, length, p=weights / weights.sum()).tobytes().decode()
            for record, (_, length) in RECORDS.items()
        }
        genomes[species]["chr1"] = "N" * 1000 + genomes[species]["chr1"][1000:]
    rows = ["species\trecord\tstart\tend\tsplit"]
    for species in SPECIES:
        rows += [f"{species}\t{r}\t0\t{length}\t{s}" for r, (s, length) in RECORDS.items()]
    splits, overlay = tmp_path / "splits.tsv", tmp_path / "tiny.yaml"
    splits.write_text("\n".join(rows) + "\n")
    species_set = write_species_set(genomes)
    overlay.write_text(f"""
model:
  init_args:
    backbone: {{d_model: 16, n_layer: 1, d_state: 2}}
data:
  init_args:
    species_set: {species_set}
    splits: {splits}
    length: 64
    batch_size: 6
    num_workers: 0
    valid_examples: 12
    test_examples: 30
trainer: {{max_steps: 6, val_check_interval: 3, log_every_n_steps: 1, accelerator: cpu}}
checkpoint: {{every_n_train_steps: 3}}
""")
    return Data(species_set, splits, overlay)


@pytest.fixture
def genomamba(data: Data, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """``genomamba("fit", ...)`` in-process on the tiny data; returns the exit code."""
    from genomamba.cli import main

    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: str, base: str = "species/base") -> int:
        configs = ["--config", base, "--config", str(data.overlay)]
        return main([command, *configs, *arguments])

    return run

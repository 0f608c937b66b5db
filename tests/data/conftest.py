"""A small species set with splits, and a task that remembers which examples it was given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest


class Data(NamedTuple):
    species_set: Path
    splits: Path


def random_letters(length: int, seed: int, n_run: tuple[int, int] = (0, 0)) -> str:
    letters = np.frombuffer(b"ACGTacgt", np.uint8)
    text = np.random.default_rng(seed).choice(letters, length)
    text[slice(*n_run)] = ord("N")
    return text.tobytes().decode()


@pytest.fixture
def data(write_species_set: Callable[..., Path], tmp_path: Path) -> Data:
    """Three species of three records; one record is half N."""
    genomes = {
        species: {
            "chr1": random_letters(4000, 10 * number),
            "chr2": random_letters(2000, 10 * number + 1, (500, 1500)),
            "chr3": random_letters(3000, 10 * number + 2),
            "chr4": random_letters(1500, 10 * number + 3),
        }
        for number, species in enumerate(("human", "chimp", "gorilla"))
    }
    splits = ["species\trecord\tstart\tend\tsplit"]
    for species, records in genomes.items():
        for record, split in zip(records, ("train", "train", "valid", "test"), strict=True):
            splits.append(f"{species}\t{record}\t0\t{len(records[record])}\t{split}")
    path = tmp_path / "splits.tsv"
    path.write_text("\n".join(splits) + "\n")
    return Data(write_species_set(genomes), path)

"""Fixtures that every part shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before torch: see genomamba/cli.py
if "PYTEST_XDIST_WORKER" in os.environ:  # a core each, and a thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

if not torch.cuda.is_available():
    # Read when Triton is imported, which another library may do long before our kernels' tests.
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="jobs that the kill test kills (3)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: no worker is left with one in the end, while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with great_apes/ and distant_species/; without it the test is skipped."""
    name = os.environ.get("GENOMAMBA_REAL_DATA")
    if not name:
        pytest.skip("GENOMAMBA_REAL_DATA names no folder of real sequence")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"GENOMAMBA_REAL_DATA={name} is not a folder")
    return folder


@pytest.fixture
def write_species_set(tmp_path: Path) -> Callable[..., Path]:
    """Encodes letters given as {species: {record: letters}} and returns the species set's TSV."""
    from genomamba_data_prep.encode import encode_fasta

    def write(genomes: dict[str, dict[str, str]], folder: Path = tmp_path) -> Path:
        rows = ["species\tstore"]
        for species, records in genomes.items():
            fasta = folder / f"{species}.fa"
            fasta.write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
            encode_fasta([fasta], folder / species, species=species)
            rows.append(f"{species}\t{species}")
        path = folder / "species.tsv"
        path.write_text("\n".join(rows) + "\n")
        return path

    return write

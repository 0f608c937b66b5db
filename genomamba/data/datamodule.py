"""Windows for training and evaluation, as Lightning asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from genomamba.data.batch import Batch


class WindowDataModule(LightningDataModule):
    """Windows of encoded genomes.

    Args:
        species_set: a species set's TSV, or one store's folder.
        splits: the splits file that `genomamba prepare split` writes.
        length: window length in bases.
        batch_size: GLOBAL batch: examples an optimiser step, over all ranks and accumulated parts.
        seed: of the training stream and the drawn evaluation windows.
        num_workers: loader processes a rank; the bits do not depend on it.
        weight_by_length: every window start of a species equally likely; otherwise every record.
        max_n_fraction: windows with a greater fraction of N are refused and redrawn; below 1.
        reverse_complement: training windows come from either strand, with probability 1/2.
        valid_manifest: a frozen evaluation set (`genomamba prepare manifest`).
        valid_examples: windows to draw from the valid split where there is no manifest.
        test_manifest: as valid_manifest.
        test_examples: as valid_examples.
        eval_batch_size: windows a rank and batch in evaluation; default what training holds at once.
    """

    labelled: bool

    def __init__(
        self,
        species_set: str | Path,
        splits: str | Path,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        num_workers: int = 0,
        weight_by_length: bool = True,
        max_n_fraction: float = 0.1,
        reverse_complement: bool = True,
        valid_manifest: str | Path | None = None,
        valid_examples: int = 1024,
        test_manifest: str | Path | None = None,
        test_examples: int = 1024,
        eval_batch_size: int | None = None,
    ) -> None:
        super().__init__()

    @property
    def classes(self) -> tuple[str, ...]:
        """Species in class order; after `setup`."""
        raise NotImplementedError

    @property
    def examples_seen(self) -> int:
        """Training examples that optimiser steps have consumed: steps done x global batch."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What a checkpoint should remember of the data: digests, seed, length, sampling rule."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Batch]:
        raise NotImplementedError

    def val_dataloader(self) -> DataLoader[Batch]:
        raise NotImplementedError

    def test_dataloader(self) -> DataLoader[Batch]:
        raise NotImplementedError

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test windows."""
        return self.test_dataloader()


class PretrainingDataModule(WindowDataModule):
    """Windows without labels (-1), from one store or a species set."""

    labelled = False


class SpeciesDataModule(WindowDataModule):
    """Windows labelled with their species."""

    labelled = True

"""Pretraining by epochs: the data module, by workers, resumed, and from the command line."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.data.datamodule import PretrainingDataModule
from genomamba.data.schedule import WarmupStage
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.errors import InputError

LENGTH = 64


@pytest.fixture
def splits(data: Any) -> Path:
    """Intervals of 256 bases that overlap, of the store of human."""
    rows = [f"chr1\t{start}\t{start + 256}\ttrain" for start in range(0, 2048, 128)]
    rows += [f"chr1\t{start}\t{start + 256}\tvalid" for start in (2400, 2800, 3000)]
    bed = data.splits.with_name("sequences.bed")
    bed.write_text("\n".join(rows) + "\n")
    path = data.splits.with_name("epoch.tsv")
    store = data.species_set.with_name("human")
    assert prepare(["split", str(store), "--intervals", str(bed), "--output", str(path)]) == 0
    return path


def make(splits: Path, **options: Any) -> PretrainingDataModule:
    given = {"length": LENGTH, "batch_size": 8, "sampling": "epoch", "valid_examples": 100}
    return PretrainingDataModule(splits.with_name("human"), splits, **(given | options))


def test_each_window_once_an_epoch(splits: Path) -> None:
    module = make(splits)
    module.setup("fit")
    per_epoch = 16 * 256 // LENGTH
    batches = list(islice(module.train_dataloader(), 2 * per_epoch // 8))
    codes = torch.cat([batch.codes for batch in batches])
    # Either strand: compared by what they have in common, the counts of A + T and of C + G.
    epochs = [
        sorted(part.sum(1).tolist())
        for part in ((codes & 7 == 0) | (codes & 7 == 3)).split(per_epoch)
    ]
    assert epochs[0] == epochs[1]
    assert not torch.equal(*codes.split(per_epoch))
    assert {label for batch in batches for label in batch.labels.tolist()} == {-1}
    valid = torch.cat([batch.index for batch in module.val_dataloader()])
    assert valid.tolist() == list(range(3 * 256 // LENGTH))  # fewer than asked for: each once


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_same_bits_with_any_number_of_workers(splits: Path) -> None:
    runs = []
    for workers in (0, 2):
        module = make(splits, num_workers=workers, length_warmup=[WarmupStage(16, 3)])
        module.setup("fit")
        runs.append(list(islice(module.train_dataloader(), 6)))
    assert [batch.codes.shape[1] for batch in runs[0]] == [16] * 3 + [64] * 3
    for batch, expected in zip(*runs, strict=True):
        assert torch.equal(batch.codes, expected.codes)
        assert torch.equal(batch.index, expected.index)


def test_long_windows_are_extended(splits: Path) -> None:
    module = make(splits, length=1024, batch_size=1, eval_length=512)
    module.setup("fit")
    assert next(iter(module.train_dataloader())).codes.shape == (1, 1024)


def test_a_checkpoint_tells_the_sampling(splits: Path) -> None:
    assert make(splits).describe()["sampling"] == "epoch"
    assert "sampling" not in make(splits, sampling="endless").describe()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "both"}, "expected sampling endless or epoch, got 'both'"),
        ({"balanced": True}, "takes each window once"),
        ({"weight_by_length": False}, "takes each window once"),
    ],
)
def test_refused_options(splits: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(splits, **options)

"""The data modules outside a Trainer: the same bits whatever the workers, and every refusal."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from genomamba.data.batch import Batch
from genomamba.data.datamodule import PretrainingDataModule, SpeciesDataModule, WindowDataModule
from genomamba.data.loader import WindowLoader
from genomamba.data.tokens import is_n
from genomamba_data_prep.cli import main as prepare
from genomamba_data_prep.errors import InputError


def make(data: Any, kind: type[WindowDataModule] = SpeciesDataModule, **options: Any) -> Any:
    given = {"length": 64, "batch_size": 6, "valid_examples": 7, "test_examples": 5}
    return kind(data.species_set, data.splits, **given | options)


def take(loader: WindowLoader, batches: int) -> list[Batch]:
    return list(islice(loader, batches))


def manifest(data: Any, *options: str, split: str = "test") -> Path:
    output = data.splits.with_name(f"{split}.parquet")
    fixed = ["--splits", str(data.splits), "--split", split, "--output", str(output)]
    prepare(
        ["manifest", str(data.species_set), "--length", "32", "--windows", "8", *fixed, *options]
    )
    return output


@pytest.fixture
def module(data: Any) -> SpeciesDataModule:
    return make(data)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_the_same_bits_with_any_number_of_workers(data: Any) -> None:
    runs = []
    for workers in (0, 1, 3):
        module = make(data, num_workers=workers, max_n_fraction=0.05)
        module.setup("fit")
        runs.append(take(module.train_dataloader(), 8) + take(module.val_dataloader(), 9))
    for run in runs[1:]:
        for batch, expected in zip(run, runs[0], strict=True):
            for name in ("codes", "labels", "index", "refused"):
                assert torch.equal(getattr(batch, name), getattr(expected, name))
    assert sum(int(batch.refused.sum()) for batch in runs[0]) > 0


def test_training_batches(module: SpeciesDataModule) -> None:
    module.setup("fit")
    batches = take(module.train_dataloader(), 200)
    assert [batch.index.tolist() for batch in batches[:2]] == [[*range(6)], [*range(6, 12)]]
    assert batches[0].codes.shape == (6, 64)
    assert batches[0].codes.dtype == torch.uint8
    labels = torch.cat([batch.labels for batch in batches])
    assert labels.unique().tolist() == [0, 1, 2]
    share = torch.cat([is_n(batch.codes).float().mean(1) for batch in batches])
    assert share.max() <= 0.1


def test_evaluation_is_drawn_the_same_each_time(module: SpeciesDataModule) -> None:
    module.setup("fit")
    module.setup("test")
    for loader, examples in ((module.val_dataloader(), 7), (module.test_dataloader(), 5)):
        batches, again = list(loader), list(loader)
        index = torch.cat([batch.index for batch in batches])
        assert index.tolist() == list(range(examples))
        assert torch.cat([b.labels for b in batches]).tolist() == [i % 3 for i in range(examples)]
        assert all(torch.equal(a.codes, b.codes) for a, b in zip(batches, again, strict=True))


def test_pretraining_has_no_labels(data: Any) -> None:
    store = data._replace(species_set=data.species_set.with_name("human"))
    rows = [line for line in data.splits.read_text().splitlines() if "chimp" not in line]
    store.splits.write_text("\n".join(row for row in rows if "gorilla" not in row) + "\n")
    module = make(store, PretrainingDataModule)
    module.setup("fit")
    module.setup("test")
    loaders = (module.train_dataloader(), module.val_dataloader(), module.test_dataloader())
    for loader in loaders:
        assert take(loader, 1)[0].labels.unique().tolist() == [-1]
    assert module.classes == ("human",)


def test_a_manifest_may_have_another_length(data: Any) -> None:
    path = manifest(data)
    module = make(data, test_manifest=path, eval_batch_size=3)
    module.setup("test")
    batches = list(module.test_dataloader())
    assert [tuple(batch.codes.shape) for batch in batches] == [(3, 32), (3, 32), (2, 32)]
    assert torch.cat([b.labels for b in batches]).tolist() == [i % 3 for i in range(8)]


def test_test_windows_do_not_choose_a_checkpoint(data: Any) -> None:
    path = manifest(data)
    for stage in ("fit", "validate"):
        with pytest.raises(InputError, match="windows of the test split, which must not choose"):
            make(data, valid_manifest=path).setup(stage)
    make(data, test_manifest=path).setup("test")


def test_a_training_manifest_does_not_pass_for_a_test(data: Any) -> None:
    path = manifest(data)
    text = data.splits.read_text().replace("test", "valid").replace("train", "test")
    data.splits.write_text(text.replace("valid", "train"))
    with pytest.raises(InputError, match="overlaps the training interval"):
        make(data, test_manifest=path).setup("test")


def test_no_validation_where_there_is_nothing_to_validate_on(data: Any) -> None:
    text = data.splits.read_text()
    data.splits.write_text("".join(row + "\n" for row in text.splitlines() if "valid" not in row))
    module = make(data)
    module.setup("fit")
    assert module.val_dataloader() == []
    with pytest.raises(InputError, match="no interval of at least 64"):
        module.setup("validate")


def test_what_a_checkpoint_remembers_is_plain(module: SpeciesDataModule, tmp_path: Path) -> None:
    torch.save(module.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["classes"] == list(module.classes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 5000}, "no interval of at least 5000"),
        ({"max_n_fraction": 1.0}, "max_n_fraction"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"valid_examples": 0}, "valid_examples of at least 1"),
        ({"eval_batch_size": 0}, "eval_batch_size of at least 1"),
        ({"num_workers": -1}, "num_workers of at least 0"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refused_options(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(data, **options).setup("fit")


def test_one_species_cannot_be_told_apart(data: Any) -> None:
    data.species_set.write_text("species\tstore\nhuman\thuman\n")
    text = data.splits.read_text().splitlines()
    data.splits.write_text("\n".join(text[:5]) + "\n")
    with pytest.raises(InputError, match="at least two species"):
        make(data).setup("fit")


def test_fasta_files_give_the_bits_of_their_stores(data: Any) -> None:
    encoded = make(data)
    encoded.setup("fit")
    expected = take(encoded.train_dataloader(), 6)
    rows = "".join(f"{species}\t{species}.fa\n" for species in encoded.classes)
    data.species_set.write_text("species\tstore\n" + rows)
    for workers in (0, 2):
        direct = make(data, num_workers=workers)
        assert direct.describe() == encoded.describe()
        direct.setup("fit")
        for batch, other in zip(take(direct.train_dataloader(), 6), expected, strict=True):
            assert torch.equal(batch.codes, other.codes)
            assert torch.equal(batch.labels, other.labels)

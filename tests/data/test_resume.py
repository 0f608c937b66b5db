"""Training under Lightning: a resumed run sees what an uninterrupted one does, step by step."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from genomamba.data.batch import Batch
from genomamba.data.datamodule import SpeciesDataModule
from genomamba.data.position import check_sharding
from genomamba_data_prep.errors import InputError

G, STEPS = 8, 6


class Task(LightningModule):
    """A linear classifier of base counts that remembers the examples of each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(16, 3)
        self.steps: dict[int, list[list[int]]] = defaultdict(list)
        self.validated: list[int] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.steps[self.trainer.global_step].append(batch.index.tolist())
        counts = torch.nn.functional.one_hot(batch.codes.long(), 16).float().mean(1)
        return torch.nn.functional.cross_entropy(self.linear(counts), batch.labels)

    def validation_step(self, *_: Any) -> None:
        self.validated.append(self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.1)


class SaveOnce(Callback):
    """Writes a checkpoint at one hook of one batch."""

    def __init__(self, hook: str, batch: int, path: Path) -> None:
        self.place, self.path = (hook, batch), path

    def _at(self, hook: str, trainer: Trainer) -> None:
        if (hook, trainer.fit_loop.total_batch_idx) == self.place:
            trainer.save_checkpoint(self.path)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._at("batch start", trainer)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._at("batch end", trainer)

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        self._at("validation end", trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self._at("epoch end", trainer)


def trainer(steps: int = STEPS, parts: int = 1, **options: Any) -> Trainer:
    given = {
        "accelerator": "cpu",
        "max_steps": steps,
        "accumulate_grad_batches": parts,
        "val_check_interval": 2 * parts,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(**given | options)


def fit(data: Any, run: Trainer, checkpoint: Path | None = None, **options: Any) -> Task:
    given = {"length": 32, "batch_size": G, "valid_examples": 2}
    task, module = Task(), SpeciesDataModule(data.species_set, data.splits, **given | options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(task, datamodule=module, ckpt_path=checkpoint, weights_only=True)
    for warning in caught:
        assert not any(
            word in str(warning.message)
            for word in ("resum", "epoch ended", "sampler", "batch_size")
        )
    assert module.examples_seen == run.global_step * G
    return task


def saved(data: Any, tmp_path: Path, hook: str, batch: int, steps: int, parts: int) -> Path:
    """A checkpoint of an interrupted run."""
    path = tmp_path / "run.ckpt"
    fit(data, trainer(steps, parts, callbacks=[SaveOnce(hook, batch, path)]))
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_step_s_holds_its_examples(data: Any, workers: int) -> None:
    task = fit(data, trainer(parts=2), num_workers=workers)
    assert dict(task.steps) == {
        s: [[*range(s * G, s * G + 4)], [*range(s * G + 4, (s + 1) * G)]] for s in range(STEPS)
    }
    assert task.validated == [2, 4, 6]


@pytest.mark.parametrize(
    ("hook", "batch", "steps", "parts"),
    [
        ("batch end", 2, 3, 1),
        ("batch end", 5, 3, 2),
        ("batch end", 4, 3, 2),  # the middle of step 2
        ("batch start", 3, 3, 2),  # as a crash in the middle of a step leaves it
        ("batch start", 4, 3, 2),
        ("validation end", 3, 3, 2),
        ("epoch end", 2, 3, 1),  # a finished run is made longer
        ("epoch end", 3, 4, 1),
        ("epoch end", 5, 3, 2),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(
    data: Any, tmp_path: Path, hook: str, batch: int, steps: int, parts: int
) -> None:
    whole = fit(data, trainer(parts=parts))
    checkpoint = saved(data, tmp_path, hook, batch, steps, parts)
    resumed = fit(data, trainer(parts=parts), checkpoint)
    first = min(resumed.steps)
    assert first == torch.load(checkpoint, weights_only=True)["global_step"]
    assert dict(resumed.steps) == {s: whole.steps[s] for s in range(first, STEPS)}
    assert torch.equal(resumed.linear.weight, whole.linear.weight)
    assert resumed.validated == [s for s in whole.validated if s > first]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (4, 2)])
def test_another_accumulation_goes_on_at_the_same_example(
    data: Any, tmp_path: Path, before: int, after: int
) -> None:
    checkpoint = saved(data, tmp_path, "batch end", 3 * before - 1, 3, before)
    resumed = fit(data, trainer(parts=after), checkpoint)
    for step in range(3, STEPS):
        seen = [i for batch in resumed.steps[step] for i in batch]
        assert seen == list(range(step * G, (step + 1) * G))
    assert all(len(batches) == after for batches in resumed.steps.values())
    assert resumed.validated == [4, 6]


@pytest.mark.parametrize("change", [{"seed": 1}, {"length": 48}, {"batch_size": 4}])
def test_another_stream_is_refused(data: Any, tmp_path: Path, change: dict[str, int]) -> None:
    checkpoint = saved(data, tmp_path, "batch end", 1, 2, 1)
    (name, value), *_ = change.items()
    with pytest.raises(InputError, match=f"stream was another: {name} .*, now {value}"):
        fit(data, trainer(), checkpoint, **change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": -1, "max_epochs": 1}, "Set trainer.max_steps"),
        ({"accumulate_grad_batches": 3}, "global batch of 8 is not divisible by 1 .* 3"),
        ({"limit_train_batches": 3}, "limit_train_batches"),
        ({"overfit_batches": 3}, "overfit_batches"),
        ({"val_check_interval": 1.0, "check_val_every_n_epoch": 1}, "val_check_interval is 1.0"),
        ({"val_check_interval": 3, "accumulate_grad_batches": 2}, "a multiple of .* \\(2\\)"),
    ],
)
def test_a_trainer_that_would_cut_the_stream(
    data: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(data, trainer(**options))


def test_a_fast_dev_run_runs(data: Any) -> None:
    task = fit(data, trainer(fast_dev_run=True))
    assert dict(task.steps) == {0: [list(range(G))]}


def test_lightning_must_not_shard() -> None:
    def ranks(world_size: int, use: bool) -> Any:
        connector = SimpleNamespace(use_distributed_sampler=use)
        return SimpleNamespace(world_size=world_size, _accelerator_connector=connector)

    check_sharding(ranks(1, True))
    check_sharding(ranks(2, False))
    with pytest.raises(InputError, match="use_distributed_sampler is on with 2 ranks"):
        check_sharding(ranks(2, True))
    assert hasattr(trainer()._accelerator_connector, "use_distributed_sampler")

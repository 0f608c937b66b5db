"""Sequence classification: which species a window is from. Letters: B batch, L length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import functional
from torchmetrics import ConfusionMatrix, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from genomamba.data.batch import Batch
from genomamba.data.tokens import tokens
from genomamba.models import MambaConfig, MambaForClassification
from genomamba.models.heads import EXPANSION, Pooling, check_rungs
from genomamba.training.checkpoint import META_KEY, check_classes
from genomamba.training.sequence_parallel import examples_group
from genomamba.training.task import OptimizerConfig, Task
from genomamba_data_prep.errors import InputError


def _metrics(n_classes: int, group: ProcessGroup | None) -> MetricCollection:
    confusion = ConfusionMatrix("multiclass", num_classes=n_classes, process_group=group)
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(n_classes, average="micro", process_group=group),
            "per_class": MulticlassAccuracy(n_classes, average="none", process_group=group),
            "confusion": confusion,
        },
        compute_groups=False,
    )


class ClassificationTask(Task):
    """Classification of windows; the data module's species are the classes, in its order.

    At the end of a validation or test pass ``valid.json`` or ``test.json`` in the run folder holds
    accuracy, accuracy by class and the confusion matrix (rows true, columns predicted).

    Args:
        backbone: the network's shape.
        optimizer: how it learns.
        pooling: "mean" over a sequence's positions, or its "last" position ("errors" is for
            `genomamba.training.discriminant`).
        pretrained: a checkpoint whose backbone the training starts from.
        readout_lengths: bases at which windows are judged, each length by a linear map of its own
            (`genomamba.models.heads.ClassificationHead`), each a multiple of the one before; none
            judges all lengths alike. In training a step draws one of those that windows fill, the
            model restarts at every multiple of it, and all pieces of it and of the longer ones are
            classified: with many short sequences in each long window, no length goes untrained.
            The loss is the mean over the lengths. Validation windows are judged whole, and in
            pieces from restarts at the shortest: ``valid/readout_loss`` is the mean over the
            lengths, to choose a checkpoint by.

    Raises:
        ValueError: readout_lengths as `ClassificationHead` refuses them.
    """

    kind = "classification"

    def __init__(
        self,
        backbone: MambaConfig,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008, frozen
        pooling: Pooling = "mean",
        pretrained: str | Path | None = None,
        readout_lengths: tuple[int, ...] = (),
    ) -> None:
        super().__init__(backbone, optimizer, pretrained)
        if pooling == "errors":
            raise ValueError('pooling: "errors" is fitted, not trained: use DiscriminantTask')
        self.pooling: Pooling = pooling
        self.readout_lengths = check_rungs(readout_lengths, pooling)
        self.expansion = EXPANSION
        self.classes: tuple[str, ...] = ()
        self.metrics: MetricCollection | None = None

    def build(self) -> MambaForClassification:
        self.classes = self.trainer.datamodule.classes  # type: ignore[attr-defined]
        group = examples_group(self.trainer)
        if self.readout_lengths and group is not None:
            raise InputError(
                "readout_lengths restart the model within a window, and the sequence-parallel "
                "strategy cuts windows over GPUs",
                fix="Train with another strategy, or without readout_lengths",
            )
        self.metrics = _metrics(len(self.classes), group)
        return MambaForClassification(
            self.backbone,
            len(self.classes),
            self.pooling,
            self.readout_lengths,
            self.expansion,
        )

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = {"classes": list(self.classes), "pooling": self.pooling}
        if self.readout_lengths:
            found["readout_lengths"] = list(self.readout_lengths)
        if self.expansion != EXPANSION:
            found["expansion"] = self.expansion
        return found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_classes(checkpoint[META_KEY], self.classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, classes)."""
        assert self.model is not None
        return self.model(tokens(batch.codes))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        if self.readout_lengths:
            return self._readout_step(batch)
        logits = self(batch)
        loss = functional.cross_entropy(logits.float(), batch.labels)
        right = logits.argmax(-1) == batch.labels
        self.log_step(len(batch), loss=lambda: loss, accuracy=lambda: right.float().mean())
        return loss

    def _readout_step(self, batch: Batch) -> Tensor:
        """The mean loss over the lengths that a restart, drawn anew each step, allows."""
        filled = self._filled(batch)
        # StepSeed has seeded the generator, so that the draw is a function of the step.
        restart = filled[int(torch.randint(len(filled), ()))]
        losses, accuracies = self._readouts(batch, restart)
        loss = torch.stack([*losses.values()]).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log("train/restart", float(restart), batch_size=len(batch))
        # The longest pieces, which every restart has: Lightning logs old values of what has none.
        self.log("train/accuracy", accuracies[max(accuracies)], batch_size=len(batch))
        return loss

    def _filled(self, batch: Batch) -> list[int]:
        """The readout lengths that windows can be cut into.

        Raises:
            InputError: none.
        """
        length = batch.codes.shape[1]
        filled = [rung for rung in self.readout_lengths if length % rung == 0]
        if not filled:
            raise InputError(
                f"training windows of {length} bases: expected a multiple of the first of "
                f"readout_lengths, {', '.join(map(str, self.readout_lengths))}",
                fix="Change data.init_args.length (and length_warmup), or readout_lengths",
            )
        return filled

    def _readouts(self, batch: Batch, restart: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """The loss and the accuracy at each length."""
        assert isinstance(self.model, MambaForClassification)
        losses, accuracies = {}, {}
        for at, logits in self.model.readouts(tokens(batch.codes), restart).items():
            labels = batch.labels.repeat_interleave(batch.codes.shape[1] // at)
            losses[at] = functional.cross_entropy(logits.float(), labels)
            accuracies[at] = (logits.argmax(-1) == labels).float().mean()
        return losses, accuracies

    def _evaluate(self, batch: Batch, stage: str) -> None:
        assert self.metrics is not None
        logits = self(batch).float()
        loss = functional.cross_entropy(logits, batch.labels)
        self.metrics.update(logits, batch.labels)
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)

    def _report(self, stage: str) -> None:
        """Log the accuracies and write the stage's JSON."""
        assert self.metrics is not None
        results = self.metrics.compute()
        self.metrics.reset()
        per_class = dict(zip(self.classes, results["per_class"].tolist(), strict=True))
        self.log(f"{stage}/accuracy", results["accuracy"], prog_bar=True, rank_zero_only=True)
        for name, value in per_class.items():
            self.log(f"{stage}/accuracy/{name}", value, rank_zero_only=True)
        found = {
            "accuracy": results["accuracy"].item(),
            "accuracy_by_class": per_class,
            "confusion": results["confusion"].tolist(),
            "examples": int(results["confusion"].sum()),
        }
        self.write_results(stage, found)

    def validation_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "valid")
        if self.readout_lengths:
            losses, accuracies = self._readouts(batch, self._filled(batch)[0])
            options: dict[str, Any] = {"batch_size": len(batch), "sync_dist": True}
            self.log("valid/readout_loss", torch.stack([*losses.values()]).mean(), **options)
            for at in losses:
                self.log(f"valid/loss/{at}", losses[at], **options)
                self.log(f"valid/accuracy/{at}", accuracies[at], **options)

    def on_validation_epoch_end(self) -> None:
        self._report("valid")

    def test_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def predict_step(self, batch: Batch, *_: Any) -> dict[str, Tensor]:
        """Log-probabilities (B, classes) and the windows' numbers (B,)."""
        log_probabilities = functional.log_softmax(self(batch).float(), dim=-1)
        return {"index": batch.index, "log_probabilities": log_probabilities}

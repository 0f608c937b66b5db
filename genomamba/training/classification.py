"""Sequence classification: which species a window is from. Letters: B batch, L length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn import functional
from torchmetrics import ConfusionMatrix, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from genomamba.data.batch import Batch
from genomamba.data.tokens import tokens
from genomamba.models import MambaConfig, MambaForClassification
from genomamba.models.heads import Pooling
from genomamba.training.checkpoint import META_KEY, check_classes
from genomamba.training.sequence_parallel import examples_group
from genomamba.training.task import OptimizerConfig, Task
from genomamba_data_prep.atomic import atomic_file


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
        pooling: "mean" over a sequence's positions, or its "last" position.
        pretrained: a checkpoint whose backbone the training starts from.
    """

    kind = "classification"

    def __init__(
        self,
        backbone: MambaConfig,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008, frozen
        pooling: Pooling = "mean",
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__(backbone, optimizer, pretrained)
        self.pooling: Pooling = pooling
        self.classes: tuple[str, ...] = ()
        self.metrics: MetricCollection | None = None

    def build(self) -> MambaForClassification:
        self.classes = self.trainer.datamodule.classes  # type: ignore[attr-defined]
        self.metrics = _metrics(len(self.classes), examples_group(self.trainer))
        return MambaForClassification(self.backbone, len(self.classes), self.pooling)

    def record(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "pooling": self.pooling}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        check_classes(checkpoint[META_KEY], self.classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, classes)."""
        assert self.model is not None
        return self.model(tokens(batch.codes))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        logits = self(batch)
        loss = functional.cross_entropy(logits.float(), batch.labels)
        right = logits.argmax(-1) == batch.labels
        self.log_step(len(batch), loss=lambda: loss, accuracy=lambda: right.float().mean())
        return loss

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
        if not self.trainer.is_global_zero:
            return
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        content = {
            "step": self.trainer.global_step if fitting else None,
            "checkpoint": str(self.trainer.ckpt_path) if self.trainer.ckpt_path else None,
            "accuracy": results["accuracy"].item(),
            "accuracy_by_class": per_class,
            "confusion": results["confusion"].tolist(),
            "examples": int(results["confusion"].sum()),
            "data": self.trainer.datamodule.describe(),  # type: ignore[attr-defined]
        }
        folder = Path(self.trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / f"{stage}.json") as path:
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def validation_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "valid")

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

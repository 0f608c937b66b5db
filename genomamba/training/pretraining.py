"""Pretraining: predict the next base. Letters: B batch, L length."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from genomamba.data.batch import Batch
from genomamba.data.tokens import is_n, is_soft_masked
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.training.loss_by_position import LossByPosition
from genomamba.training.task import OptimizerConfig, Task
from genomamba_data_prep.codes import BASE_BITS
from genomamba_data_prep.errors import InputError


def target_weights(codes: Tensor, soft_mask_weight: float) -> Tensor:
    """How much each base counts as a target of the loss.

    Unknown bases (N) never count. Soft-masked ones count with ``soft_mask_weight``.

    Args:
        codes: uint8 (B, L), with the soft-mask bit.
        soft_mask_weight: 1 treats repeats as everything else, 0 leaves them out.

    Returns:
        (B, L), bool where that is enough and float32 otherwise.
    """
    known = ~is_n(codes)
    if soft_mask_weight == 1.0:
        return known
    if soft_mask_weight == 0.0:
        return known & ~is_soft_masked(codes)
    return torch.where(is_soft_masked(codes), soft_mask_weight, 1.0) * known


class Perplexity(MeanMetric):
    """exp of the mean loss of all bases seen."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class PretrainingTask(Task):
    """Next-base prediction.

    A validation or test pass logs loss, perplexity and, as ``valid/loss_from/0000001024``, the mean
    loss of positions 1024 to 2047, and so on for each power of two. ``valid.json`` or ``test.json``
    in the run folder holds perplexity, bits a base and the losses by position, in nats.

    Args:
        backbone: the network's shape.
        optimizer: how it learns.
        soft_mask_weight: of lower-case (repeat-masked) bases in the training loss; validation
            weighs all bases alike.
        pretrained: a checkpoint whose backbone the training starts from.
    """

    kind = "pretraining"

    def __init__(
        self,
        backbone: MambaConfig,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008, frozen
        soft_mask_weight: float = 1.0,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__(backbone, optimizer, pretrained)
        if not 0.0 <= soft_mask_weight <= 1.0:
            raise ValueError(f"soft_mask_weight: expected 0 to 1, got {soft_mask_weight}")
        self.soft_mask_weight = soft_mask_weight
        self.valid_perplexity = Perplexity(nan_strategy="disable")
        self.test_perplexity = Perplexity(nan_strategy="disable")
        self.loss_by_position = LossByPosition()

    def build(self) -> MambaForPretraining:
        return MambaForPretraining(self.backbone)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = self._loss(batch, self.soft_mask_weight)
        self.log_step(len(batch), loss=lambda: loss)
        return loss

    def _loss(
        self,
        batch: Batch,
        soft_mask_weight: float,
        observe: Callable[[slice, Tensor], None] | None = None,
    ) -> Tensor:
        weights = target_weights(batch.codes, soft_mask_weight)
        assert isinstance(self.model, MambaForPretraining)
        # One byte a base here, too: the model widens what it works on.
        return self.model.loss(batch.codes & BASE_BITS, weights, observe=observe)

    def _evaluate(self, batch: Batch, stage: str, perplexity: Perplexity) -> None:
        def observe(at: slice, losses: Tensor) -> None:
            known = ~is_n(batch.codes[:, at])
            perplexity.update(losses[known])
            self.loss_by_position.update(at.start, losses, known)

        loss = self._loss(batch, 1.0, observe)
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        self.log(f"{stage}/perplexity", perplexity, prog_bar=True, on_epoch=True, on_step=False)

    def _report(self, stage: str, perplexity: Perplexity) -> None:
        """Log the mean loss by position, under the first position of each power of two, and write
        the stage's JSON."""
        losses = self.loss_by_position.compute()
        for position, loss in losses.items():
            self.log(f"{stage}/loss_from/{position}", loss, rank_zero_only=True)
        self.loss_by_position.reset()
        found = perplexity.compute().item()  # of all ranks; Lightning resets it after this
        self.write_results(
            stage,
            {
                "perplexity": found,
                "bits_per_base": math.log2(found),
                "loss_by_position": {str(int(p)): loss.item() for p, loss in losses.items()},
            },
        )

    def validation_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "valid", self.valid_perplexity)

    def on_validation_epoch_end(self) -> None:
        self._report("valid", self.valid_perplexity)

    def test_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "test", self.test_perplexity)

    def on_test_epoch_end(self) -> None:
        self._report("test", self.test_perplexity)

    def predict_step(self, *_: Any) -> None:
        raise InputError(
            "predict writes class probabilities, and a pretrained model has no classes",
            fix="Train a classifier from it: fit with --model.init_args.pretrained",
        )

"""Pretraining: predict the next base. Letters: B batch, L length, V vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.text import Perplexity

from genomamba.data.batch import Batch
from genomamba.data.tokens import N_TOKEN, is_n, is_soft_masked, tokens
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.training.task import OptimizerConfig, Task
from genomamba_data_prep.errors import InputError


def next_token_loss(logits: Tensor, codes: Tensor, soft_mask_weight: float) -> Tensor:
    """Weighted mean cross-entropy, in nats, of each base given those before it.

    Unknown bases (N) are never a target. Soft-masked ones count with ``soft_mask_weight``. The
    first base of a window has nothing before it and is no target either.

    Args:
        logits: (B, L, V); those at position t are for the base at t + 1.
        codes: uint8 (B, L), with the soft-mask bit.
        soft_mask_weight: 1 treats repeats as everything else, 0 leaves them out.

    Returns:
        A scalar; 0, with zero gradients, if no target has weight.
    """
    targets = codes[:, 1:]
    weight = (~is_n(targets)).to(torch.float32)
    if soft_mask_weight != 1.0:
        weight = torch.where(is_soft_masked(targets), weight * soft_mask_weight, weight)
    loss = functional.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), tokens(targets).flatten(), reduction="none"
    )
    total = weight.sum()
    return (loss * weight.flatten()).sum() / torch.where(total > 0, total, 1.0)


class PretrainingTask(Task):
    """Next-base prediction.

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
        self.valid_perplexity = Perplexity(ignore_index=N_TOKEN)
        self.test_perplexity = Perplexity(ignore_index=N_TOKEN)

    def build(self) -> MambaForPretraining:
        return MambaForPretraining(self.backbone)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, L, V)."""
        assert self.model is not None
        return self.model(tokens(batch.codes))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = next_token_loss(self(batch), batch.codes, self.soft_mask_weight)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def _evaluate(self, batch: Batch, stage: str, perplexity: Perplexity) -> None:
        logits = self(batch)
        loss = next_token_loss(logits, batch.codes, 1.0)
        perplexity.update(logits[:, :-1].float(), tokens(batch.codes[:, 1:]))
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(batch), sync_dist=True)
        self.log(f"{stage}/perplexity", perplexity, prog_bar=True, on_epoch=True, on_step=False)

    def validation_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "valid", self.valid_perplexity)

    def test_step(self, batch: Batch, *_: Any) -> None:
        self._evaluate(batch, "test", self.test_perplexity)

    def predict_step(self, *_: Any) -> None:
        raise InputError(
            "predict writes class probabilities, and a pretrained model has no classes",
            fix="Train a classifier from it: fit with --model.init_args.pretrained",
        )

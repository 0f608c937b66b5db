"""Classification by a linear discriminant on a pretrained model's prediction errors.

Related genomes differ by so little a window that gradients are mostly noise: a classifier of great
apes that is trained from windows' labels learns nothing. A language model learns from every base;
what is left is a small linear problem with an exact solution.

Letters: B batch, L length, C classes, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import functional

from genomamba.data.batch import Batch
from genomamba.data.tokens import reverse_complement, tokens
from genomamba.models import MambaConfig, MambaForClassification
from genomamba.models.heads import EXPANSION, ClassificationHead
from genomamba.models.pooling import join
from genomamba.training.classification import ClassificationTask
from genomamba_data_prep.errors import InputError


class DiscriminantTask(ClassificationTask):
    """Linear discriminant analysis of the prediction errors of windows (`ErrorSums`).

    A training step adds a batch's features to the classes' sums and the common scatter matrix, and
    solves for the head anew; no weight learns by gradients, and the order of windows does not
    matter. The backbone is that of a pretrained language model and stays as it is. Windows shorter
    than those that are to be judged are best: there are more of them, and evidence adds up along a
    sequence (`genomamba.models.heads.ClassificationHead`).

    Where classes have the same loci, loci differ from each other by more than classes do. What they
    have in common cancels between the classes' means only if all classes' windows are of the same
    loci and strands: take each window once (``sampling`` "epoch" of the data module), on both
    strands.

    Args:
        backbone: the network's shape.
        pretrained: the checkpoint of a pretrained model, of which it is made.
        shrinkage: of the features' correlations towards none, 0 to 1; None estimates it (OAS, Chen
            et al. 2010, "Shrinkage algorithms for MMSE covariance estimation", equation 23).
        both_strands: count every window on both of its strands, at twice the time. For classes
            that are the same on either: what only one strand tells is averaged away.
        expansion: features of a position / d_model; a sequence has 4 times as many.

    Raises:
        ValueError: shrinkage or expansion out of range.
        InputError: there is no pretrained model.
    """

    scatter: Tensor
    sums: Tensor
    counts: Tensor
    bases: Tensor

    def __init__(
        self,
        backbone: MambaConfig,
        pretrained: str | Path | None = None,
        shrinkage: float | None = None,
        both_strands: bool = False,
        expansion: int = EXPANSION,
    ) -> None:
        super().__init__(backbone, pretrained=pretrained)
        self.pooling = "errors"
        if shrinkage is not None and not 0.0 <= shrinkage <= 1.0:
            raise ValueError(f"shrinkage: expected 0 to 1, got {shrinkage}")
        self.shrinkage = shrinkage
        self.both_strands = both_strands
        if expansion < 1:
            raise ValueError(f"expansion: expected at least 1, got {expansion}")
        self.expansion = expansion

    def configure_model(self) -> None:
        if self.model is not None:
            return
        if (
            self.pretrained is None
            and self.trainer.state.fn == TrainerFn.FITTING
            and not self.trainer.ckpt_path
        ):
            raise InputError(
                "a discriminant needs a pretrained model, got none",
                fix="Name its checkpoint with --model.init_args.pretrained",
            )
        super().configure_model()
        assert isinstance(self.model, MambaForClassification)
        self.model.requires_grad_(False)
        self.model.head.out_proj.bias.requires_grad_()
        features = self.model.head.running_mean
        classes = len(self.classes)
        options: dict[str, Any] = {"dtype": torch.float64, "device": features.device}
        self.register_buffer("scatter", torch.zeros(len(features), len(features), **options))
        self.register_buffer("sums", torch.zeros(classes, len(features), **options))
        self.register_buffer("counts", torch.zeros(classes, **options))
        self.register_buffer("bases", torch.zeros((), **options))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Counts the steps; it changes nothing."""
        assert isinstance(self.model, MambaForClassification)
        return torch.optim.SGD([self.model.head.out_proj.bias], lr=0.0)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        assert isinstance(self.model, MambaForClassification)
        self._add(self.model, batch)
        # Lightning wants a loss of every rank's step: one of a parameter that it leaves at zero.
        return 0.0 * self.model.head.out_proj.bias.sum()

    @torch.no_grad()
    def _add(self, model: MambaForClassification, batch: Batch) -> None:
        head = model.head
        strands = [tokens(batch.codes)]
        if self.both_strands:
            strands.append(reverse_complement(strands[0]))
        pooled = torch.cat(
            [join(model.parts(t), head.pooling, t.shape, None)[0].double() for t in strands]
        )
        labels = batch.labels.repeat(len(strands))
        member = functional.one_hot(labels, len(self.classes)).double()
        added = (
            (self.scatter, pooled.mT @ pooled),
            (self.sums, member.mT @ pooled),
            (self.counts, member.sum(0)),
            (self.bases, self.bases.new_tensor(len(strands) * batch.codes.numel())),
        )
        for total, own in added:
            total += self.trainer.strategy.reduce(own, reduce_op="sum")  # of all ranks
        shrinkage = None
        if (self.counts >= 2).all():
            fitted = discriminant(self.scatter, self.sums, self.counts, self.shrinkage)
            write(fitted, head, float(self.bases / self.counts.sum()))
            shrinkage = fitted.shrinkage
        self.log("train/windows", self.counts.sum().float(), batch_size=len(batch))
        if shrinkage is not None:
            self.log("train/shrinkage", shrinkage, prog_bar=True, batch_size=len(batch))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """No learning rate to log."""


class Discriminant(NamedTuple):
    """Scores ``weight @ ((x - centre) / scale)``; all classes are equally likely at the centre."""

    weight: Tensor  # (C, F)
    centre: Tensor  # (F,)
    scale: Tensor  # (F,)
    shrinkage: float


def discriminant(
    scatter: Tensor, sums: Tensor, counts: Tensor, shrinkage: float | None = None
) -> Discriminant:
    """Linear discriminant of equally likely classes from their moments.

    Args:
        scatter: (F, F), sum of x x^T over all examples.
        sums: (C, F) of x by class.
        counts: (C,) of examples; at least one each.
        shrinkage: of the correlations within classes towards none; None estimates it.
    """
    means = sums / counts[:, None]
    within = (scatter - sums.mT @ means) / counts.sum()
    scale = within.diagonal().clamp(min=torch.finfo(within.dtype).tiny).sqrt()
    correlation = within / scale[:, None] / scale
    if shrinkage is None:
        shrinkage = oas(correlation, float(counts.sum()))
    correlation = correlation * (1 - shrinkage)
    correlation.diagonal().add_(shrinkage)
    middle = means.mean(0)
    offsets = (means - middle) / scale
    weight = torch.linalg.solve(correlation, offsets.mT).mT
    # Half the squared distance of a class counts against it. The head's evidence grows with the
    # length and its bias does not, so that the bias is made part of the centre, along the weights.
    bias = -(weight * offsets).sum(1) / 2
    shift = torch.linalg.pinv(weight - weight.mean(0)) @ (bias.mean() - bias)
    return Discriminant(weight, middle + shift * scale, scale, shrinkage)


def oas(correlation: Tensor, n: float) -> float:
    """The oracle approximating shrinkage of a covariance matrix (F, F) of n examples, 0 to 1."""
    features = len(correlation)
    mean_square = correlation.square().mean()
    square_mean = (correlation.trace() / features).square()
    excess = (n + 1) * (mean_square - square_mean / features)
    return min(1.0, float((mean_square + square_mean) / excess)) if excess > 0 else 1.0


def write(fitted: Discriminant, head: ClassificationHead, length: float) -> None:
    """Makes a discriminant of sequences of a length the head's."""
    head.out_proj.weight.copy_(fitted.weight)
    head.out_proj.bias.zero_()
    head.running_mean.copy_(fitted.centre)
    head.running_var.copy_(fitted.scale.square())
    head.running_length.fill_(length)

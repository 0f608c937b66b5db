"""The next-base loss: what counts in it and what never does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genomamba.data.batch import Batch
from genomamba.data.tokens import SOFT_MASK
from genomamba.models import MambaConfig, MambaForPretraining
from genomamba.training.pretraining import PretrainingTask

N = 4


def loss_and_gradient(codes: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """The task's loss of random logits: hidden vectors under an identity for a head."""
    torch.manual_seed(0)
    model = MambaForPretraining(MambaConfig(d_model=5, n_layer=1, d_state=2, tie_embeddings=False))
    torch.nn.init.eye_(model.head.weight)
    logits = torch.randn(*codes.shape, 5, dtype=torch.float64).float().requires_grad_()
    segment = slice(0, codes.shape[1])
    model.backbone.map_segments = (  # type: ignore[method-assign]
        lambda tokens, function, seq_idx: iter([(function(logits, segment), None)])
    )
    task = PretrainingTask(model.config, soft_mask_weight=weight)
    task.model, task.log = model, lambda *_, **__: None  # type: ignore[method-assign]
    loss = task.training_step(batch_of(codes), 0)
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad, logits.detach()


def batch_of(codes: Tensor) -> Batch:
    nothing = torch.zeros(len(codes), dtype=torch.int64)
    return Batch(codes, nothing, nothing, nothing)


def test_an_unknown_base_is_never_a_target() -> None:
    codes = torch.randint(0, 4, (3, 20), dtype=torch.uint8)
    codes[0, 5:9], codes[1, 0], codes[2, 19] = N, N, N | SOFT_MASK
    loss, gradient, logits = loss_and_gradient(codes)
    counted = gradient.abs().sum(-1) > 0
    assert torch.equal(counted[:, :-1], (codes[:, 1:] & 7) != N)
    assert not counted[:, -1].any()  # nothing follows the last base
    known = (codes[:, 1:] & 7) != N
    expected = functional.cross_entropy(logits[:, :-1][known], codes[:, 1:][known].long() & 7)
    torch.testing.assert_close(loss, expected)


def test_windows_without_targets_cannot_poison_a_step() -> None:
    loss, gradient, _ = loss_and_gradient(torch.full((2, 10), N, dtype=torch.uint8))
    assert loss == 0
    assert not gradient.any()


def test_soft_masked_bases_count_with_their_weight() -> None:
    codes = torch.randint(0, 4, (2, 30), dtype=torch.uint8)
    codes[:, 10:20] |= SOFT_MASK
    masked = (codes[:, 1:] & SOFT_MASK) != 0
    _, _, logits = loss_and_gradient(codes)
    each = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), (codes[:, 1:].long() & 7).flatten(), reduction="none"
    ).view(2, 29)
    for weight in (0.0, 0.25, 1.0):
        loss, _, _ = loss_and_gradient(codes, weight)
        of_each = torch.where(masked, weight, 1.0)
        torch.testing.assert_close(loss, (each * of_each).sum() / of_each.sum())


def test_a_uniform_model_has_the_vocabularys_size_as_perplexity() -> None:
    task = PretrainingTask(MambaConfig(d_model=8, n_layer=1, d_state=2))
    task.model = MambaForPretraining(task.backbone)
    torch.nn.init.zeros_(task.model.backbone.embedding.weight)  # tied: every logit is zero
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    codes = torch.randint(0, 5, (4, 50), dtype=torch.uint8)
    task.validation_step(batch_of(codes))
    assert task.valid_perplexity.compute().item() == pytest.approx(5.0)
    loss = task.training_step(batch_of(codes), 0)
    assert loss.item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("weight", [-0.1, 1.5])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="soft_mask_weight: expected 0 to 1, got"):
        PretrainingTask(MambaConfig(), soft_mask_weight=weight)


def test_perplexity_is_of_the_known_bases_of_all_batches() -> None:
    torch.manual_seed(0)
    task = PretrainingTask(MambaConfig(d_model=8, n_layer=1, d_state=2, segment_length=13))
    task.model = MambaForPretraining(task.backbone)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    losses = []
    for length in (30, 50):
        codes = torch.randint(0, 5, (4, length), dtype=torch.uint8)
        task.validation_step(batch_of(codes))
        logits = task.model(codes)[:, :-1]
        known = codes[:, 1:] != N
        losses.append(
            functional.cross_entropy(logits[known], codes[:, 1:][known].long(), reduction="none")
        )
    expected = torch.cat(losses).mean().exp()
    torch.testing.assert_close(task.valid_perplexity.compute(), expected)

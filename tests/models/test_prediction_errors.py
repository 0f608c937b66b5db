"""Pooled errors of prediction: what they are the gradient of, and that no cut changes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genomamba.inference.budget import Budget
from genomamba.inference.classifier import WindowClassifier
from genomamba.inference.evaluate_logits import prefix_logits
from genomamba.inference.stream import Stream
from genomamba.models import MambaConfig, MambaForClassification
from genomamba.models.prediction_errors import ErrorSums

N = 4


@pytest.fixture
def model() -> MambaForClassification:
    torch.manual_seed(0)
    model = MambaForClassification(MambaConfig(d_model=8, n_layer=2, d_state=4), 3, "errors")
    torch.nn.init.normal_(model.head.out_proj.weight)
    return model.eval()


def sequence(length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, (1, length), generator=generator, dtype=torch.uint8)


def sums(model: MambaForClassification, tokens: Tensor, seq_idx: Tensor | None = None) -> Tensor:
    return torch.cat([part for _, part in model.parts(tokens, seq_idx)])


def test_they_are_the_gradient_of_the_likelihood(model: MambaForClassification) -> None:
    """Of known tokens, with respect to V in softmax(W h + V f), at V = 0."""
    tokens = sequence(40)
    with torch.no_grad():
        hidden = model.backbone(tokens)
        features = model.head.features(hidden)
    rows = model.backbone.embedding.weight[:5].detach()
    v = torch.zeros(5, features.shape[-1], requires_grad=True)
    logits = functional.linear(hidden, rows) + functional.linear(features, v)
    losses = functional.cross_entropy(logits[0, :-1], tokens[0, 1:].long(), reduction="none")
    (-losses[tokens[0, 1:] != N].sum()).backward()
    assert v.grad is not None
    torch.testing.assert_close(sums(model, tokens)[0].view(4, -1), v.grad[:-1])


@pytest.mark.parametrize("segment", [1, 7, 39, 64])
def test_segments_add_up(model: MambaForClassification, segment: int) -> None:
    tokens = sequence(40)
    whole = model(tokens)
    model.backbone.config = replace(model.backbone.config, segment_length=segment)
    torch.testing.assert_close(model(tokens), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segment", [None, 5])
def test_a_packed_sequence_is_what_it_is_alone(
    model: MambaForClassification, segment: int | None
) -> None:
    lengths = [5, 1, 9, 10, 3]
    parts = [sequence(n, i) for i, n in enumerate(lengths)]
    alone = torch.cat([model(part) for part in parts])
    seq_idx = torch.repeat_interleave(torch.tensor(lengths))[None].int()
    model.backbone.config = replace(model.backbone.config, segment_length=segment)
    packed = model(torch.cat(parts, 1), seq_idx)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


def test_a_single_base_and_unknown_ones_say_nothing(model: MambaForClassification) -> None:
    assert sums(model, sequence(1)).eq(0).all()
    assert sums(model, torch.full((1, 20), N)).eq(0).all()


@pytest.mark.parametrize("pieces", [[40], [1, 39], [13, 2, 25]])
def test_a_stream_and_prefixes_are_the_unsplit_pass(
    model: MambaForClassification, pieces: list[int]
) -> None:
    codes = sequence(40)[0].numpy()
    expected = [torch.log_softmax(model(sequence(40)[:, :n]), -1)[0] for n in (16, 32, 40)]
    expected = torch.stack(expected).detach().double().numpy()
    found = Stream(WindowClassifier(model, 3), Budget(11, print), 40, 16)
    for piece in np.split(codes, np.cumsum(pieces)[:-1]):
        found.feed(piece)
    np.testing.assert_allclose(found.log_probabilities(), expected, rtol=1e-4, atol=1e-5)
    logits = prefix_logits(model, codes[None], [16, 32, 40], 11)[:, 0]
    logits -= np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_differentiated(model: MambaForClassification) -> None:
    logits = model(sequence(20))
    logits.sum().backward()
    assert model.backbone.embedding.weight.grad is None
    assert model.head.out_proj.weight.grad is not None


@pytest.mark.parametrize(
    ("dtype", "found"), [(torch.float64,) * 2, (torch.bfloat16, torch.float32)]
)
def test_sums_are_at_least_float32(
    model: MambaForClassification, dtype: torch.dtype, found: torch.dtype
) -> None:
    assert sums(model.to(dtype), sequence(20)).dtype == found


def test_what_it_needs(model: MambaForClassification) -> None:
    untied = MambaConfig(d_model=8, n_layer=1, tie_embeddings=False)
    with pytest.raises(ValueError, match=r"tie_embeddings: expected true with pooling .errors."):
        MambaForClassification(untied, 3, "errors")
    model.backbone.sequence_group = object()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="sequence_group: expected none"):
        model(sequence(4))


def test_the_last_position_is_kept_and_not_the_stretch() -> None:
    add = ErrorSums(torch.zeros(5, 3), lambda hidden: hidden)
    add(torch.ones(2, 50, 3), torch.zeros(2, 50, dtype=torch.uint8))
    assert add.last is not None
    assert add.last.features.untyped_storage().nbytes() == 2 * 3 * 4

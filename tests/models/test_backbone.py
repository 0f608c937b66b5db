"""Properties of the backbone: causality, pieces equal the whole, packed equals separate."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from genomamba.models import MambaBackbone, MambaConfig, MambaForPretraining, MambaState

TOLERANCE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture
def backbone(config: MambaConfig) -> MambaBackbone:
    return MambaBackbone(config).double()


def dna(batch: int, length: int) -> Tensor:
    return torch.randint(0, 5, (batch, length), dtype=torch.uint8)


def test_a_position_depends_on_nothing_after_it(backbone: MambaBackbone) -> None:
    tokens = dna(2, 63)
    other = tokens.clone()
    other[:, 40:] = (other[:, 40:] + 1) % 5
    a, b = backbone(tokens), backbone(other)
    assert torch.equal(a[:, :40], b[:, :40])
    assert (a[:, 40:] != b[:, 40:]).any(-1).all()


@pytest.mark.parametrize("lengths", [(50,), (1, 49), (49, 1), (1, 1, 2, 17, 29), (25, 25)])
def test_pieces_with_the_carried_state_equal_the_whole(
    backbone: MambaBackbone, config: MambaConfig, lengths: tuple[int, ...]
) -> None:
    tokens = dna(3, 50)
    whole, final = backbone(tokens, return_state=True)
    state, pieces = MambaState.zeros(config, batch=3, dtype=torch.float64), []
    for piece in tokens.split(lengths, dim=1):
        hidden, state = backbone(piece, state=state, return_state=True)
        pieces.append(hidden)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, **TOLERANCE)
    for a, b in zip(state.layers, final.layers, strict=True):
        torch.testing.assert_close(a.conv, b.conv, **TOLERANCE)
        torch.testing.assert_close(a.scan, b.scan, **TOLERANCE)


def test_gradients_flow_through_the_carried_state(backbone: MambaBackbone) -> None:
    tokens = dna(1, 30)
    backbone(tokens).square().sum().backward()
    expected = [p.grad.clone() for p in backbone.parameters() if p.grad is not None]
    backbone.zero_grad()
    first, state = backbone(tokens[:, :11], return_state=True)
    second = backbone(tokens[:, 11:], state=state)
    (first.square().sum() + second.square().sum()).backward()
    found = [p.grad for p in backbone.parameters() if p.grad is not None]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCE)


def test_a_detached_state_carries_no_gradient(backbone: MambaBackbone) -> None:
    _, state = backbone(dna(1, 9), return_state=True)
    assert all(t.requires_grad for layer in state.layers for t in layer)
    assert not any(t.requires_grad for layer in state.detach().layers for t in layer)


def test_rows_are_independent(backbone: MambaBackbone) -> None:
    tokens = dna(4, 33)
    together = backbone(tokens)
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], backbone(tokens[i : i + 1]), **TOLERANCE)


def test_packed_sequences_equal_separate_ones(backbone: MambaBackbone) -> None:
    lengths = (1, 20, 2, 17)
    tokens = dna(2, 40)
    seq_idx = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths)).int().expand(2, -1)
    packed = backbone(tokens, seq_idx=seq_idx.contiguous())
    separate = torch.cat([backbone(piece) for piece in tokens.split(lengths, dim=1)], dim=1)
    torch.testing.assert_close(packed, separate, **TOLERANCE)


def test_the_state_belongs_to_a_rows_first_sequence(backbone: MambaBackbone) -> None:
    tokens = dna(1, 40)
    seq_idx = (torch.arange(40) >= 25).int()[None]
    _, state = backbone(tokens[:, :10], return_state=True)
    packed, final = backbone(
        tokens[:, 10:], state=state, seq_idx=seq_idx[:, 10:].contiguous(), return_state=True
    )
    second, of_second = backbone(tokens[:, 25:], return_state=True)
    expected = torch.cat([backbone(tokens[:, :25])[:, 10:], second], dim=1)
    torch.testing.assert_close(packed, expected, **TOLERANCE)
    torch.testing.assert_close(final.layers[1].scan, of_second.layers[1].scan, **TOLERANCE)


def test_backends_agree_in_float64(config: MambaConfig) -> None:
    models = {}
    for backend in ("torch", "reference"):
        torch.manual_seed(3)
        shape = dataclasses.replace(config, backend=backend)
        models[backend] = MambaForPretraining(shape).double()
    tokens = dna(2, 37)
    outputs = {name: model(tokens) for name, model in models.items()}
    torch.testing.assert_close(outputs["torch"], outputs["reference"], **TOLERANCE)
    for output in outputs.values():
        output.square().sum().backward()
    pairs = zip(*(model.named_parameters() for model in models.values()), strict=True)
    for (name, a), (_, b) in pairs:
        torch.testing.assert_close(a.grad, b.grad, msg=name, **TOLERANCE)


def test_token_types_give_the_same_bits(backbone: MambaBackbone) -> None:
    tokens = dna(2, 12)
    assert torch.equal(backbone(tokens), backbone(tokens.long()))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_the_residual_stream_is_of_the_type_asked_for(wide: bool, autocast: bool) -> None:
    """Bfloat16 comes from the parameters, or from autocast while they stay float32."""
    config = MambaConfig(d_model=16, n_layer=2, d_state=4, residual_in_fp32=wide)
    backbone = MambaBackbone(config) if autocast else MambaBackbone(config).bfloat16()
    streams = []
    for module in (*(layer.norm for layer in backbone.layers), backbone.norm_f):
        module.register_forward_hook(lambda _, __, outputs: streams.append(outputs))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        backbone(dna(1, 8))
    assert [normed.dtype for normed, _ in streams] == [torch.bfloat16] * 3
    assert [stream.dtype for _, stream in streams] == [
        torch.float32 if wide else torch.bfloat16
    ] * 3


def test_bad_arguments_say_what_was_expected(backbone: MambaBackbone) -> None:
    with pytest.raises(ValueError, match=r"tokens: expected integers of shape \(B, L\)"):
        backbone(torch.rand(2, 5))
    with pytest.raises(ValueError, match=r"tokens: .* got torch.int64 of shape \(5,\)"):
        backbone(torch.ones(5, dtype=torch.int64))
    state = MambaState.zeros(dataclasses.replace(backbone.config, n_layer=3), batch=1)
    with pytest.raises(ValueError, match="state: expected 2 layers, got 3"):
        backbone(dna(1, 5), state=state)


def test_padded_vocabulary_never_leaves_the_head() -> None:
    config = MambaConfig(d_model=16, n_layer=1, d_state=4)
    tied = MambaForPretraining(config)
    assert tied.head.weight is tied.backbone.embedding.weight
    assert tied(dna(2, 6)).shape == (2, 6, 5)
    free = MambaForPretraining(dataclasses.replace(config, tie_embeddings=False))
    assert free.head.weight is not free.backbone.embedding.weight
    assert free(dna(2, 6)).shape == (2, 6, 5)
    logits, state = tied(dna(2, 6), return_state=True)
    assert len(state.layers) == 1
    assert logits.shape == (2, 6, 5)

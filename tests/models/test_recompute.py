"""Recomputation: the same gradients, bit for bit, from less memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genomamba.models import MambaBackbone, MambaConfig, MambaState

POLICIES = ("block", "group:1", "group:2", "group:3", "group:9")


def make(config: MambaConfig, policy: str) -> MambaBackbone:
    torch.manual_seed(1)
    return MambaBackbone(dataclasses.replace(config, n_layer=4, recompute=policy))


def train(backbone: MambaBackbone, autocast: bool = False) -> list[Tensor]:
    """Output, final states and all gradients of a packed batch that starts from a state."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 5, (2, 40), generator=generator)
    seq_idx = (torch.arange(40) >= 13).int().expand(2, -1).contiguous()
    dtype = backbone.norm_f.weight.dtype
    state = MambaState.zeros(backbone.config, batch=2, dtype=dtype)
    before = [t.normal_(generator=generator).requires_grad_() for t in state.layers[0]]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        hidden, state = backbone(tokens, state=state, return_state=True, seq_idx=seq_idx)
    after = [t for layer in state.layers for t in layer]
    loss = sum(t.to(dtype).square().sum() for t in (hidden, *after))
    assert isinstance(loss, Tensor)
    loss.backward()
    grads = [tensor.grad for tensor in (*backbone.parameters(), *before)]
    assert all(grad is not None for grad in grads)
    return [hidden.detach(), *(t.detach() for t in after), *grads]  # type: ignore[list-item]


@pytest.mark.parametrize("policy", ["block", "group:3", "group:9"])
@pytest.mark.parametrize("longest", [3, 13])
def test_the_same_gradients_piece_by_piece(
    config: MambaConfig, policy: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, with a packed sequence that begins inside a piece or with one."""
    expected = train(make(config, "none").double())
    monkeypatch.setattr("genomamba.models.backbone.PIECE", 2 * longest * config.d_model)
    found = train(make(config, policy).double())
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("wide", [True, False], ids=["wide", "narrow"])
def test_the_same_bits(config: MambaConfig, policy: str, autocast: bool, wide: bool) -> None:
    config = dataclasses.replace(config, residual_in_fp32=wide)
    expected = train(make(config, "none"), autocast)
    found = train(make(config, policy), autocast)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_a_parameters_hook_fires_once(config: MambaConfig) -> None:
    """As DDP needs it."""
    backbone = make(config, "group:2")
    fired = []
    for name, parameter in backbone.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: fired.append(name))
    train(backbone)
    assert sorted(fired) == sorted(name for name, _ in backbone.named_parameters())


def test_the_stream_before_every_group_is_what_is_kept(
    config: MambaConfig, memory: Callable
) -> None:
    batch, length, layers = 2, 500, 4
    tokens = torch.randint(0, 5, (batch, length))
    kept = {}
    for policy in ("none", "block", "group:2"):
        backbone = make(config, policy)
        with memory() as measured:
            hidden = backbone(tokens)
            kept[policy] = measured.live() / (4 * batch * length * config.d_model)
        del hidden
    # The streams that the class names, the hidden vectors; then what is small.
    assert layers + 2 <= kept["block"] < layers + 2.2
    assert layers / 2 <= kept["group:2"] < layers / 2 + 0.2
    assert kept["none"] > 8 * kept["block"]


def test_pieces_along_the_length(
    config: MambaConfig, memory: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They bound what the backward pass holds while it recomputes."""
    tokens, peaks = torch.randint(0, 5, (1, 1000)), {}
    for pieces in (1, 10):
        monkeypatch.setattr("genomamba.models.backbone.PIECE", 1000 * config.d_model // pieces)
        backbone = make(config, "group:2")
        with memory() as measured:
            backbone(tokens).square().sum().backward()
        peaks[pieces] = measured.peak / (4 * 1000 * config.d_model)
    assert peaks[1] > 20
    assert peaks[10] < 4 + (peaks[1] - 4) / 4


@pytest.mark.parametrize("policy", ["block", "group:2"])
def test_nothing_is_recomputed_without_gradients(config: MambaConfig, policy: str) -> None:
    backbone = make(config, policy)
    with torch.no_grad():
        assert not backbone(torch.randint(0, 5, (1, 9))).requires_grad

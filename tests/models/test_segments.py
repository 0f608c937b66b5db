"""Segmented training: the gradients of the whole sequence from the memory of one segment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from genomamba.models import (
    MambaBackbone,
    MambaConfig,
    MambaForClassification,
    MambaForPretraining,
    MambaState,
)

# Even, not dividing, two segments, one over, one-base, longer than the sequence.
CUTS = [(40, 10), (41, 10), (40, 39), (33, 32), (12, 1), (20, 50)]
BORDERS = (1, 10, 20, 23)  # of packed sequences; two of them borders of segments, too


def packed(length: int) -> Tensor:
    borders = torch.tensor([b for b in BORDERS if b < length])
    row = torch.searchsorted(borders, torch.arange(length), right=True).int()
    return torch.stack([row, torch.zeros_like(row)])


def dna(length: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, 5, (batch, length), generator=generator, dtype=torch.uint8)


def set_up(
    kind: Callable[..., torch.nn.Module], config: MambaConfig, *args: object, **fields: object
):
    torch.manual_seed(1)
    model = kind(dataclasses.replace(config, **fields), *args).double()  # type: ignore[arg-type]
    if isinstance(model, MambaForClassification):
        torch.nn.init.normal_(model.head.out_proj.weight)
        for _ in range(3):
            model(dna(30))  # statistics past their start
    return model


def gradients(model: torch.nn.Module, *outputs: Tensor) -> dict[str, Tensor]:
    """Of the sum of squares of the outputs."""
    model.zero_grad()
    torch.stack([output.square().sum() for output in outputs]).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(
    found: dict[str, Tensor], expected: dict[str, Tensor], limit: float = 1e-10
) -> None:
    assert found.keys() == expected.keys()
    for name, truth in expected.items():
        assert (found[name] - truth).norm() <= limit * truth.norm(), name


@pytest.mark.parametrize("recompute", ["none", "block"])
@pytest.mark.parametrize("with_packing", [False, True])
@pytest.mark.parametrize(("length", "segment"), CUTS)
def test_hidden_vectors_states_and_gradients(
    config: MambaConfig, length: int, segment: int, with_packing: bool, recompute: str
) -> None:
    results = []
    for fields in ({}, {"segment_length": segment, "recompute": recompute}):
        backbone = set_up(MambaBackbone, config, **fields)
        state = MambaState.zeros(config, batch=2, dtype=torch.float64)
        before = {}
        for i, layer in enumerate(state.layers):
            for name, tensor in layer._asdict().items():
                torch.nn.init.normal_(tensor).requires_grad_()
                before[f"{name} {i}"] = tensor
        seq_idx = packed(length) if with_packing else None
        hidden, after = backbone(dna(length), state=state, return_state=True, seq_idx=seq_idx)
        states = [tensor for layer in after.layers for tensor in layer]
        grads = gradients(backbone, hidden, *states)
        grads |= {name: t.grad for name, t in before.items() if t.grad is not None}
        outputs = {str(i): t.detach() for i, t in enumerate((hidden, *states))}
        results.append((outputs, grads))
    assert len(results[0][1]) == len(dict(backbone.named_parameters())) + len(before)
    for found, expected in zip(results[1], results[0], strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize(("tie", "with_packing"), [(True, False), (False, True)])
@pytest.mark.parametrize(("length", "segment"), CUTS)
def test_next_token_loss(
    config: MambaConfig, length: int, segment: int, with_packing: bool, tie: bool
) -> None:
    """Against cross-entropy of the logits, which holds them all."""
    tokens, importance = dna(length), torch.rand(2, length, dtype=torch.float64)
    seq_idx = packed(length) if with_packing else None
    whole = set_up(MambaForPretraining, config, tie_embeddings=tie)
    logits = whole(tokens, seq_idx=seq_idx)[:, :-1]
    weight = importance[:, 1:]
    if seq_idx is not None:
        weight = weight * (seq_idx[:, 1:] == seq_idx[:, :-1])
    losses = torch.nn.functional.cross_entropy(logits.mT, tokens[:, 1:].long(), reduction="none")
    expected = (losses * weight).sum() / weight.sum()
    truth = gradients(whole, expected)

    cut = set_up(MambaForPretraining, config, tie_embeddings=tie, segment_length=segment)
    seen: dict[int, Tensor] = {}

    def observe(at: slice, of_segment: Tensor) -> None:
        seen.update(zip(range(at.start, at.stop), of_segment.unbind(1), strict=True))

    loss = cut.loss(tokens, importance, seq_idx=seq_idx, observe=observe)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert_same(gradients(cut, loss), truth)
    assert list(seen) == list(range(1, length))  # once each, the backward pass included
    torch.testing.assert_close(torch.stack(list(seen.values()), dim=1), losses)


@pytest.mark.parametrize(("pooling", "recompute"), [("mean", "none"), ("last", "group:2")])
@pytest.mark.parametrize("with_packing", [False, True])
@pytest.mark.parametrize(("length", "segment"), CUTS)
def test_classification(
    config: MambaConfig, length: int, segment: int, with_packing: bool, recompute: str, pooling: str
) -> None:
    results = []
    for fields in ({}, {"segment_length": segment, "recompute": recompute}):
        model = set_up(MambaForClassification, config, 3, pooling, **fields)
        logits = model(dna(length), packed(length) if with_packing else None)
        buffers = {name: buffer.double().clone() for name, buffer in model.named_buffers()}
        results.append({"logits": logits.detach(), **gradients(model, logits), **buffers})
    assert_same(results[1], results[0])


def test_under_autocast_as_near_to_the_truth_as_the_whole(config: MambaConfig) -> None:
    """The weights' gradients are collected over the segments in float32."""
    tokens = dna(512)
    truth_model = set_up(MambaForPretraining, config)
    truth = gradients(truth_model, truth_model.loss(tokens))
    errors = {}
    for segment in (None, 16):
        model = set_up(MambaForPretraining, config, segment_length=segment).float()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(tokens)
        found = gradients(model, loss)
        assert all(grad.dtype == torch.float32 for grad in found.values())
        errors[segment] = {n: ((found[n] - t).norm() / t.norm()).item() for n, t in truth.items()}
    for name, error in errors[None].items():
        assert errors[16][name] <= 1.2 * error, name


def test_backward_inside_autocast(config: MambaConfig) -> None:
    model = set_up(MambaForPretraining, config, segment_length=7).float()
    results = []
    for inside in (True, False):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(dna(30))
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        results.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    address = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Losses(torch.nn.Module):
    """What DistributedDataParallel wraps: a module whose forward is the loss."""

    def __init__(self, model: MambaForPretraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.loss(tokens)


@pytest.mark.usefixtures("one_process")
def test_ddp_and_gradient_accumulation(config: MambaConfig) -> None:
    batches = [dna(30), dna(23)]
    whole = set_up(MambaForPretraining, config)
    expected = gradients(whole, *(whole.loss(tokens) for tokens in batches))
    cut = set_up(MambaForPretraining, config, segment_length=7, recompute="block")
    wrapped = DistributedDataParallel(Losses(cut))
    fired: list[str] = []
    for name, parameter in cut.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: fired.append(name))
    with wrapped.no_sync():
        wrapped(batches[0]).square().backward()
    wrapped(batches[1]).square().backward()
    assert sorted(fired) == sorted(2 * list(expected))  # once a backward pass
    found = {n: p.grad for n, p in cut.named_parameters() if p.grad is not None}
    assert_same(found, expected)


def test_segments_end_at_the_grid(config: MambaConfig) -> None:
    """And those that are shorter than it where they say; without a limit there is one."""

    def ends(length: int, segment: int | None) -> list[int]:
        backbone = set_up(MambaForPretraining, config, segment_length=segment).backbone
        with torch.no_grad():
            return [at for at, _ in backbone.map_segments(dna(length), lambda _, at: at.stop)]

    assert ends(1300, 700) == [512, 1024, 1300]
    assert ends(1300, 1100) == [1024, 1300]
    assert ends(300, 140) == [140, 280, 300]
    assert ends(1300, None) == [1300]


def test_the_peak_depends_on_the_segment_and_not_on_the_length(
    config: MambaConfig, memory: Callable
) -> None:
    peaks, kept = {}, {}
    for length in (300, 1500):
        for fields in ({}, {"segment_length": 150}):
            model = set_up(MambaForPretraining, config, **fields)
            tokens = dna(length)
            with memory() as measured:
                loss = model.loss(tokens)
                kept[length, bool(fields)] = measured.live()
                loss.backward()
            peaks[length, bool(fields)] = measured.peak
    assert peaks[1500, False] > 4.5 * peaks[300, False]
    assert peaks[1500, True] < 0.55 * peaks[300, False] + kept[1500, True]
    # The states of both layers at 8 more borders, in float64, and less than a kilobyte beside.
    state = config.n_layer * 2 * config.d_inner * (config.d_state + config.d_conv - 1) * 8
    more = kept[1500, True] - kept[300, True]
    assert 8 * state <= more <= 8 * (state + 1000)


def test_streaming_keeps_nothing(config: MambaConfig, memory: Callable) -> None:
    model = set_up(MambaForPretraining, config, segment_length=100)
    peaks = []
    for length in (300, 1200):
        with torch.no_grad(), memory() as measured:
            model.loss(dna(length))
        peaks.append(measured.peak)
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize("value", [0, -5, 2.5, "all", True])
def test_a_segment_length_that_is_none(value: object) -> None:
    with pytest.raises(
        ValueError, match="segment_length: expected a positive integer or none, got"
    ):
        MambaConfig(segment_length=value)  # type: ignore[arg-type]


def test_importance_has_the_tokens_shape(config: MambaConfig) -> None:
    with pytest.raises(ValueError, match=r"importance: .* shape \(2, 9\), got \(2, 8\)"):
        MambaForPretraining(config).loss(dna(9), torch.ones(2, 8))

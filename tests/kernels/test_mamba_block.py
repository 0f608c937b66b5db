"""A residual block that keeps its input only, against its operators in float64."""

from __future__ import annotations

import pytest
import torch

from genomamba_kernels import mamba_block

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STATES = ("conv_state", "scan_state")

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow


def make(batch, length, width=3, states=1, rank=2):
    """Every tensor argument, in float64."""
    generator = torch.Generator().manual_seed(0)
    channels = 2 * width

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "stream": normal(batch, length, width),
        "norm_weight": normal(width),
        "in_proj_weight": normal(2 * channels, width) / width**0.5,
        "in_proj_bias": normal(2 * channels),
        "conv_weight": normal(channels, 4),
        "conv_bias": normal(channels),
        "x_proj_weight": normal(rank + 2 * states, channels) / channels**0.5,
        "dt_proj_weight": normal(channels, rank),
        "A": -torch.exp(0.5 * normal(channels, states)),
        "D": normal(channels),
        "dt_bias": normal(channels) - 1,
        "out_proj_weight": normal(width, channels) / channels**0.5,
        "out_proj_bias": normal(width),
        "conv_state": normal(batch, 3, channels),
        "scan_state": normal(batch, channels, states),
    }


def call(tensors, backend, seq_idx=None):
    arguments = {name: tensor for name, tensor in tensors.items() if name not in STATES}
    state = tuple(tensors[name] for name in STATES) if "conv_state" in tensors else None
    out, state = mamba_block(
        **arguments,
        eps=1e-5,
        initial_state=state,
        return_final_state=True,
        seq_idx=seq_idx,
        backend=backend,
    )
    return out, *state


def run(tensors, backend, dtype, seq_idx=None):
    """Outputs and the gradient of every tensor, brought back to the CPU."""
    device = DEVICE if backend == "triton" else "cpu"
    leaves = {
        name: tensor.to(device, dtype).detach().requires_grad_()
        for name, tensor in tensors.items()
        if tensor is not None
    }
    seq_idx = None if seq_idx is None else seq_idx.to(device)
    outputs = call({name: leaves.get(name) for name in tensors}, backend, seq_idx)
    generator = torch.Generator().manual_seed(1)
    cotangents = [
        torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in outputs
    ]
    grads = torch.autograd.grad(outputs, list(leaves.values()), cotangents)
    results = dict(zip(("out", *STATES), outputs, strict=True))
    results |= {f"d{name}": grad for name, grad in zip(leaves, grads, strict=True)}
    return {name: tensor.detach().cpu() for name, tensor in results.items()}


@pytest.fixture
def compare(rms_ratio, monkeypatch):
    """Triton in float32, in pieces of 16 positions, against the truth."""
    triton_pieces = pytest.importorskip("genomamba_kernels.mamba_inner.triton_pieces")
    monkeypatch.setattr(triton_pieces, "PIECE", 16 * 6)

    def check(tensors, seq_idx=None):
        got = run(tensors, "triton", torch.float32, seq_idx)
        truth = run(tensors, "reference", torch.float64, seq_idx)
        limits = {name: 1e-4 if name.startswith("d") else 1e-5 for name in truth}
        distances = {name: rms_ratio(got[name], truth[name]) for name in truth}
        assert all(distances[name] <= limits[name] for name in truth), distances

    return check


def test_pieces_and_packed_rows(compare):
    starts = torch.tensor([3, 14, 16])
    row = torch.searchsorted(starts, torch.arange(20), right=True).to(torch.int32)
    compare(make(1, 20), row[None])


def test_optional_arguments_may_be_absent(compare):
    tensors = make(3, 9)
    del tensors["conv_state"], tensors["scan_state"]
    absent = ("in_proj_bias", "conv_bias", "D", "dt_bias", "out_proj_bias")
    compare(tensors | dict.fromkeys(absent))


@pytest.mark.parametrize("backend", ["reference", "torch", "triton"])
def test_only_the_stream_is_kept(backend):
    if backend == "triton":
        pytest.importorskip("triton")
    device = DEVICE if backend == "triton" else "cpu"
    tensors = {
        name: tensor.to(device, torch.float32).requires_grad_()
        for name, tensor in make(1, 100, rank=1).items()
    }
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call(tensors, backend)
    stream = tensors["stream"]
    others = sum(tensor.numel() for tensor in kept if tensor.data_ptr() != stream.data_ptr())
    parameters = sum(tensor.numel() for name, tensor in tensors.items() if name != "stream")
    segments = 100 // 8 + 1  # whose entering states the GPU's scan keeps; interpreted it has more
    assert others <= parameters + segments * 2 * 2 * tensors["A"].numel()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("norm_weight", torch.zeros(4), r"norm_weight: expected shape \(M,\)"),
        ("in_proj_weight", torch.zeros(11, 3), r"in_proj_weight: expected shape \(2 D, M\)"),
        ("out_proj_weight", torch.zeros(6, 3), r"out_proj_weight: expected shape \(M, D\)"),
        ("out_proj_bias", torch.zeros(6), r"out_proj_bias: expected shape \(M,\)"),
        ("conv_bias", torch.zeros(7), r"conv_bias: expected shape \(D,\)"),
    ],
)
def test_what_does_not_fit_is_refused(name, value, message):
    tensors = {key: tensor.float() for key, tensor in make(1, 5).items()} | {name: value}
    with pytest.raises(ValueError, match=message):
        call(tensors, "torch")

"""One position at a time: torch and Triton against the operators over the whole, in float64."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from genomamba_kernels import causal_conv1d, selective_scan
from genomamba_kernels.mamba_step import conv_step, scan_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = [
    "torch",
    pytest.param(
        "triton",
        marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton"),
    ),
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
LIMITS = {torch.float32: 1e-6, torch.bfloat16: 1e-2}
ROWS, LENGTH = 3, 5


@pytest.fixture
def normal():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


def ratio(found: torch.Tensor, truth: torch.Tensor) -> float:
    difference = found.cpu().double() - truth
    return float((difference.square().mean() / truth.square().mean().clamp_min(1e-300)).sqrt())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(("channels", "width"), [(7, 4), (300, 4), (33, 1), (5, 2)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_convolution(backend, dtype, channels, width, with_bias, normal) -> None:
    x = normal(ROWS, LENGTH, 2 * channels)[..., :channels].to(dtype)  # as in_proj's half
    weight, state = normal(channels, width).to(dtype), normal(ROWS, width - 1, channels).to(dtype)
    bias = normal(channels).to(dtype) if with_bias else None
    truth, after = causal_conv1d(
        x.double(), weight.double(), None if bias is None else bias.double(), activation="silu",
        initial_state=state.double(), return_final_state=True, backend="reference",
    )  # fmt: skip
    device = DEVICE if backend == "triton" else "cpu"
    state, weight = state.to(device), weight.to(device)
    bias = None if bias is None else bias.to(device)
    wide = torch.zeros(ROWS, 2 * channels, dtype=dtype, device=device)
    for at in range(LENGTH):
        wide[:, :channels] = x[:, at].to(device)
        y = conv_step(wide[:, :channels], state, weight, bias, backend=backend)
        assert y.dtype == dtype
        assert ratio(y, truth[:, at]) < LIMITS[dtype]
    assert torch.equal(state.cpu().double(), after)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(("channels", "states"), [(7, 16), (130, 16), (33, 1), (5, 5)])
def test_scan(backend, dtype, channels, states, normal) -> None:
    u, z = (normal(ROWS, LENGTH, channels).to(dtype) for _ in range(2))
    delta = (3 * normal(ROWS, LENGTH, channels) - 4).to(dtype)  # small steps and large ones
    both = normal(ROWS, LENGTH, 3 + 2 * states)[..., 3:].to(dtype)  # as x_proj's part
    B, C = both.split(states, dim=-1)
    A, D, bias = -torch.exp(normal(channels, states)).float(), normal(channels), normal(channels)
    D, bias = D.float(), bias.float()
    state = normal(ROWS, channels, states).float()
    truth, after = selective_scan(
        *(t.double() for t in (u, delta, A, B, C, D, z, bias)), delta_softplus=True,
        initial_state=state.double(), return_final_state=True, backend="reference",
    )  # fmt: skip
    device = DEVICE if backend == "triton" else "cpu"
    u, delta, both, z, A, D, bias, state = (
        t.to(device) for t in (u, delta, both, z, A, D, bias, state)
    )
    for at in range(LENGTH):
        B, C = both[:, at].split(states, dim=-1)
        y = scan_step(u[:, at], delta[:, at], A, B, C, D, z[:, at], bias, state, backend=backend)
        assert y.dtype == dtype
        assert ratio(y, truth[:, at]) < LIMITS[dtype]
    assert ratio(state, after) < 1e-6


def test_shapes_are_checked() -> None:
    x = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="state: expected"):
        conv_step(x, torch.zeros(2, 2, 4), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="delta: expected"):
        scan_step(
            x, x[:, :3], torch.zeros(4, 2), torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(4), x,
            torch.zeros(4), torch.zeros(2, 4, 2),
        )  # fmt: skip

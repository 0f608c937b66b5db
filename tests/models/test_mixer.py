"""Initialisation, parameter names and numbers of the mixer and the norm."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from genomamba.models import MambaConfig, MambaForPretraining, MambaMixer
from genomamba.models.block import MambaBlock
from genomamba.models.norm import RMSNorm
from genomamba.models.state import LayerState


def test_step_sizes_start_log_uniform() -> None:
    config = MambaConfig(d_model=2048, n_layer=1, dt_min=1e-3, dt_max=0.1)
    dt = functional.softplus(MambaMixer(config).dt_proj.bias.detach().double())
    assert dt.min() >= 1e-3 * (1 - 1e-4)
    assert dt.max() <= 0.1 * (1 + 1e-4)
    position = (dt.log() - math.log(1e-3)) / math.log(100)
    uniform = (torch.arange(len(dt)) + 0.5) / len(dt)
    assert (position.sort().values - uniform).abs().max() < 0.04  # Kolmogorov-Smirnov, p < 1e-5


def test_step_sizes_have_a_floor() -> None:
    config = MambaConfig(d_model=64, n_layer=1, dt_min=1e-6, dt_max=2e-6, dt_init_floor=1e-4)
    dt = functional.softplus(MambaMixer(config).dt_proj.bias)
    torch.testing.assert_close(dt, torch.full_like(dt, 1e-4), rtol=1e-3, atol=0)


def test_initial_values() -> None:
    config = MambaConfig(d_model=64, n_layer=9, d_state=6, bias=True)
    mixer = MambaMixer(config)
    assert torch.equal(mixer.D, torch.ones(128))
    decay = torch.arange(1.0, 7.0).expand(128, 6)
    torch.testing.assert_close(mixer.A_log.exp(), decay)
    bound = config.rank**-0.5
    assert 0.9 * bound < mixer.dt_proj.weight.abs().max() <= bound
    residual_bound = 128**-0.5 / 3  # torch's default for 128 inputs, over the root of 9 layers
    assert 0.9 * residual_bound < mixer.out_proj.weight.abs().max() <= residual_bound
    assert not mixer.in_proj.bias.any()
    assert not mixer.out_proj.bias.any()
    constant = MambaMixer(dataclasses.replace(config, dt_init="constant", dt_scale=2.0))
    assert torch.equal(constant.dt_proj.weight, torch.full((128, 4), 2 * bound))


def test_names_and_shapes_are_mamba_ssms() -> None:
    config = MambaConfig(d_model=32, n_layer=1, d_state=4)
    shapes = {n: tuple(v.shape) for n, v in MambaForPretraining(config).state_dict().items()}
    block = "backbone.layers.0"
    assert shapes == {
        "backbone.embedding.weight": (8, 32),
        f"{block}.norm.weight": (32,),
        f"{block}.mixer.in_proj.weight": (128, 32),
        f"{block}.mixer.conv1d.weight": (64, 1, 4),
        f"{block}.mixer.conv1d.bias": (64,),
        f"{block}.mixer.x_proj.weight": (10, 64),
        f"{block}.mixer.dt_proj.weight": (64, 2),
        f"{block}.mixer.dt_proj.bias": (64,),
        f"{block}.mixer.A_log": (64, 4),
        f"{block}.mixer.D": (64,),
        f"{block}.mixer.out_proj.weight": (32, 64),
        "backbone.norm_f.weight": (32,),
        "head.weight": (8, 32),
    }


def test_the_mixer_is_the_papers_formula(config: MambaConfig) -> None:
    """Against a loop over positions, written from figure 3 and algorithm 2."""
    mixer = MambaMixer(config).double()
    x = torch.randn(2, 13, config.d_model, dtype=torch.float64)
    u, z = mixer.in_proj(x).split(config.d_inner, dim=-1)
    u = functional.silu(mixer.conv1d(functional.pad(u.mT, (config.d_conv - 1, 0))).mT)
    dt, B, C = mixer.x_proj(u).split([config.rank, config.d_state, config.d_state], dim=-1)
    dt = functional.softplus(mixer.dt_proj(dt))
    A = -mixer.A_log.exp()
    h = torch.zeros(2, config.d_inner, config.d_state, dtype=torch.float64)
    rows = []
    for t in range(13):
        h = (dt[:, t, :, None] * A).exp() * h + (dt * u)[:, t, :, None] * B[:, t, None, :]
        rows.append((h * C[:, t, None, :]).sum(-1) + mixer.D * u[:, t])
    expected = mixer.out_proj(torch.stack(rows, dim=1) * functional.silu(z))
    y, state = mixer(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(state.scan.double(), h)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
def test_backends_agree(config: MambaConfig) -> None:
    """Output, states and the gradient of every parameter, packed rows and a state to start with."""
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(1, 11, config.d_model, device=device)
    seq_idx = torch.tensor([[0] * 4 + [1] * 7], dtype=torch.int32, device=device)
    d_inner = config.d_inner
    state = LayerState(torch.randn(1, 2, d_inner), torch.randn(1, d_inner, config.d_state))
    state = LayerState(*(part.to(device) for part in state))
    mixer = MambaMixer(config).to(device)
    results = {}
    for backend in ("reference", "torch", "triton"):
        mixer.backend = backend
        y, after = mixer(x, state, seq_idx)
        parameters = dict(mixer.named_parameters())
        grads = torch.autograd.grad(y.square().sum(), list(parameters.values()))
        results[backend] = dict(zip(parameters, grads, strict=True)) | {"y": y} | after._asdict()
    for backend in ("torch", "triton"):
        for name, expected in results["reference"].items():
            scale = expected.abs().max().item()
            torch.testing.assert_close(
                results[backend][name], expected, rtol=0, atol=1e-4 * scale, msg=name
            )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on overflow
@pytest.mark.parametrize("backend", ["reference", "torch", "triton"])
def test_a_recomputed_block_is_the_block(config: MambaConfig, backend: str) -> None:
    if backend == "triton":
        pytest.importorskip("triton")
    device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    block = MambaBlock(dataclasses.replace(config, backend=backend)).to(device)
    stream = torch.randn(1, 11, config.d_model, device=device, requires_grad=True)
    branch, residual, state = block(stream)
    other, other_state = block.mixer.recomputed_block(stream, block.norm)
    torch.testing.assert_close(other, residual + branch)
    torch.testing.assert_close(other_state, state)
    leaves = [stream, *block.parameters()]
    expected = torch.autograd.grad((residual + branch).square().sum(), leaves)
    got = torch.autograd.grad(other.square().sum(), leaves)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_autocast_rounds_the_data_and_not_the_parameters(config: MambaConfig, backend: str) -> None:
    mixer = MambaMixer(dataclasses.replace(config, backend=backend))
    x = torch.randn(2, 13, config.d_model)
    exact, _ = mixer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = mixer(x)
    assert y.dtype == state.conv.dtype == torch.bfloat16
    assert state.scan.dtype == torch.float32
    assert (y - exact).square().mean().sqrt() < 0.02 * exact.square().mean().sqrt()
    y.float().square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e18])
def test_rms_norm(scale: float) -> None:
    norm = RMSNorm(7, eps=0.0).double()
    norm.weight.data.normal_()
    x = torch.randn(3, 5, 7, dtype=torch.float64) * scale
    expected = x / (x**2).mean(-1, keepdim=True).sqrt() * norm.weight
    torch.testing.assert_close(norm(x)[0], expected)


def test_rms_norm_in_half_precision_computes_in_float32() -> None:
    x = torch.full((1, 8), 300.0)  # its square overflows float16
    norm = RMSNorm(8, eps=1e-5).half()
    assert torch.equal(norm(x.half())[0], torch.ones(1, 8, dtype=torch.float16))

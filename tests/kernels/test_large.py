"""Tensors of more than 2^31 elements, on a GPU with room for them: addresses must be 64-bit."""

from __future__ import annotations

import pytest
import torch

from genomamba_kernels import (
    causal_conv1d,
    mamba_inner,
    next_token_loss,
    rms_norm,
    selective_scan,
)

BYTES = 70 * 2**30  # at the peak of the scan's backward, with room to spare
LENGTH, CHANNELS, STATES = 2**22 + 100, 520, 16
CUT = LENGTH - 3000  # the elements before are more than 2^31

pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory < BYTES,
        reason=f"needs a GPU with {BYTES >> 30} GiB",
    ),
]


@pytest.fixture(autouse=True)
def _no_memory_is_left():
    yield
    torch.cuda.empty_cache()


def ratio(got, truth):
    got, truth = got.detach().float(), truth.detach().float()
    return float((got - truth).norm() / truth.norm())


def random(*shape, dtype=torch.bfloat16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def test_scan():
    """The tail of a long sequence is a run of the tail alone, from the state before it."""
    assert CUT * CHANNELS > 2**31
    torch.manual_seed(0)
    shape = (1, LENGTH, CHANNELS)
    tensors = {
        "u": random(*shape),
        "delta": random(*shape),
        "A": -torch.arange(1.0, STATES + 1, device="cuda").repeat(CHANNELS, 1),
        "B": random(1, LENGTH, STATES),
        "C": random(1, LENGTH, STATES),
        "D": random(CHANNELS, dtype=torch.float32),
        "z": random(*shape),
        "delta_bias": random(CHANNELS, dtype=torch.float32) * 0.1 - 4.6,
    }
    grad_y = random(*shape)

    def run(start, stop, state=None):
        parts = {n: t[:, start:stop] if t.dim() == 3 else t for n, t in tensors.items()}
        parts["u"] = parts["u"].detach().requires_grad_()
        y, final = selective_scan(
            **parts,
            delta_softplus=True,
            initial_state=state,
            return_final_state=True,
            backend="triton",
        )
        return y, final, parts["u"]

    y, final, u = run(0, LENGTH)
    (grad_u,) = torch.autograd.grad(y, u, grad_y)
    tail = [t[:, CUT:].detach().clone() for t in (y, grad_u)]
    del y, u, grad_u
    with torch.no_grad():
        _, middle, _ = run(0, CUT)
    y, end, u = run(CUT, LENGTH, middle)
    (grad_u,) = torch.autograd.grad(y, u, grad_y[:, CUT:])
    for got, alone in zip((*tail, final), (y, grad_u, end), strict=True):
        assert ratio(got, alone) < 1e-2


def test_conv():
    torch.manual_seed(0)
    weight = random(CHANNELS, 4, dtype=torch.float32)
    x = random(1, LENGTH, CHANNELS).requires_grad_()
    y = causal_conv1d(x, weight, activation="silu", backend="triton")
    grad_y = random(*y.shape)
    (grad_x,) = torch.autograd.grad(y, x, grad_y)
    tail = x[:, CUT:].detach().float().requires_grad_()
    state = x[:, CUT - 3 : CUT].detach().float()
    alone = causal_conv1d(tail, weight, activation="silu", initial_state=state, backend="reference")
    (grad_alone,) = torch.autograd.grad(alone, tail, grad_y[:, CUT:].float())
    assert ratio(y[:, CUT:], alone) < 1e-2
    assert ratio(grad_x[:, CUT:], grad_alone) < 1e-2


def test_inner():
    torch.manual_seed(0)
    rank = 17
    parameters = {
        "conv_weight": 0.3 * random(CHANNELS, 4, dtype=torch.float32),
        "conv_bias": None,
        "x_proj_weight": random(rank + 2 * STATES, CHANNELS) * CHANNELS**-0.5,
        "dt_proj_weight": random(CHANNELS, rank) * rank**-0.5,
        "A": -torch.arange(1.0, STATES + 1, device="cuda").repeat(CHANNELS, 1),
        "dt_bias": torch.full((CHANNELS,), -4.6, device="cuda"),
    }
    xz = random(1, LENGTH, 2 * CHANNELS)
    grad_y = random(1, LENGTH, CHANNELS)

    def run(start, stop, state=None):
        leaf = xz[:, start:stop].detach().requires_grad_()
        y, after = mamba_inner(
            leaf, **parameters, initial_state=state, return_final_state=True, backend="triton"
        )
        return leaf, y, after

    leaf, y, (conv_after, scan_after) = run(0, LENGTH)
    (grad,) = torch.autograd.grad(y, leaf, grad_y)
    tail = [t[:, CUT:].detach().clone() for t in (y, grad)]
    del leaf, y, grad
    with torch.no_grad():
        _, _, middle = run(0, CUT)
    leaf, y, (conv_alone, scan_alone) = run(CUT, LENGTH, middle)
    (grad,) = torch.autograd.grad(y, leaf, grad_y[:, CUT:])
    assert torch.equal(conv_after, conv_alone)
    for got, alone in zip((*tail, scan_after), (y, grad, scan_alone), strict=True):
        assert ratio(got, alone) < 2e-2


def test_norm():
    torch.manual_seed(0)
    weight = random(CHANNELS, dtype=torch.float32)
    x, residual = random(LENGTH, CHANNELS), random(LENGTH, CHANNELS)
    grads = random(LENGTH, CHANNELS), random(LENGTH, CHANNELS)

    def run(start, backend, dtype=torch.bfloat16):
        leaves = [t[start:].detach().to(dtype).requires_grad_() for t in (x, residual)]
        outputs = rms_norm(leaves[0], weight, 1e-5, residual=leaves[1], backend=backend)
        towards = [g[start:].to(out.dtype) for g, out in zip(grads, outputs, strict=True)]
        return *outputs, *torch.autograd.grad(outputs, leaves, towards)

    whole = [t[CUT:].detach().clone() for t in run(0, "triton")]
    for got, alone in zip(whole, run(CUT, "reference", torch.float32), strict=True):
        assert ratio(got, alone) < 1e-2


def test_loss():
    torch.manual_seed(0)
    weight = random(5, CHANNELS, dtype=torch.float32) * CHANNELS**-0.5
    hidden = random(1, LENGTH, CHANNELS)
    targets = torch.randint(5, (1, LENGTH), device="cuda", dtype=torch.uint8)

    def run(start, backend):
        leaf = hidden[:, start:].detach().requires_grad_()
        total, loss = next_token_loss(leaf, weight, targets[:, start:], backend=backend)
        return loss, *torch.autograd.grad(total, leaf)

    whole = [t[:, CUT:].detach().clone() for t in run(0, "triton")]
    for got, alone in zip(whole, run(CUT, "reference"), strict=True):
        assert ratio(got, alone) < 1e-2

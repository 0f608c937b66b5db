"""RMSNorm with the residual sum: torch and Triton against the reference in float64."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

from genomamba_kernels import rms_norm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = [
    "torch",
    pytest.param(
        "triton",
        marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton"),
    ),
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
HALF = (torch.bfloat16, torch.float16)


def make(rows, channels, *, with_residual=True, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = {"x": normal(*rows, channels), "weight": 1.0 + 0.3 * normal(channels)}
    if with_residual:
        tensors["residual"] = 3.0 * normal(*rows, channels)
    return tensors


def run(tensors, backend, dtypes=None, out_dtype=None, eps=1e-5, device="cpu"):
    """Outputs and gradients for fixed random cotangents; dtypes by tensor."""
    leaves = {
        name: tensor.to(device, (dtypes or {}).get(name, tensor.dtype)).requires_grad_()
        for name, tensor in ((n, t.detach().clone()) for n, t in tensors.items())
    }
    outputs = rms_norm(**leaves, eps=eps, out_dtype=out_dtype, backend=backend)
    generator = torch.Generator().manual_seed(1)
    cotangents = [
        torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in outputs
    ]
    grads = torch.autograd.grad(outputs, list(leaves.values()), cotangents)
    named = dict(zip((f"d{name}" for name in leaves), grads, strict=True))
    results = {"y": outputs[0], "s": outputs[1], **named}
    return {name: result.detach().cpu() for name, result in results.items()}


def on_device(tensors, backend, **options):
    device = DEVICE if backend == "triton" else "cpu"
    return run(tensors, backend, device=device, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("with_residual", [True, False])
@pytest.mark.parametrize(
    ("rows", "channels"), [((1,), 32), ((2, 33), 128), ((3, 5), 24), ((1, 3), 1000), ((2,), 4096)]
)
def test_float32_against_the_reference(rms_ratio, backend, rows, channels, with_residual):
    tensors = make(rows, channels, with_residual=with_residual)
    truth = run(tensors, "reference")
    got = on_device(tensors, backend, dtypes=dict.fromkeys(tensors, torch.float32))
    distances = {name: rms_ratio(got[name], truth[name]) for name in truth}
    assert max(distances.values()) < 1e-6, distances


def test_float64_equals_the_reference(rms_ratio):
    tensors = make((2, 9), 20)
    truth, got = run(tensors, "reference"), run(tensors, "torch")
    assert all(rms_ratio(got[name], truth[name]) < 1e-14 for name in truth)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stream", [torch.float32, *HALF])
@pytest.mark.parametrize("half", HALF)
def test_half_precision_is_as_near_as_the_references(rms_ratio, backend, half, stream):
    """A half-precision branch, a stream of either kind, float32 weights: training's dtypes."""
    if backend == "triton" and DEVICE == "cpu" and torch.bfloat16 in (half, stream):
        pytest.skip("the interpreter cuts bfloat16 off where a GPU rounds it")
    dtypes = {"x": half, "residual": stream, "weight": torch.float32}
    tensors = {name: t.to(dtypes[name]).double() for name, t in make((2, 21), 48).items()}
    truth = run(tensors, "reference")
    alike = run(tensors, "reference", dtypes, half)
    got = on_device(tensors, backend, dtypes=dtypes, out_dtype=half)
    for name in truth:
        assert got[name].dtype == alike[name].dtype, name
        limit = 2 * rms_ratio(alike[name], truth[name]) + 1e-6
        assert rms_ratio(got[name], truth[name]) <= limit, name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_weights_gradient_is_the_same_bits_every_time(monkeypatch, backend):
    if backend == "triton":  # several blocks a program, the last ones absent
        launches = importlib.import_module("genomamba_kernels.rms_norm.triton_norm")
        monkeypatch.setattr(launches, "MOST_PARTS", 3)
    tensors = make((700,), 32)
    dtypes = dict.fromkeys(tensors, torch.float32)
    first, second = (on_device(tensors, backend, dtypes=dtypes, eps=0.0) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    truth = run(tensors, "reference", eps=0.0)
    torch.testing.assert_close(first["dweight"].double(), truth["dweight"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broken_row_breaks_no_other(backend):
    tensors = make((40,), 32)
    dtypes = dict.fromkeys(tensors, torch.float32)
    clean = on_device(tensors, backend, dtypes=dtypes)
    tensors["x"][7] = float("nan")
    broken = on_device(tensors, backend, dtypes=dtypes)
    others = torch.arange(40) != 7
    for name in ("y", "s", "dx", "dresidual"):
        assert torch.equal(broken[name][others], clean[name][others]), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("used", ["y", "s"])
def test_one_output_may_go_unused(backend, used):
    tensors = {name: t.float().to(DEVICE) for name, t in make((5,), 32).items()}
    results = []
    for choice in (backend, "reference"):
        leaves = {name: t.clone().requires_grad_() for name, t in tensors.items()}
        outputs = rms_norm(**leaves, eps=1e-5, backend=choice)
        outputs[used == "s"].square().sum().backward()
        results.append([leaf.grad for leaf in leaves.values()])
    for got, truth in zip(*results, strict=True):
        assert (got is None) == (truth is None)
        if truth is not None:
            torch.testing.assert_close(got, truth)


def test_only_the_stream_and_the_weight_are_kept():
    kept = []
    tensors = make((7, 11), 32)
    leaves = {name: t.float().requires_grad_() for name, t in tensors.items()}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        _, s = rms_norm(**leaves, eps=1e-5)
    assert sorted(t.numel() for t in kept) == [32, s.numel()]


def test_half_precision_sums_squares_in_float32():
    x = torch.full((1, 8), 300.0, dtype=torch.float16)  # its square overflows float16
    y, _ = rms_norm(x, torch.ones(8).half(), 1e-5)
    assert torch.equal(y, torch.ones(1, 8, dtype=torch.float16))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", torch.zeros(2, 6, dtype=torch.int64), "x: expected a floating-point tensor"),
        ("x", None, "x: expected a floating-point tensor .*, got NoneType"),
        ("weight", torch.ones(5), r"weight: expected shape \(D,\) = \(6\), got \(5,\)"),
        ("residual", torch.zeros(3, 6), r"residual: expected shape .* = \(2, 6\), got \(3, 6\)"),
        ("out_dtype", torch.int32, "out_dtype: expected a floating-point dtype"),
        ("backend", "cuda", "backend: expected one of"),
    ],
)
def test_the_wrong_argument_is_named(name, value, message):
    arguments = {"x": torch.zeros(2, 6), "weight": torch.ones(6), "eps": 1e-5}
    with pytest.raises(ValueError, match=message):
        rms_norm(**{**arguments, name: value})
    wide = torch.zeros(1, 4097, device=DEVICE)
    with pytest.raises(ValueError, match='"triton" expects at most 4096 channels, got 4097'):
        rms_norm(wide, wide[0], 1e-5, backend="triton")

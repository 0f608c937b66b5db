"""The next-token loss: torch and Triton against cross-entropy in float64."""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch
import torch.nn.functional as F

from genomamba_kernels import next_token_loss

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BACKENDS = [
    "torch",
    pytest.param(
        "triton",
        marks=pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton"),
    ),
]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter


def make(batch, length, channels, vocabulary=5, *, targets=None, importance=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = length - 1 if targets is None else targets
    normal = torch.randn(batch, length, channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(vocabulary, channels, generator=generator, dtype=torch.float64)
    weight = 2.0 * channels**-0.5 * weight  # logits of order one
    target = torch.randint(0, vocabulary, (batch, count), generator=generator, dtype=torch.uint8)
    given = torch.rand(batch, count, generator=generator) if importance else None
    return {"hidden": normal, "weight": weight, "targets": target, "importance": given}


def run(case, backend, dtype=torch.float64, weight_dtype=None, device="cpu", factor=0.37):
    """Outputs, and the gradients of factor x total."""
    leaves = {
        "hidden": case["hidden"].to(device, dtype, copy=True).requires_grad_(),
        "weight": case["weight"].to(device, weight_dtype or dtype, copy=True).requires_grad_(),
    }
    others = {
        name: None if case[name] is None else case[name].to(device)
        for name in ("targets", "importance")
    }
    total, loss = next_token_loss(**leaves, **others, backend=backend)
    grads = torch.autograd.grad(total * factor, list(leaves.values()))
    results = {"total": total, "loss": loss, "dhidden": grads[0], "dweight": grads[1]}
    return {name: result.detach().cpu() for name, result in results.items()}


def on_device(case, backend, **options):
    return run(case, backend, device=DEVICE if backend == "triton" else "cpu", **options)


def test_the_reference_is_cross_entropy():
    case = make(2, 9, 6)
    got = run(case, "reference")
    logits = case["hidden"][:, :-1] @ case["weight"].T
    loss = F.cross_entropy(logits.mT, case["targets"].long(), reduction="none")
    torch.testing.assert_close(got["loss"], loss)
    torch.testing.assert_close(got["total"], (loss * case["importance"]).sum())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("importance", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 2, 32), (2, 33, 128), (3, 70, 20), (1, 3, 4096), (2, 5, 6, 8), (1, 1, 8)]
)
def test_float32_against_the_reference(rms_ratio, backend, shape, importance):
    case = make(*shape, importance=importance)
    truth = run(case, "reference")
    got = on_device(case, backend, dtype=torch.float32)
    distances = {name: rms_ratio(got[name], truth[name]) for name in truth}
    assert max(distances.values()) < 1e-6, distances


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("targets", [0, 1, 11, 12])
def test_positions_without_target(rms_ratio, backend, targets):
    case = make(2, 12, 8, targets=targets)
    truth = run(case, "reference")
    got = on_device(case, backend, dtype=torch.float32)
    assert all(rms_ratio(got[name], truth[name]) < 1e-6 for name in truth)
    assert not got["dhidden"][:, targets:].any()


@pytest.mark.parametrize("positions", [1, 7, 50])
def test_chunks_in_float64(rms_ratio, monkeypatch, positions):
    chunked = importlib.import_module("genomamba_kernels.next_token_loss.chunked")
    monkeypatch.setattr(chunked, "POSITIONS", positions)
    case = make(2, 23, 10)
    truth, got = run(case, "reference"), run(case, "torch")
    assert all(rms_ratio(got[name], truth[name]) < 1e-14 for name in truth)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_as_the_references(rms_ratio, backend, half):
    if backend == "triton" and DEVICE == "cpu" and half == torch.bfloat16:
        pytest.skip("the interpreter cuts bfloat16 off where a GPU rounds it")
    case = make(2, 41, 48)
    case["hidden"] = case["hidden"].to(half).double()
    truth = run(case, "reference")
    alike = run(case, "reference", half, torch.float32)
    got = on_device(case, backend, dtype=half, weight_dtype=torch.float32)
    for name in truth:
        assert got[name].dtype == alike[name].dtype, name
        assert rms_ratio(got[name], truth[name]) <= 2 * rms_ratio(alike[name], truth[name]) + 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.bfloat16])
def test_importance_and_targets_of_other_types(rms_ratio, backend, kind):
    case = make(2, 20, 8)
    case["importance"] = (case["importance"] > 0.5).to(kind)
    case["targets"] = case["targets"].long()
    truth = run({**case, "importance": case["importance"].double()}, "reference")
    got = on_device(case, backend, dtype=torch.float32)
    assert all(rms_ratio(got[name], truth[name]) < 1e-6 for name in truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_bits_every_time(monkeypatch, rms_ratio, backend):
    if backend == "triton":  # several blocks a program
        launches = importlib.import_module("genomamba_kernels.next_token_loss.triton_loss")
        monkeypatch.setattr(launches, "PROGRAMS", 3)
    case = make(3, 300, 32)
    first, second = (on_device(case, backend, dtype=torch.float32) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    truth = run(case, "reference")
    assert all(rms_ratio(first[name], truth[name]) < 1e-6 for name in truth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_logits_overflow_nothing(backend):
    case = make(1, 9, 8)
    case["hidden"] = case["hidden"] * 1e4
    got = on_device(case, backend, dtype=torch.float32)
    assert all(result.isfinite().all() for result in got.values())


def test_logits_are_never_held_at_once(monkeypatch):
    chunked = importlib.import_module("genomamba_kernels.next_token_loss.chunked")
    monkeypatch.setattr(chunked, "POSITIONS", 64)
    case = make(2, 2000, 4)
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.shape[-1:] == (5,):
                largest = max(largest, result.numel())
            return result

    with Largest():
        run(case, "torch", torch.float32)
    assert 0 < largest <= 64 * 5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden", torch.zeros(5, 6), r"hidden: expected shape \(B, L, D\)"),
        ("weight", torch.zeros(5, 7), r"weight: expected shape \(V, D\) = \(any, 6\), got"),
        ("targets", torch.zeros(2, 5), "targets: expected integers, got torch.float32"),
        ("targets", torch.zeros(2, 6).int(), r"targets: .* T at most L = 5, .* got \(2, 6\)"),
        ("targets", None, "targets: expected a tensor .*, got NoneType"),
        ("importance", torch.zeros(2, 5), r"importance: .* targets' shape \(2, 4\), got \(2, 5\)"),
        ("backend", "cuda", "backend: expected one of"),
    ],
)
def test_the_wrong_argument_is_named(name, value, message):
    arguments = {
        "hidden": torch.zeros(2, 5, 6),
        "weight": torch.zeros(5, 6),
        "targets": torch.zeros(2, 4, dtype=torch.int64),
    }
    with pytest.raises(ValueError, match=message):
        next_token_loss(**{**arguments, name: value})


def test_a_vocabulary_too_large_for_triton(monkeypatch):
    case = make(1, 4, 8, vocabulary=9)
    with pytest.raises(ValueError, match=r'"triton" expects at most \(8, 4096\), got \(9, 8\)'):
        run(case, "triton", torch.float32)
    monkeypatch.setenv("GENOMAMBA_BACKEND", "triton")
    assert run(case, "auto", torch.float32)["total"].isfinite()

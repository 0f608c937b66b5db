"""What the operators refuse, how a backend is chosen, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from genomamba_kernels import causal_conv1d, selective_scan


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("u", torch.zeros(2, 5), r"u: expected shape \(B, L, D\) = .*, got \(2, 5\)"),
        ("u", torch.zeros(2, 0, 6), "u: expected shape"),
        ("u", torch.zeros(2, 5, 6, dtype=torch.int64), "u: expected a floating-point dtype, got"),
        ("u", None, "u: expected a tensor .*, got NoneType"),
        ("delta", torch.zeros(2, 6, 6), r"delta: .* = \(2, 5, 6\), got \(2, 6, 6\)"),
        ("A", torch.zeros(5, 4), r"A: expected shape \(D, N\) = \(6, any\), got \(5, 4\)"),
        ("A", torch.zeros(6, 4, dtype=torch.bfloat16), "A: expected torch.float32 for data of"),
        ("A", torch.zeros(6, 4, dtype=torch.float64), "A: expected torch.float32 for data of"),
        ("B", torch.zeros(2, 5, 3), r"B: expected shape \(B, L, N\) = \(2, 5, 4\), got"),
        ("B", torch.zeros(2, 5, 4, 4), "B: expected groups G that divide D = 6, got 4"),
        ("C", torch.zeros(2, 5, 2, 4), "C: expected shape"),
        ("D", torch.zeros(6, 1), r"D: expected shape \(D,\)"),
        ("z", torch.zeros(2, 5, 1), "z: expected shape"),
        ("delta_bias", torch.zeros(5), "delta_bias: expected shape"),
        ("initial_state", torch.zeros(2, 4, 6), "initial_state: expected shape"),
        ("initial_state", torch.zeros(2, 6, 4).half(), "initial_state: expected torch.float32"),
        ("seq_idx", torch.zeros(2, 5), "seq_idx: expected a non-decreasing int32 tensor"),
        ("seq_idx", torch.zeros(2, 4, dtype=torch.int32), r"seq_idx: .* got torch.int32 \(2, 4\)"),
        ("seq_idx", torch.tensor([[0, 1, 0, 1, 1]] * 2, dtype=torch.int32), "one that decreases"),
        ("seq_idx", [0], "seq_idx: .* got list"),
        (
            "backend",
            "cuda",
            r"backend: expected one of \('auto', 'triton', 'torch', 'refer.*\), got",
        ),
        ("u", torch.zeros(2, 5, 6, device="meta"), "delta: expected device meta, got cpu"),
    ],
)
def test_scan_names_the_wrong_argument(name, value, message):
    arguments = {
        "u": torch.zeros(2, 5, 6),
        "delta": torch.zeros(2, 5, 6),
        "A": torch.zeros(6, 4),
        "B": torch.zeros(2, 5, 4),
        "C": torch.zeros(2, 5, 4),
    }
    with pytest.raises(ValueError, match=message):
        selective_scan(**{**arguments, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", torch.zeros(5, 6), r"x: expected shape \(B, L, D\)"),
        ("weight", torch.zeros(5, 4), r"weight: expected shape \(D, d_conv\) = \(6, any\), got"),
        ("weight", torch.zeros(6, 1, 4), "weight: expected shape"),
        ("bias", torch.zeros(4), "bias: expected shape"),
        ("activation", "relu", r"activation: expected one of \(None, 'silu', 'swish'\), got"),
        ("initial_state", torch.zeros(2, 4, 6), "initial_state: expected shape"),
        ("seq_idx", torch.zeros(2, 5, dtype=torch.int64), "seq_idx: expected"),
        ("backend", "cuda", "backend: expected one of"),
    ],
)
def test_conv_names_the_wrong_argument(name, value, message):
    arguments = {"x": torch.zeros(2, 5, 6), "weight": torch.zeros(6, 4)}
    with pytest.raises(ValueError, match=message):
        causal_conv1d(**{**arguments, name: value})


def test_environment_chooses_the_backend_and_the_argument_wins(monkeypatch, conv):
    tensors = conv().tensors
    monkeypatch.setenv("GENOMAMBA_BACKEND", "reference")
    assert "BlockedConv" not in str(_graph(tensors))
    assert "BlockedConv" in str(_graph(tensors, backend="torch"))
    monkeypatch.setenv("GENOMAMBA_BACKEND", "cuda")
    with pytest.raises(ValueError, match="GENOMAMBA_BACKEND: expected one of"):
        causal_conv1d(**tensors)
    monkeypatch.delenv("GENOMAMBA_BACKEND")
    assert "BlockedConv" in str(_graph(tensors))


def _graph(tensors, **options):
    weight = tensors["weight"].clone().requires_grad_()
    return causal_conv1d(**{**tensors, "weight": weight}, **options).grad_fn


def test_import_queries_no_device_and_brings_nothing_else():
    program = (
        "import sys, genomamba_kernels, torch; assert not torch.cuda.is_initialized();"
        "print([m for m in ('lightning', 'pandas', 'triton') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

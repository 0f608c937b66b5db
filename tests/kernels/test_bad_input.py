"""What the operators refuse that depends on values or on the machine, and what they say to do."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from genomamba_kernels import backends, selective_scan
from genomamba_kernels.backends import check_triton, resolve_backend

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_decay_must_be_finite(scan, device, bad):
    """Also after a first call with a good one, which a GPU's check remembers."""
    tensors = scan(1, 4, 3, 2).to(torch.float32).on(device).tensors
    selective_scan(**tensors, backend="torch")
    tensors["A"][1, 0] = bad
    with pytest.raises(ValueError, match="A: expected finite values, got NaN or infinity"):
        selective_scan(**tensors, backend="torch")
    with torch.inference_mode():
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        with pytest.raises(ValueError, match="A: expected finite values"):
            selective_scan(**tensors, backend="torch")


@pytest.mark.skipif("cuda" not in DEVICES, reason="needs a GPU")
def test_checked_decay_does_not_make_the_host_wait(scan):
    tensors = scan(1, 40, 3, 2).to(torch.float32).on("cuda").tensors
    selective_scan(**tensors, backend="triton")
    torch.cuda.set_sync_debug_mode("error")
    try:
        selective_scan(**tensors, backend="triton")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif("cuda" not in DEVICES, reason="slow where kernels are interpreted")
@pytest.mark.parametrize("states", [70, 256])
def test_more_states_than_64_are_no_limit(scan, assert_close, states):
    pytest.importorskip("triton")
    case = scan(1, 1, 1, states).on(DEVICES[-1])
    assert_close(case.to(torch.float32).run("triton"), case.run("reference"), 1e-5, 1e-4)


@pytest.fixture(autouse=True)
def _no_memory():
    yield
    backends._obstacle.cache_clear()


def gpu(capability, monkeypatch):
    """Something that check_triton takes for a tensor on a GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    backends._obstacle.cache_clear()
    return SimpleNamespace(dtype=torch.float32, is_cuda=True, device=torch.device("cuda", 0))


def test_old_gpus_are_refused(monkeypatch):
    message = r'"triton" expects compute capability \(8, 0\) or newer, got \(7, 5\); use .*"torch"'
    with pytest.raises(ValueError, match=message):
        check_triton(gpu((7, 5), monkeypatch))
    check_triton(gpu((9, 0), monkeypatch))


def test_auto_takes_triton_where_it_runs(monkeypatch):
    monkeypatch.delenv("GENOMAMBA_BACKEND", raising=False)
    assert resolve_backend("auto", gpu((9, 0), monkeypatch)) == "triton"
    assert resolve_backend("auto", torch.zeros(1)) == "torch"
    backends._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r'"auto" uses "torch" on cuda:0.* expects compute capab'):
        assert resolve_backend("auto", gpu((7, 5), monkeypatch)) == "torch"
    wide = gpu((9, 0), monkeypatch)
    wide.dtype = torch.float64
    assert resolve_backend("auto", wide) == "torch"


def test_missing_triton_is_said(scan, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    backends._obstacle.cache_clear()
    tensors = scan(1, 4, 3, 2).to(torch.float32).on(DEVICES[-1]).tensors
    message = '"triton" expects Triton installed, got none; use the backend "torch"'
    with pytest.raises(ValueError, match=message):
        selective_scan(**tensors, backend="triton")

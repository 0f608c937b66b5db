"""Kernels compiled ahead: those that are launched later, each once, and found when they are."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from genomamba_kernels import ahead, applying, launching


def rehearse_for_gpu(*options, **environment):
    pytest.importorskip("triton")
    command = [sys.executable, Path(__file__).with_name("rehearse_for_gpu.py"), *options]
    environment["CUDA_VISIBLE_DEVICES"] = ""  # its GPU is a stand-in
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_rehearsal_foresees_every_launch_and_no_other():
    lines = rehearse_for_gpu()
    assert len(lines) == 8
    assert all(line.endswith("ok") for line in lines), lines


def test_triton_finds_what_was_compiled_ahead(tmp_path):
    lines = rehearse_for_gpu("--compile", TRITON_CACHE_DIR=str(tmp_path))
    assert lines == ["forward_kernel found", "backward_kernel found"]


class Kernel:
    """A stand-in for Triton's: notes what is compiled and launched, in which order."""

    __name__ = "a_kernel"
    arg_names = ("x_ptr", "n", "length", "N")

    def __init__(self) -> None:
        self.params = [
            SimpleNamespace(name=name, is_constexpr=name == "N", do_not_specialize=name == "length")
            for name in self.arg_names
        ]
        self.device_caches = defaultdict(dict)
        self.may_go_on = threading.Event()
        self.events = []
        self.error = None

    def warmup(self, *, grid, num_warps, **arguments):
        assert self.may_go_on.wait(10)
        self.events.append("compiled")
        self.pointer = arguments["x_ptr"]
        if self.error is not None:
            raise self.error

    def __getitem__(self, grid):
        return lambda **arguments: self.events.append("launched")


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(ahead, "_asked", set())
    monkeypatch.setattr(ahead, "_pending", {})
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext())
    return Kernel()


def launch(kernel, x, n=3, length=10, N=2, num_warps=1):
    options = {"num_warps": num_warps}
    launching.launch(kernel, 1, options, x_ptr=x, n=n, length=length, N=N)


NOTICE = "compiling a_kernel for this GPU, once until Triton's cache is emptied\n"
META = torch.empty(64, device="meta")


@pytest.mark.parametrize("patience", [9.0, 0.01])
def test_a_launch_waits_for_the_compilation_and_a_rehearsal_launches_nothing(
    kernel, patience, monkeypatch, capsys
):
    monkeypatch.setattr(ahead, "PATIENCE", patience)
    launch(kernel, META[3:])
    threading.Timer(0.2, kernel.may_go_on.set).start()
    launch(kernel, torch.zeros(64))
    assert kernel.events == ["compiled", "launched"]
    assert capsys.readouterr().err == ("" if patience > 1 else NOTICE)
    assert kernel.pointer.dtype == torch.float32
    assert kernel.pointer.data_ptr() == 12


@pytest.mark.parametrize(
    ("change", "compilations"),
    [
        ({}, 1),
        ({"n": 5}, 1),
        ({"length": 16}, 1),
        ({"n": 16}, 2),
        ({"n": 1}, 2),
        ({"length": 2**40}, 2),
        ({"N": 3}, 2),
        ({"num_warps": 2}, 2),
        ({"x": META[1:]}, 2),  # not aligned to 16 bytes
        ({"x": META[4:]}, 1),
        ({"x": META.bfloat16()}, 2),
        ({"x": None}, 2),
    ],
)
def test_what_decides_is_compiled_once(kernel, change, compilations):
    kernel.may_go_on.set()
    launch(kernel, META)
    rest = dict(change)
    x = rest.pop("x", META)
    if x is None:  # another tensor says that it is a rehearsal
        ahead.compile_later(kernel, {"num_warps": 1}, {"x_ptr": None, "n": 3, "length": 10, "N": 2})
    else:
        launch(kernel, x, **rest)
    ahead.wait_for(kernel)
    assert kernel.events == ["compiled"] * compilations


def test_what_fails_to_compile_is_left_to_its_launch(kernel):
    kernel.may_go_on.set()
    kernel.error = RuntimeError("no")
    launch(kernel, META)
    launch(kernel, torch.zeros(64))
    assert kernel.events == ["compiled", "launched"]


class Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        raise AssertionError("rehearsed")


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, needs):
        needs.append(ctx.needs_input_grad[0])
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad, None


def test_without_gradients_nothing_is_rehearsed_or_needed(monkeypatch):
    rehearsed, needs = [], []
    monkeypatch.setattr(applying, "rehearse", lambda function, _: rehearsed.append(function))
    x = torch.ones(3, requires_grad=True)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            applying.apply(Twice, (x, needs))
    assert (rehearsed, needs) == ([], [False, False])
    applying.apply(Twice, (x, needs)).sum().backward()
    assert (rehearsed, needs) == ([Twice], [False, False, True])
    assert torch.equal(x.grad, torch.full((3,), 2.0))


def test_only_what_runs_on_a_gpu_with_gradients_is_rehearsed():
    x = torch.ones(2, 3, 4, requires_grad=True)
    ahead.rehearse(Function, (x, 1.0))
    ahead.rehearse(Function, (x.detach(), 1.0))
    with pytest.raises(AssertionError, match="rehearsed"):
        ahead.run_without_memory(Function, (x, 1.0), (True, False))

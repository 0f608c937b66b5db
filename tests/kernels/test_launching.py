"""Which launches share a compiled kernel."""

from __future__ import annotations

import pytest
import torch

from genomamba_kernels import launching


class Compiled:
    """A stand-in for Triton's: a kernel is compiled once a `[grid](...)` and then called itself."""

    arg_names = ("x_ptr", "out_ptr", "n")

    def __init__(self) -> None:
        self.compilations, self.launches = 0, []

    def __getitem__(self, grid):
        def compile_and_run(*, num_warps, **arguments):
            self.compilations += 1
            self.launches.append((grid, tuple(arguments[name] for name in self.arg_names)))
            return Handle(self)

        return compile_and_run


class Handle:
    def __init__(self, kernel: Compiled) -> None:
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *arguments: self.kernel.launches.append((grid[:1], arguments))


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.setattr(launching, "_compiled", {})
    return Compiled()


def run(kernel, x, out=None, n=1, programs=3, num_warps=1):
    launching.launch(kernel, programs, {"num_warps": num_warps}, n=n, out_ptr=out, x_ptr=x)


def test_arguments_arrive_in_the_kernels_order_each_time(kernel):
    x = torch.zeros(64)
    run(kernel, x)
    run(kernel, x, programs=5)
    assert kernel.compilations == 1
    assert [grid for grid, _ in kernel.launches] == [(3,), (5,)]
    assert all(arguments[0] is x and arguments[1:] == (None, 1) for _, arguments in kernel.launches)


@pytest.mark.parametrize(
    "change",
    [
        {"x": torch.zeros(64, dtype=torch.bfloat16)},
        {"x": torch.zeros(64)[1:]},  # not aligned to 16 bytes
        {"out": torch.zeros(64)},  # a pointer that was absent
        {"n": 16},
        {"n": 2**40},
        {"num_warps": 2},
    ],
)
def test_what_decides_compiles_again(kernel, change):
    run(kernel, torch.zeros(64))
    run(kernel, **{"x": torch.zeros(64), **change})
    assert kernel.compilations == 2


def test_the_memory_is_bounded(kernel, monkeypatch):
    monkeypatch.setattr(launching, "MOST", 10)
    for n in range(25):
        run(kernel, torch.zeros(64), n=n)
    assert len(launching._compiled) <= 10

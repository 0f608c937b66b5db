"""Which launches share a compiled kernel."""

from __future__ import annotations

from types import SimpleNamespace

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


@pytest.fixture
def passed(monkeypatch):
    """What Triton's launcher is called with, for a kernel that Triton has compiled."""
    compiler = pytest.importorskip("triton.compiler")
    active = SimpleNamespace(
        get_current_device=lambda: 7, get_current_stream=lambda device: 100 + device
    )
    monkeypatch.setattr(compiler.compiler.driver, "_active", active)
    monkeypatch.setattr(launching, "_stream", lambda device: 100 + device)
    monkeypatch.setattr(launching, "_compiled", {})
    monkeypatch.setattr(torch.Tensor, "get_device", lambda x: 7)
    calls = []
    compiled = compiler.CompiledKernel.__new__(compiler.CompiledKernel)
    compiled.module, compiled.function, compiled.packed_metadata = object(), 99, (4, 1, 0)
    compiled._run, compiled.name, compiled.src = lambda *args: calls.append(args), "k", None
    kernel = Compiled()
    monkeypatch.setattr(Compiled, "__getitem__", lambda self, grid: lambda **arguments: compiled)
    return SimpleNamespace(kernel=kernel, compiled=compiled, calls=calls)


def numbers(call):
    """A call's arguments, tensors by their addresses; what is given to profilers apart."""
    plain = [x.data_ptr() if isinstance(x, torch.Tensor) else x for x in call]
    return plain[:6], plain[6:9], plain[9:]


def test_the_launcher_gets_what_triton_gives_it_but_for_profilers(passed):
    import triton

    assert triton.__version__.startswith(launching.KNOWN), "read CompiledKernel.run again"
    x, out = torch.zeros(64), torch.zeros(64)[1:]
    run(passed.kernel, x, out, n=5)
    assert passed.calls == []  # compiled, which the stand-in does not run
    run(passed.kernel, x, out, n=5)
    passed.compiled[(3, 1, 1)](x, out, 5)
    ours, tritons = map(numbers, passed.calls)
    assert ours[0] == tritons[0] == [3, 1, 1, 107, 99, (4, 1, 0)]
    assert ours[1] == [None, None, None]
    assert ours[2] == tritons[2] == [x.data_ptr(), out.data_ptr(), 5]
    assert not any(isinstance(x, torch.Tensor) for x in passed.calls[0])


@pytest.mark.parametrize("hook", ["launch_enter_hook", "launch_exit_hook"])
def test_profilers_are_told_of_launches(passed, hook):
    from triton import knobs

    x = torch.zeros(64)
    run(passed.kernel, x)
    chain = getattr(knobs.runtime, hook)
    chain.add(print)
    try:
        run(passed.kernel, x)
    finally:
        chain.remove(print)
    assert chain in passed.calls[0]
    assert passed.calls[0][9] is x


def test_another_triton_is_launched_by_its_public_interface(passed, monkeypatch):
    monkeypatch.setattr(launching, "KNOWN", ("2.",))
    x = torch.zeros(64)
    run(passed.kernel, x)
    run(passed.kernel, x)
    assert passed.calls[0][9] is x

"""Prints what a training step launches on a GPU that its rehearsal did not foresee.

    python rehearse_for_gpu.py [--compile]

Operators run on small CPU tensors, forward and backward, every launch being replaced by a note of
what Triton would compile for it. A line for each operator and case: how many kernels, and `ok`, or
those that were launched but not rehearsed (`missed`) and the other way round (`in vain`).

With `--compile`, Triton compiles for sm_90 what the convolution rehearses, and only looks for what
it then launches. A line a launch: the kernel, and `found` or `compiled again`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

import genomamba_kernels
from genomamba_kernels import ahead, applying, launching

for module in pkgutil.walk_packages(genomamba_kernels.__path__, "genomamba_kernels."):
    importlib.import_module(module.name)  # which decides: these kernels are for the compiler
os.environ["TRITON_INTERPRET"] = "1"  # lets the operators take CPU tensors

launched: set[Any] = set()
rehearsed: set[Any] = set()


def compiled_for(kernel: JITFunction, values: dict[str, Any], options: dict[str, Any]) -> Any:
    """What decides which compiled kernel a launch takes, as Triton has it."""
    kinds = []
    for parameter in kernel.params:
        value = values[parameter.name]
        if isinstance(value, torch.Tensor):
            kinds.append((value.dtype, value.storage_offset() * value.element_size() % 16 == 0))
        elif parameter.is_constexpr or value is None:
            kinds.append(value)
        elif isinstance(value, float) or parameter.do_not_specialize:
            kinds.append((type(value), abs(value) >= 2**31))
        else:
            kinds.append((abs(value) >= 2**31, value == 1, value % 16 == 0))
    name = f"{kernel.fn.__module__.split('.')[1]}.{kernel.fn.__name__}"
    return name, tuple(kinds), tuple(options.items())


def note_launch(kernel: JITFunction, *, grid: Any, warmup: bool, **named: Any) -> None:
    options = {name: value for name, value in named.items() if name not in kernel.arg_names}
    launched.add(compiled_for(kernel, named, options))


def note_rehearsed(kernel: JITFunction, options: dict[str, Any], arguments: dict[str, Any]) -> None:
    rehearsed.add(compiled_for(kernel, arguments, options))


def rehearse(function: type[torch.autograd.Function], arguments: Any) -> None:
    """As on a GPU."""
    needs = tuple(isinstance(x, torch.Tensor) and x.requires_grad for x in arguments)
    ahead.run_without_memory(function, arguments, needs)


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, requires_grad=True)


def operators(
    dtype: torch.dtype, batch: int, length: int, D: int, N: int, packed: bool
) -> dict[str, Callable[[], Any]]:
    """Every operator with a rehearsal, without states, as in training."""
    rank = max(1, D // 32)
    seq_idx = torch.arange(length, dtype=torch.int32)[None].repeat(batch, 1) // 20
    options: Any = {"seq_idx": seq_idx if packed else None, "backend": "triton"}
    inner: Any = (
        leaf(D, 4), leaf(D), leaf(rank + 2 * N, D), leaf(D, rank), leaf(D, N), leaf(D), leaf(D),
    )  # fmt: skip
    width = D // 2
    block: Any = (leaf(width), leaf(2 * D, width), None, *inner, leaf(width, D), None)

    def data(channels: int) -> torch.Tensor:
        return leaf(batch, length, channels, dtype=dtype)

    return {
        "selective_scan": lambda: genomamba_kernels.selective_scan(
            data(D), data(D), leaf(D, N), data(N), data(N), leaf(D), data(D), leaf(D),
            delta_softplus=True, **options,
        ),
        "causal_conv1d": lambda: genomamba_kernels.causal_conv1d(
            data(D), leaf(D, 4), leaf(D), activation="silu", **options
        ),
        "mamba_inner": lambda: genomamba_kernels.mamba_inner(data(2 * D), *inner, **options),
        "mamba_block": lambda: genomamba_kernels.mamba_block(
            data(width), *block, eps=1e-5, **options
        ),
    }  # fmt: skip


class Driver:
    """Of a GPU that need not be there."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


def compile_ahead() -> None:
    compiled = []
    knobs.compilation.listener = lambda *, src, **_: compiled.append(src.fn.__name__)
    triton.runtime.driver.set_active(Driver())  # pyright: ignore
    torch.cuda.current_device = lambda: 0
    torch.cuda.device = lambda device: contextlib.nullcontext()
    run = JITFunction.run

    def look(kernel: JITFunction, *, grid: Any, warmup: bool, **named: Any) -> None:
        before = len(compiled)
        run(kernel, grid=grid, warmup=True, **named)
        if not warmup:
            print(kernel.fn.__name__, "found" if len(compiled) == before else "compiled again")

    JITFunction.run = look  # pyright: ignore
    operators(torch.bfloat16, 1, 256, 256, 16, False)["causal_conv1d"]().sum().backward()


def main() -> None:
    applying.rehearse = rehearse
    if "--compile" in sys.argv:
        compile_ahead()
        return
    JITFunction.run = note_launch  # pyright: ignore
    launching.compile_later = note_rehearsed
    cases = ((torch.bfloat16, 1, 256, 256, 16, False), (torch.float32, 3, 50, 70, 3, True))
    for case in cases:
        for name, run in operators(*case).items():
            launched.clear()
            rehearsed.clear()
            run().sum().backward()
            missed = sorted(kind[0] for kind in launched - rehearsed)
            in_vain = sorted(kind[0] for kind in rehearsed - launched)
            outcome = f"missed {missed} in vain {in_vain}" if missed or in_vain else "ok"
            print(name, *case, len(launched), outcome)


if __name__ == "__main__":
    main()

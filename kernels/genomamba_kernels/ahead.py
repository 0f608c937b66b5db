"""Compiles the kernels of a training step ahead of their launches, and at once.

A kernel is compiled when it is first launched, which takes seconds; the backward kernel of the scan
takes ten and more. So when an operator is first called with gradients, its forward and backward are
rehearsed: they run on tensors without memory (device "meta"), and what they would launch goes to
threads that compile it side by side, while forward goes on. Triton's compiler runs without the
interpreter's lock for nearly all of that time. A launch waits for the compilations of its own
kernel and finds them where Triton looks for what is compiled already.

A rehearsal changes no result: what it does not foresee is compiled when it is launched.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor

from genomamba_kernels.sharing import Share

PATIENCE = 2.0  # seconds
MOST = 4096  # entries of the next
_seen: set[Any] = set()  # arguments whose rehearsal need not be thought of again
_rehearsed: set[Any] = set()
_asked: set[Any] = set()  # what has been given to a thread, so that no two compile the same
_pending: dict[Any, list[Future[None]]] = {}  # by kernel


def real_device(x: Tensor) -> torch.device:
    """The device of x; in a rehearsal, that of the tensor it stands for, which is the current."""
    if not x.is_meta:
        return x.device
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def rehearse(function: type[torch.autograd.Function], arguments: Sequence[Any]) -> None:
    """Begins to compile what `function.apply(*arguments)` and its backward will launch.

    Does so once for arguments that differ in batch and length only, on a GPU, and if one of them
    requires a gradient. The first output gets a gradient, the others, which are states, none.
    Ranks that share a row compile as they go: they exchange states in between.
    """
    # Before the key without the lengths, which takes longer to make.
    seen = (
        function,
        *[(x.dtype, x.shape, x.requires_grad) if isinstance(x, Tensor) else x for x in arguments],
    )
    if seen in _seen:
        return
    if any(isinstance(x, Share) for x in arguments):
        return
    if len(_seen) >= MOST:
        _seen.clear()
    _seen.add(seen)
    needs = tuple(isinstance(x, Tensor) and x.requires_grad for x in arguments)
    if not any(needs):
        return
    key = (function, needs, *map(_without_length, arguments))
    if key in _rehearsed:
        return
    _rehearsed.add(key)
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    if all(x.is_cuda for x in tensors):
        run_without_memory(function, arguments, needs)


def run_without_memory(
    function: type[torch.autograd.Function], arguments: Sequence[Any], needs: tuple[bool, ...]
) -> None:
    """Forward and backward on meta tensors; launching.py hands their launches to compile_later."""
    context = _Context(needs)
    with torch.no_grad():
        result = function.forward(context, *map(_without_memory, arguments))
        first, *others = result if isinstance(result, tuple) else (result,)
        function.backward(context, torch.empty_like(first), *[None] * len(others))


def compile_later(kernel: Any, options: dict[str, Any], arguments: dict[str, Any]) -> None:
    """Gives a kernel to a thread that compiles it for the current device.

    Args:
        options: the compiler's, such as num_warps.
        arguments: the kernel's, their tensors without memory.
    """
    device = torch.cuda.current_device()
    kinds = (_kind(p, arguments[p.name]) for p in kernel.params)
    key = (kernel, device, *options.items(), *kinds)
    if key in _asked:
        return
    _asked.add(key)
    _ = kernel.device_caches[device]  # made here, or two threads would each make one
    stand_ins = {k: _Pointer(x) if isinstance(x, Tensor) else x for k, x in arguments.items()}

    def compile_now() -> None:
        with torch.cuda.device(device):
            kernel.warmup(**stand_ins, **options, grid=(1,))

    _pending.setdefault(kernel, []).append(_threads().submit(compile_now))


def wait_for(kernel: Any) -> None:
    """Waits until nothing compiles the kernel, and says so on stderr if that takes long.

    What went wrong is for the launch to say.
    """
    futures = _pending.get(kernel, ())
    if wait(futures, timeout=PATIENCE).not_done:
        name = kernel.__name__
        print(
            f"compiling {name} for this GPU, once until Triton's cache is emptied",
            file=sys.stderr,
            flush=True,
        )
        wait(futures)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="compile")


class _Context:
    """What a torch.autograd.Function needs of its context."""

    saved_tensors: tuple[Tensor | None, ...] = ()

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, value: bool) -> None:
        assert not value  # or absent gradients would have to be made here


class _Pointer:
    """What Triton looks at of a tensor. Memory itself begins at a multiple of 512 bytes."""

    def __init__(self, x: Tensor) -> None:
        self.dtype = x.dtype
        self.offset = int(x.storage_offset()) * x.element_size()

    def data_ptr(self) -> int:
        return self.offset


def _without_memory(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _without_length(x: Any) -> Any:
    """All of an argument but its batch and length."""
    if not isinstance(x, Tensor):
        return x
    if x.ndim > 2:
        return x.dtype, x.shape[2:]
    return (x.dtype, x.shape) if x.is_floating_point() else x.dtype  # (B, L): which sequence


def _kind(parameter: Any, value: Any) -> Any:
    """What of an argument decides what is compiled, as Triton has it."""
    if isinstance(value, Tensor):
        return value.dtype, value.storage_offset() * value.element_size() % 16
    if parameter.is_constexpr or not isinstance(value, int):
        return value
    wide = value.bit_length() > 31
    return wide if parameter.do_not_specialize else (wide, value == 1, value % 16 == 0)

"""Launches Triton kernels at less of the host's time, which is what short sequences wait for.

Triton's own launch binds, classifies and hashes every argument to find the compiled kernel: about
20 us for 30 arguments. The kernel it found is remembered here under all that can decide between
compiled kernels, values of integers included, which is more than Triton looks at. It is then
launched as Triton would, but with the tensors' addresses, which the driver need not be asked about,
and without what serves profilers, unless one listens.
"""

from __future__ import annotations

import functools
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from genomamba_kernels.ahead import compile_later, wait_for

MOST = 4096  # kernels remembered: lengths that vary make many entries
KNOWN = ("3.6.", "3.7.")  # Triton's versions whose CompiledKernel.run was read
_compiled: dict[Any, tuple[Any, Any, bool]] = {}  # with its kernel, whose id is in the key
_orders: dict[int, tuple[Any, itemgetter[Any], int]] = {}  # by the kernel's id
_stream: Any = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def launch(kernel: Any, programs: int, /, options: dict[str, Any], **arguments: Any) -> None:
    """Runs `programs` programs of a @triton.jit kernel on the current device and stream.

    With tensors on the device "meta" only compiles it, in a thread (ahead.py).

    Args:
        options: the compiler's, such as num_warps.
        arguments: the kernel's, all of them. Tensors are those that are called "..._ptr", which
            the kernel has first; any of them but the first may be None.
    """
    # The kernel's own hash is a digest behind a lock.
    order = _orders.get(id(kernel))
    _, in_order, count = order if order is not None else _remember_order(kernel)
    values = in_order(arguments)
    pointers, others = values[:count], values[count:]
    addresses = [None if x is None else x.data_ptr() for x in pointers]
    device = pointers[0].get_device()
    key = (
        id(kernel),
        device,
        *options.values(),
        *others,
        *[None if x is None else x.dtype for x in pointers],
        *[None if address is None else address % 16 for address in addresses],
    )
    found = _compiled.get(key)
    if found is not None:
        compiled, _, raw = found
        if raw and not _is_watched():
            compiled.run(
                *(programs, 1, 1, _stream(device), compiled.function, compiled.packed_metadata),
                *(None, None, None),  # of profilers
                *addresses,
                *others,
            )
        else:
            compiled[(programs, 1, 1)](*values)
        return
    if any(x is not None and x.is_meta for x in pointers):  # a rehearsal
        compile_later(kernel, options, arguments)
        return
    assert not any(isinstance(x, Tensor) for x in others), kernel.arg_names
    wait_for(kernel)
    compiled = kernel[(programs,)](**arguments, **options)
    if compiled is not None:  # the interpreter compiles nothing
        if len(_compiled) >= MOST:
            _compiled.clear()
        _compiled[key] = compiled, kernel, _takes_addresses(compiled)


def _remember_order(kernel: Any) -> tuple[Any, itemgetter[Any], int]:
    """The kernel, what puts its arguments in its order, and the number of pointers among them."""
    names = kernel.arg_names
    count = sum(name.endswith("_ptr") for name in names)
    assert all(name.endswith("_ptr") for name in names[:count]), names
    order = _orders[id(kernel)] = kernel, itemgetter(*names), count
    return order


def _takes_addresses(compiled: Any) -> bool:
    """Whether the kernel can be launched below Triton's public interface."""
    import triton  # not at the top: it may be absent where this module is only imported

    is_known = isinstance(compiled, triton.compiler.CompiledKernel)
    return is_known and _stream is not None and triton.__version__.startswith(KNOWN)


@functools.cache
def _runtime() -> Any:
    from triton import knobs

    return knobs.runtime


def _is_watched() -> bool:
    """Whether somebody asked Triton to be told of launches: a profiler."""
    runtime = _runtime()
    enter, leave = runtime.launch_enter_hook, runtime.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))

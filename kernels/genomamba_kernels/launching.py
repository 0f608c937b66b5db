"""Launches Triton kernels at less of the host's time, which is what short sequences wait for.

Triton's own launch binds, classifies and hashes every argument to find the compiled kernel: about
20 us for 30 arguments. Here what a kernel is told beside its tensors is settled once, as a
`Launch`, which remembers the compiled kernels under all that can still decide between them. They
are then launched as Triton would, but with the tensors' addresses, which the driver need not be
asked about, and without what serves profilers, unless one listens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from genomamba_kernels.ahead import compile_later, wait_for

T = TypeVar("T")
MOST = 4096  # entries of what is remembered: lengths that vary make many
KNOWN = ("3.6.", "3.7.")  # Triton's versions whose CompiledKernel.run was read
_compiled: dict[Any, Launch] = {}
_stream: Any = getattr(torch._C, "_cuda_getCurrentRawStream", None)


class Launch:
    """Launches of a @triton.jit kernel that differ in their tensors only.

    Args:
        kernel: its tensors are the arguments called "..._ptr", which come first.
        options: the compiler's, such as num_warps.
        others: the kernel's other arguments, all of them. Their values decide what is compiled,
            which is more than Triton looks at.
    """

    def __init__(self, kernel: Any, options: dict[str, Any], **others: Any) -> None:
        self.kernel, self.options = kernel, options
        self.pointers, rest = split_names(kernel)
        self.others = tuple([others[name] for name in rest])
        self._found: dict[Any, tuple[Any, bool]] = {}

    def __call__(self, programs: int, /, **tensors: Tensor | None) -> None:
        """Runs so many programs on the current device and stream.

        With tensors on the device "meta" only compiles the kernel, in a thread (ahead.py).

        Args:
            tensors: all of them; any but the first may be None.
        """
        self.run(programs, [tensors[name] for name in self.pointers])

    def run(self, programs: int, tensors: list[Any]) -> None:
        """The same with the tensors in the kernel's order."""
        addresses = [None if x is None else x.data_ptr() for x in tensors]
        device = tensors[0].get_device()
        key = (
            device,
            *[None if x is None else x.dtype for x in tensors],
            *[None if address is None else address % 16 for address in addresses],
        )
        found = self._found.get(key)
        if found is None:
            self._first(programs, tensors, key)
            return
        compiled, raw = found
        if raw and not _is_watched():
            compiled.run(
                *(programs, 1, 1, _stream(device), compiled.function, compiled.packed_metadata),
                *(None, None, None),  # of profilers
                *addresses,
                *self.others,
            )
        else:
            compiled[(programs, 1, 1)](*tensors, *self.others)

    def _first(self, programs: int, tensors: list[Any], key: Any) -> None:
        """By Triton, which compiles the kernel if need be."""
        names = self.kernel.arg_names
        arguments = dict(zip(names, (*tensors, *self.others), strict=True))
        if any(x is not None and x.is_meta for x in tensors):  # a rehearsal
            compile_later(self.kernel, self.options, arguments)
            return
        wait_for(self.kernel)
        compiled = self.kernel[(programs,)](**arguments, **self.options)
        if compiled is not None:  # the interpreter compiles nothing
            self._found[key] = compiled, _takes_addresses(compiled)


def launch(kernel: Any, programs: int, /, options: dict[str, Any], **arguments: Any) -> None:
    """Runs a `Launch` that is made of the arguments, which are the kernel's, all of them."""
    pointers, rest = split_names(kernel)
    others = [arguments[name] for name in rest]
    key = (id(kernel), *options.values(), *others)  # its own hash is a digest behind a lock
    found = _compiled.get(key)
    if found is None:
        made = {name: arguments[name] for name in rest}
        found = remember(_compiled, key, lambda: Launch(kernel, options, **made))
    found.run(programs, [arguments[name] for name in pointers])


def remember(memory: dict[Any, T], key: Any, make: Callable[[], T]) -> T:
    """What was made for the key before, or is made now. The memory is bounded."""
    found = memory.get(key)
    if found is None:
        if len(memory) >= MOST:
            memory.clear()
        found = memory[key] = make()
    return found


def split_names(kernel: Any) -> tuple[list[str], list[str]]:
    """The names of a kernel's tensors, and of its other arguments."""
    found = _names.get(id(kernel))
    if found is None:
        names = list(kernel.arg_names)
        count = sum(name.endswith("_ptr") for name in names)
        assert all(name.endswith("_ptr") for name in names[:count]), names
        found = _names[id(kernel)] = kernel, names[:count], names[count:]
    return found[1], found[2]


_names: dict[int, tuple[Any, list[str], list[str]]] = {}  # with the kernel, so that its id stays


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

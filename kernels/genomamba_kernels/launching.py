"""Launches Triton kernels at less of the host's time, which is what short sequences wait for.

Triton's own launch binds, classifies and hashes every argument to find the compiled kernel: about
20 us for 30 arguments. The kernel it found is remembered here under all that can decide between
compiled kernels, values of integers included, which is more than Triton looks at.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genomamba_kernels.ahead import compile_later, wait_for

MOST = 4096  # kernels remembered: lengths that vary make many entries
_compiled: dict[Any, Any] = {}


def _decides(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.dtype, argument.get_device(), argument.data_ptr() % 16
    return argument


def launch(kernel: Any, programs: int, /, options: dict[str, Any], **arguments: Any) -> None:
    """Runs `programs` programs of a @triton.jit kernel on the current device and stream.

    With tensors on the device "meta" only compiles it, in a thread (ahead.py).

    Args:
        options: the compiler's, such as num_warps.
        arguments: the kernel's, all of them.
    """
    values = [arguments[name] for name in kernel.arg_names]
    key = (kernel, *options.values(), *map(_decides, values))
    compiled = _compiled.get(key)
    if compiled is not None:
        compiled[(programs, 1, 1)](*values)
        return
    if any(isinstance(x, Tensor) and x.is_meta for x in values):  # a rehearsal
        compile_later(kernel, options, arguments)
        return
    wait_for(kernel)
    compiled = kernel[(programs,)](**arguments, **options)
    if compiled is not None:  # the interpreter compiles nothing
        if len(_compiled) >= MOST:
            _compiled.clear()
        _compiled[key] = compiled

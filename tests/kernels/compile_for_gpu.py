"""Compiles the Triton kernels that the operators launch, for a GPU that need not be there.

    python compile_for_gpu.py [--all]

Triton's interpreter runs a kernel as Python: it accepts what the compiler refuses and knows nothing
of registers. So here operators run on small CPU tensors, and every launch is replaced by a
compilation for sm_90. Prints a line a kernel: its name, registers and bytes of stack a thread.
`--all` takes minutes: every operator, packed float32 data of odd shapes, too.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from torch import distributed
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

import genomamba_kernels
from genomamba_kernels.attention_step import attention_step
from genomamba_kernels.mamba_block import mamba_block
from genomamba_kernels.mamba_step import conv_step, scan_step

for module in pkgutil.walk_packages(genomamba_kernels.__path__, "genomamba_kernels."):
    importlib.import_module(module.name)  # which decides: these kernels are for the compiler
os.environ["TRITON_INTERPRET"] = "1"  # lets the operators take CPU tensors

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.uint8: "u8",
    torch.bool: "i1",
}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
done: set[Any] = set()


def compile_instead(kernel: JITFunction, *positional: Any, grid: Any, warmup: bool, **named: Any):
    """What a launch would compile: types, constants, divisibility by 16, as Triton finds them."""
    values = dict(zip(kernel.arg_names, positional, strict=False)) | {
        name: value for name, value in named.items() if name in kernel.arg_names
    }
    options = {name: value for name, value in named.items() if name not in kernel.arg_names}
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[(i,)] = "constexpr", value
            continue
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = "*" + TYPES[value.dtype]
            aligned = value.data_ptr() % 16 == 0
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            aligned = not parameter.do_not_specialize and value % 16 == 0
        if aligned:
            attributes[(i,)] = [["tt.divisibility", 16]]
    key = (kernel.fn.__module__, kernel.fn.__name__, str(signature), str(constants), str(options))
    if key in done:
        return
    done.add(key)
    source = ASTSource(kernel, signature, constants, attributes)
    binary = triton.compile(source, target=TARGET, options=options).asm["cubin"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    name = f"{kernel.fn.__module__.removeprefix('genomamba_kernels.')}.{kernel.fn.__name__}"
    print(name, *found.groups(), flush=True)


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, requires_grad=True)


def run(
    dtype: torch.dtype,
    length: int,
    channels: int,
    states: int,
    seq_idx: torch.Tensor | None,
    every: bool,
) -> None:
    """Forward and backward of a block, alone and as a share of a longer one, a norm with its sum
    and the loss; or of every operator."""
    width, rank = channels // 2, max(1, channels // 32)
    A = leaf(channels, states)
    options = {"seq_idx": seq_idx, "backend": "triton"}
    inner = (
        leaf(channels, 4), leaf(channels), leaf(rank + 2 * states, channels),
        leaf(channels, rank), A, leaf(channels), leaf(channels),
    )  # fmt: skip
    stream = leaf(1, length, width, dtype=dtype)
    outer = (leaf(width), leaf(2 * channels, width), None)
    last = (leaf(width, channels), None)
    for share in (None, genomamba_kernels.Share(distributed.group.WORLD, None)):
        block = mamba_block(stream, *outer, *inner, *last, eps=1e-5, share=share, **options)
        assert isinstance(block, torch.Tensor)
        block.sum().backward()
    normed, total = genomamba_kernels.rms_norm(
        stream, leaf(width), 1e-5, residual=leaf(1, length, width), backend="triton"
    )
    (normed.sum() + total.sum()).backward()
    tokens = torch.ones(1, length, dtype=torch.int64)
    loss = genomamba_kernels.next_token_loss(stream, leaf(5, width), tokens, backend="triton")[0]
    loss.backward()
    if not every:
        return
    xz = leaf(1, length, 2 * channels, dtype=dtype)
    genomamba_kernels.mamba_inner(xz, *inner, **options).sum().backward()
    u, delta, z = (leaf(1, length, channels, dtype=dtype) for _ in range(3))
    B, C = (leaf(1, length, states, dtype=dtype) for _ in range(2))
    y, state = genomamba_kernels.selective_scan(
        u, delta, A, B, C, leaf(channels), z=z, delta_bias=leaf(channels), delta_softplus=True,
        initial_state=leaf(1, channels, states), return_final_state=True, **options,
    )  # fmt: skip
    (y.sum() + state.sum()).backward()


def step(dtype: torch.dtype, channels: int, states: int) -> None:
    """One position, with the state's types as in decoding."""
    x, z = torch.ones(2, 2 * channels, dtype=dtype).chunk(2, dim=-1)
    of_scan = torch.ones(2, channels, states)
    B, C = torch.ones(2, 8 + 2 * states, dtype=dtype)[:, 8:].split(states, dim=-1)
    weight, bias = torch.ones(channels, 4, dtype=dtype), torch.ones(channels, dtype=dtype)
    u = conv_step(x, torch.ones(2, 3, channels, dtype=dtype), weight, bias, backend="triton")
    A, D = -torch.ones(channels, states), torch.ones(channels)
    scan_step(u, u, A, B, C, D, z, D, of_scan, backend="triton")


def attention(dtype: torch.dtype, rows: int, heads: int, width: int, room: int) -> None:
    """One position of attention."""
    q, k, v = torch.ones(rows, 3, heads, width, dtype=dtype).unbind(1)
    keys, values = (torch.zeros(rows, heads, room, width, dtype=dtype) for _ in range(2))
    cosine, sine = (torch.ones(room, width // 2, dtype=dtype) for _ in range(2))
    position = torch.zeros(1, dtype=torch.int64)
    attention_step(q, k, v, keys, values, position, cosine, sine, backend="triton")


def main() -> None:
    JITFunction.run = compile_instead  # pyright: ignore
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    every = "--all" in sys.argv
    run(torch.bfloat16, 256, 256, 16, None, every)
    step(torch.bfloat16, 256, 16)
    attention(torch.bfloat16, 1, 12, 64, 2864)
    if every:
        packed = (torch.arange(50, dtype=torch.int32) // 20)[None]
        run(torch.float32, 50, 70, 3, packed, every)
        step(torch.float32, 70, 3)
        attention(torch.bfloat16, 64, 32, 64, 2864)
        attention(torch.float32, 3, 5, 96, 300)
        attention(torch.float32, 1, 1, 6, 3)


if __name__ == "__main__":
    main()

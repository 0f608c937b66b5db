# pyright: reportArgumentType=false, reportCallIssue=false
"""Causal convolution, backend "triton": launches. Letters as in triton_kernels.py.

Bytes a position and channel, with data of e bytes: forward 2 e, backward 3 e, and less than 5 % of
that for what neighbouring programs both read and for the parts of dweight.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.ahead import real_device
from genomamba_kernels.causal_conv1d.inputs import ConvInputs
from genomamba_kernels.causal_conv1d.triton_kernels import backward_kernel, forward_kernel
from genomamba_kernels.launching import Launch, remember
from genomamba_kernels.packing import window_owners

WIDTHS = (32, 64, 128)  # channels a program; of 128 a lane reads 8 bytes of a half type
RUNS = (16, 32, 64, 128)  # positions a program: as many as leave the card enough programs
RESIDENT = 16  # programs that keep a multiprocessor busy
OPTIONS = {"num_warps": 1}
FORWARD_TILE, BACKWARD_TILE = 8, 4  # positions a program works on at a time


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _cut(x: Tensor, length: int) -> tuple[int, int, int]:
    """Channels and positions a program, and programs along the length."""
    width = next((width for width in WIDTHS if width >= x.shape[2]), WIDTHS[-1])
    others = x.shape[0] * _ceil_div(x.shape[2], width)
    wanted = 2 * RESIDENT * _multiprocessors(real_device(x))
    fitting = [run for run in RUNS if others * _ceil_div(length, run) >= wanted]
    run = max(fitting, default=RUNS[0])
    return width, run, _ceil_div(length, run)


class Work(NamedTuple):
    """A direction's launch, for inputs of some shapes and strides."""

    launch: Launch
    programs: int
    along: int  # programs along the length


_work: dict[Any, Work] = {}


def _work_of(inputs: ConvInputs, *others: Tensor) -> Work:
    """Forward's with y given, backward's with the gradients at y and x."""
    x, silu = inputs.x, inputs.activation is not None
    multiprocessors = _multiprocessors(real_device(x))
    strides = [other.stride() for other in others]
    key = (x.shape, x.stride(), inputs.weight.shape[1], silu, multiprocessors, *strides)
    return remember(_work, key, lambda: _plan(inputs, *others))


def _plan(inputs: ConvInputs, *others: Tensor) -> Work:
    x, past = inputs.x, inputs.weight.shape[1] - 1
    batch, length, channels = x.shape
    backward = len(others) > 1
    width, run, along = _cut(x, length + past if backward else length)
    sizes = {
        "x_row": x.stride(0),
        "X_STEP": x.stride(1),
        "L": length,
        "D": channels,
        "E": past,
        "SILU": inputs.activation is not None,
        "run": run,
        "T": BACKWARD_TILE if backward else FORWARD_TILE,
        "W": width,
    }
    for name, other in zip(("grad_y", "grad_x") if backward else ("y",), others, strict=True):
        sizes |= {f"{name}_row": other.stride(0), f"{name.upper()}_STEP": other.stride(1)}
    launch = Launch(backward_kernel if backward else forward_kernel, OPTIONS, **sizes)
    return Work(launch, batch * along * _ceil_div(channels, width), along)


def _tensors(inputs: ConvInputs) -> dict[str, Tensor | None]:
    """What both kernels take."""
    return {
        "x_ptr": inputs.x,
        "weight_ptr": inputs.weight,
        "bias_ptr": inputs.bias,
        "state_ptr": inputs.initial_state,
        "seq_ptr": inputs.seq_idx,
    }


def conv_forward(inputs: ConvInputs) -> Tensor:
    """y (B, L, D). Channels of x are contiguous, its other strides any; the rest is contiguous."""
    y = torch.empty_like(inputs.x, memory_format=torch.contiguous_format)
    work = _work_of(inputs, y)
    work.launch(work.programs, y_ptr=y, **_tensors(inputs))
    return y


class Gradients(NamedTuple):
    """Gradients of the arguments of the same names, those of the parameters in float32."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    initial_state: Tensor | None


def conv_backward(
    inputs: ConvInputs,
    grad_y: Tensor,
    grad_final_state: Tensor | None,
    grad_x: Tensor | None = None,
) -> Gradients:
    """grad_x is written to if it is given, and may have any strides but that of the channels."""
    x = inputs.x
    if grad_x is None:
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    grad_state = None
    if inputs.initial_state is not None:
        grad_state = torch.empty_like(inputs.initial_state)
    work = _work_of(inputs, grad_y, grad_x)
    channels, taps = inputs.weight.shape
    parts = x.new_empty((len(x), work.along, taps + 1, channels), dtype=torch.float32)
    work.launch(
        work.programs,
        grad_y_ptr=grad_y,
        grad_final_ptr=grad_final_state,
        grad_x_ptr=grad_x,
        grad_state_ptr=grad_state,
        parts_ptr=parts,
        **_tensors(inputs),
    )
    sums = parts.sum((0, 1))
    return Gradients(grad_x, sums[:-1].T, sums[-1], grad_state)


def final_state(inputs: ConvInputs) -> Tensor:
    """(B, d_conv - 1, D): the last inputs, zero where another sequence than the last has them."""
    x, past = inputs.x, inputs.weight.shape[1] - 1
    length = x.shape[1]
    if length >= past:
        state = x[:, length - past :].clone(memory_format=torch.contiguous_format)
    else:
        before = x.new_zeros(x.shape[0], past, x.shape[2])
        if inputs.initial_state is not None:
            before = inputs.initial_state.to(x.dtype)
        state = torch.cat([before[:, length:], x], dim=1)
    if inputs.seq_idx is None:
        return state
    owners = window_owners(inputs.seq_idx, past)[:, length:]
    return torch.where((owners == inputs.seq_idx[:, -1:]).unsqueeze(-1), state, 0.0)

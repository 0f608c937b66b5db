# pyright: reportArgumentType=false, reportCallIssue=false
"""Selective scan, backend "triton": launches. Letters as in triton_forward.py."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_backward import (
    backward_kernel,
    segment_gradients_kernel,
)
from genomamba_kernels.selective_scan.triton_forward import scan_kernel, segment_ends_kernel
from genomamba_kernels.selective_scan.triton_layout import STEPS, collect, to_tiles
from genomamba_kernels.selective_scan.triton_plan import (
    Plan,
    ceil_div,
    channel_blocks,
    cut_length,
)
from genomamba_kernels.selective_scan.triton_states import pass_states_kernel

LOG2_E = 1.4426950408889634


class Shared(NamedTuple):
    """What the kernels read in another order than the interface's."""

    a: Tensor  # (N, D) float32, A log2(e)
    B: Tensor  # (B, G, padded L / T, N, T) float32
    C: Tensor  # (B, G, padded L / T, N, T) float32
    starts: Tensor | None  # (B, padded L / T) int32


def even(x: Tensor) -> Tensor:
    """(..., N, D) with a row of zeros more if N is odd."""
    return F.pad(x, (0, 0, 0, 1)) if x.shape[-2] % 2 else x


def start_words(starts: Tensor | None, padded: int, tile: int) -> Tensor | None:
    """(B, L) bool to (B, padded L / T) int32: bit i is step i of the tile."""
    if starts is None:
        return None
    starts = F.pad(starts, (0, padded - starts.shape[1])).unflatten(1, (-1, tile))
    bits = torch.arange(tile, device=starts.device, dtype=torch.int32)
    return (starts.int() << bits).sum(-1, dtype=torch.int32)


def share(inputs: ScanInputs, plan: Plan) -> Shared:
    length = inputs.u.shape[1]
    padded = ceil_div(length, STEPS) * STEPS
    return Shared(
        even(inputs.A.T * LOG2_E).contiguous(),
        to_tiles(inputs.B, padded, plan.tile),
        to_tiles(inputs.C, padded, plan.tile),
        start_words(inputs.starts, padded, plan.tile),
    )


def strides(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.stride(0), x.stride(1))


def scan_forward(
    inputs: ScanInputs,
    shared: Shared,
    initial_state: Tensor | None,
    plan: Plan,
    save: bool,
    y: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """y (B, L, D), the final state (B, N, D) and the states before every K-th step.

    A contiguous y may be given, to be written to.
    """
    u, delta, z = inputs.u, inputs.delta, inputs.z
    batch, length, channels = u.shape
    _, groups, tile_count, states, tile = shared.B.shape
    padded = tile_count * tile
    blocks = plan.forward
    width = blocks.width
    segments, segment_length = cut_length(u, groups, plan.interval, blocks)
    grid = (batch * segments * groups * channel_blocks(channels, groups, width),)

    state = u.new_empty(batch, segments, states, channels, dtype=torch.float32)
    state[:, 0] = 0.0 if initial_state is None else even(initial_state.mT)
    sizes = {
        "L": length,
        "padded_L": padded,
        "D": channels,
        "S": segments,
        "G": groups,
        "segment_length": segment_length,
        "N": states,
        "T": tile,
        "W": width,
        "SOFTPLUS": inputs.delta_softplus,
        "EVEN": length % tile == 0 and (channels // groups) % width == 0,
        "num_warps": 1,
        "maxnreg": blocks.registers,
    }
    u_row, u_step = strides(u)
    delta_row, delta_step = strides(delta)
    z_row, z_step = strides(z)
    if segments > 1:
        ends = torch.zeros_like(state)
        decay = u.new_empty(batch, segments, channels, dtype=torch.float32)
        segment_ends_kernel[grid](
            u_ptr=u,
            delta_ptr=delta,
            bias_ptr=inputs.delta_bias,
            a_ptr=shared.a,
            B_ptr=shared.B,
            starts_ptr=shared.starts,
            state_ptr=ends,
            decay_ptr=decay,
            u_row=u_row,
            U_STEP=u_step,
            delta_row=delta_row,
            DELTA_STEP=delta_step,
            **sizes,
        )
        pass_states(ends, decay, shared.a, state, reverse=False)
    if y is None:
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
    saved = None
    if save:
        saved = u.new_empty(batch, padded // plan.interval, states, channels, dtype=torch.float32)
    scan_kernel[grid](
        u_ptr=u,
        delta_ptr=delta,
        z_ptr=z,
        y_ptr=y,
        bias_ptr=inputs.delta_bias,
        D_ptr=inputs.D,
        a_ptr=shared.a,
        B_ptr=shared.B,
        C_ptr=shared.C,
        starts_ptr=shared.starts,
        state_ptr=state,
        saved_ptr=saved,
        u_row=u_row,
        U_STEP=u_step,
        delta_row=delta_row,
        DELTA_STEP=delta_step,
        z_row=z_row,
        Z_STEP=z_step,
        K=plan.interval,
        **sizes,
    )
    return y, state[:, -1, : inputs.A.shape[1]], saved


def pass_states(leaving: Tensor, decay: Tensor, a: Tensor, entering: Tensor, reverse: bool) -> None:
    """Fills in what enters every segment but the chain's first."""
    batch, segments, states, channels = leaving.shape
    width = 8  # few, for more programs
    pass_states_kernel[(batch * states * ceil_div(channels, width),)](
        leaving_ptr=leaving,
        decay_ptr=decay,
        a_ptr=a,
        entering_ptr=entering,
        S=segments,
        D=channels,
        N=states,
        BLOCK_S=min(triton.next_power_of_2(segments), 64),
        W=width,
        REVERSE=reverse,
        num_warps=4,
    )


class Gradients(NamedTuple):
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor  # (B, N, D)


def scan_backward(
    inputs: ScanInputs,
    shared: Shared,
    saved: Tensor,
    grad_y: Tensor,
    grad_final_state: Tensor | None,
    plan: Plan,
    grad_z: Tensor | None = None,
) -> Gradients:
    """A grad_z of contiguous channels may be given, to be written to."""
    u, delta, z = inputs.u, inputs.delta, inputs.z
    batch, length, channels = u.shape
    _, groups, tile_count, states, tile = shared.B.shape
    padded = tile_count * tile
    blocks = plan.backward
    width = blocks.width
    segments, segment_length = cut_length(u, groups, plan.interval, blocks)
    parts = channel_blocks(channels, groups, width)
    grid = (batch * segments * groups * parts,)

    def new(*shape: int) -> Tensor:
        return u.new_empty(shape, dtype=torch.float32)

    grad_state = new(batch, segments, states, channels)
    grad_state[:, -1] = 0.0 if grad_final_state is None else even(grad_final_state.mT)
    delta_row, delta_step = strides(delta)
    z_row, z_step = strides(z)
    grad_row, grad_step = strides(grad_y)
    u_row, u_step = strides(u)
    common = {
        "delta_ptr": delta,
        "z_ptr": z,
        "grad_y_ptr": grad_y,
        "bias_ptr": inputs.delta_bias,
        "a_ptr": shared.a,
        "C_ptr": shared.C,
        "starts_ptr": shared.starts,
        "delta_row": delta_row,
        "DELTA_STEP": delta_step,
        "z_row": z_row,
        "Z_STEP": z_step,
        "grad_row": grad_row,
        "GRAD_STEP": grad_step,
        "L": length,
        "padded_L": padded,
        "D": channels,
        "S": segments,
        "G": groups,
        "segment_length": segment_length,
        "N": states,
        "T": tile,
        "W": width,
        "SOFTPLUS": inputs.delta_softplus,
        "EVEN": length % tile == 0 and (channels // groups) % width == 0,
        "num_warps": 1,
        "maxnreg": blocks.registers,
    }
    if segments > 1:
        ends = torch.zeros_like(grad_state)
        decay = new(batch, segments, channels)
        segment_gradients_kernel[grid](grad_state_ptr=ends, decay_ptr=decay, **common)
        pass_states(ends, decay, shared.a, grad_state, reverse=True)

    contiguous = torch.contiguous_format
    grad_u = torch.empty_like(u, memory_format=contiguous)
    grad_delta = torch.empty_like(delta, memory_format=contiguous)
    if grad_z is None and z is not None:
        grad_z = torch.empty_like(z, memory_format=contiguous)
    grad_z_row, grad_z_step = strides(grad_z)
    grad_A = torch.zeros_like(grad_state)
    parts_BC = new(parts, *shared.B.shape[:-1], 2, tile)
    grad_bias = None if inputs.delta_bias is None else new(batch, segments, channels)
    grad_D = None if inputs.D is None else new(batch, segments, channels)
    backward_kernel[grid](
        u_ptr=u,
        D_ptr=inputs.D,
        B_ptr=shared.B,
        saved_ptr=saved,
        scratch_ptr=new(batch, segments, plan.interval // tile - 1, states, channels),
        grad_state_ptr=grad_state,
        grad_u_ptr=grad_u,
        grad_delta_ptr=grad_delta,
        grad_z_ptr=grad_z,
        grad_A_ptr=grad_A,
        grad_BC_ptr=parts_BC,
        grad_bias_ptr=grad_bias,
        grad_D_ptr=grad_D,
        u_row=u_row,
        U_STEP=u_step,
        grad_z_row=grad_z_row,
        GRAD_Z_STEP=grad_z_step,
        R=batch,
        K=plan.interval,
        **common,
    )

    def over_segments(parts: Tensor | None, like: Tensor | None) -> Tensor | None:
        return None if parts is None or like is None else parts.sum((0, 1)).to(like.dtype)

    return Gradients(
        grad_u,
        grad_delta,
        grad_A.sum((0, 1))[: inputs.A.shape[1]].T.to(inputs.A.dtype),
        *collect(parts_BC, inputs.B, inputs.C),
        over_segments(grad_D, inputs.D),
        grad_z,
        over_segments(grad_bias, inputs.delta_bias),
        grad_state[:, 0, : inputs.A.shape[1]],
    )

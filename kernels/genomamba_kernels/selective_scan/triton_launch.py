# pyright: reportArgumentType=false, reportCallIssue=false
"""Selective scan, backend "triton": launches. Letters as in triton_forward.py."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from genomamba_kernels.launching import launch
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_backward import backward_kernel
from genomamba_kernels.selective_scan.triton_forward import scan_kernel
from genomamba_kernels.selective_scan.triton_layout import Shared, add_segments, collect, with_spare
from genomamba_kernels.selective_scan.triton_plan import (
    WARP_CHANNELS,
    Blocks,
    Plan,
    ceil_div,
    channel_blocks,
    cut_length,
)
from genomamba_kernels.selective_scan.triton_rounds import (
    cut_rounds,
    longest_segment,
    round_positions,
)
from genomamba_kernels.selective_scan.triton_segments import (
    segment_ends_kernel,
    segment_gradients_kernel,
)
from genomamba_kernels.selective_scan.triton_states import pass_states_kernel
from genomamba_kernels.sharing import Share, gradients_between, states_between


def strides(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.stride(0), x.stride(1))


class Work(NamedTuple):
    """How a direction's work is divided, and what all its kernels are told."""

    segments: int  # S
    parts: int  # P, programs that share one group's B and C
    programs: int
    sizes: dict[str, Any]
    options: dict[str, Any]  # the compiler's


def divide(inputs: ScanInputs, shared: Shared, plan: Plan, blocks: Blocks, backward: bool) -> Work:
    batch, length, channels = inputs.u.shape
    _, groups, tiles, states, tile = shared.B.shape
    width = blocks.width
    parts = channel_blocks(channels, groups, width)
    longest = longest_segment(inputs.u, 2 * states * groups * parts) if backward else None
    segments, segment_length = cut_length(inputs.u, groups, plan.interval, blocks, longest)
    sizes = {
        "L": length,
        "padded_L": tiles * tile,
        "D": channels,
        "S": segments,
        "G": groups,
        "segment_length": segment_length,
        "N": states,
        "T": tile,
        "W": width,
        "SOFTPLUS": inputs.delta_softplus,
        "EVEN": length % tile == 0 and (channels // groups) % width == 0,
    }
    options = {
        "num_warps": width // min(width, WARP_CHANNELS),
        "maxnreg": blocks.registers,
    }
    return Work(segments, parts, batch * segments * groups * parts, sizes, options)


class Forward(NamedTuple):
    """What the scan gives: y is B L D numbers, the rest little beside it but for `saved`."""

    y: Tensor  # (B, L, D)
    final_state: Tensor  # (B, D, N) float32
    saved: Tensor | None  # (B padded L / K + more, even N, D), states before every K-th step
    entering: Tensor | None  # (B, S, even N, D), the state that enters each segment


def scan_forward(
    inputs: ScanInputs,
    shared: Shared,
    initial_state: Tensor | None,
    plan: Plan,
    save: bool,
    y: Tensor | None = None,
    entering: Tensor | None = None,
    share: Share | None = None,
) -> Forward:
    """Runs the scan.

    Args:
        initial_state: (B, D, N) float32.
        save: whether the states that backward needs are kept.
        y: where to write y, contiguous.
        entering: an earlier run's with the same arguments, which saves the first pass, and the
            exchange; final_state is then that of this rank's positions.
        share: which part of longer rows the inputs are. The exchange with the other ranks takes
            place between the two passes; the states are those before and after the whole rows.
    """
    u, delta, z = inputs.u, inputs.delta, inputs.z
    batch, _, channels = u.shape
    work = divide(inputs, shared, plan, plan.forward, backward=False)
    segments, states, sizes = work.segments, work.sizes["N"], work.sizes

    def new(*shape: int) -> Tensor:
        return with_spare(u, shape, channels)

    u_row, u_step = strides(u)
    delta_row, delta_step = strides(delta)
    z_row, z_step = strides(z)
    chunks = batch * (sizes["padded_L"] // plan.interval) if save else 0
    state = new(chunks + batch * segments, states, channels)
    after = None
    if entering is None and (segments > 1 or initial_state is not None or share is not None):
        entering = new(batch, segments, states, channels)
        leaving = state[chunks:]  # lent until it is written to for good
        decay = new(batch, segments, channels)
        if segments > 1 or share is not None:
            launch(
                segment_ends_kernel,
                work.programs,
                work.options,
                u_ptr=u,
                delta_ptr=delta,
                bias_ptr=inputs.delta_bias,
                a_ptr=shared.a,
                B_ptr=shared.B,
                starts_ptr=shared.starts,
                state_ptr=leaving,
                decay_ptr=decay,
                u_row=u_row,
                U_STEP=u_step,
                delta_row=delta_row,
                DELTA_STEP=delta_step,
                ENDS=0 if share is not None else 1,
                **sizes,
            )
        if share is not None:
            ends = row_ends(leaving, decay, shared.a, inputs.A, entering, reverse=False)
            initial_state, after = states_between(*ends, initial_state, share)
        pass_states(leaving, decay, shared.a, initial_state, entering, reverse=False)
    if y is None:
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
    final_state = u.new_empty(batch, *inputs.A.shape, dtype=torch.float32)
    launch(
        scan_kernel,
        work.programs,
        work.options,
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
        entering_ptr=entering,
        state_ptr=state,
        final_ptr=final_state,
        u_row=u_row,
        U_STEP=u_step,
        delta_row=delta_row,
        DELTA_STEP=delta_step,
        z_row=z_row,
        Z_STEP=z_step,
        R=batch,
        TRUE_N=inputs.A.shape[1],
        K=plan.interval,
        SAVE=save,
        **sizes,
    )
    return Forward(y, final_state if after is None else after, state if save else None, entering)


def pass_states(
    leaving: Tensor,
    decay: Tensor,
    a: Tensor,
    given: Tensor | None,
    entering: Tensor,
    reverse: bool,
    end: Tensor | None = None,
) -> None:
    """Writes what enters each segment (B, S, N, D), and to `end` (B, D, N) what leaves the chain's
    last; `given` (B, D, N) enters its first."""
    batch, segments, states, channels = entering.shape
    width = 8  # few, for more programs
    launch(
        pass_states_kernel,
        batch * states * ceil_div(channels, width),
        {"num_warps": 4},
        leaving_ptr=leaving,
        decay_ptr=decay,
        a_ptr=a,
        given_ptr=None if given is None else given.contiguous(),  # a gradient may be transposed
        entering_ptr=entering,
        end_ptr=end,
        S=segments,
        TRUE_N=next((x.shape[2] for x in (given, end) if x is not None), states),
        D=channels,
        N=states,
        BLOCK_S=min(triton.next_power_of_2(segments), 64),
        W=width,
        REVERSE=reverse,
    )


def row_ends(
    leaving: Tensor, decay: Tensor, a: Tensor, A: Tensor, entering: Tensor, reverse: bool
) -> tuple[Tensor, Tensor]:
    """(decay, leaving), each (B, D, N): of the segments of a row together. Overwrites entering."""
    end = leaving.new_empty(decay.shape[0], *A.shape)
    pass_states(leaving, decay, a, None, entering, reverse, end)
    total = decay.sum(1)[..., None]  # infinite where a sequence restarts
    crossing = torch.exp2(total * a[: A.shape[1]].T)
    return torch.where(total == torch.inf, 0.0, crossing), end


class Gradients(NamedTuple):
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    initial_state: Tensor  # (B, D, N) float32


def scan_backward(
    inputs: ScanInputs,
    shared: Shared,
    saved: Tensor,
    grad_y: Tensor,
    grad_final_state: Tensor | None,
    plan: Plan,
    grad_z: Tensor | None = None,
    share: Share | None = None,
) -> Gradients:
    """Gradients of all inputs.

    Args:
        saved: of scan_forward, with the same plan.
        grad_y: (B, L, D), channels contiguous.
        grad_final_state: (B, D, N) float32.
        grad_z: where to write z's gradient, channels contiguous.
        share: as for scan_forward. The gradient of the state before the whole rows is the sum of
            the ranks'.
    """
    u, delta, z = inputs.u, inputs.delta, inputs.z
    batch, _, channels = u.shape
    work = divide(inputs, shared, plan, plan.backward, backward=True)
    segments, states, tile = work.segments, work.sizes["N"], plan.tile

    def new(*shape: int) -> Tensor:
        return with_spare(u, shape, channels)

    grad_state = new(batch, segments, states, channels)
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
        **work.sizes,
    }
    entering = grad_before = None
    if segments > 1 or grad_final_state is not None or share is not None:
        entering = new(batch, segments, states, channels)
        decay = new(batch, segments, channels)
        if segments > 1 or share is not None:
            launch(
                segment_gradients_kernel,
                work.programs,
                work.options,
                grad_state_ptr=grad_state,
                decay_ptr=decay,
                ENDS=0 if share is not None else 1,
                **common,
            )
        if share is not None:
            ends = row_ends(grad_state, decay, shared.a, inputs.A, entering, reverse=True)
            grad_final_state, grad_before = gradients_between(*ends, grad_final_state, share)
        pass_states(grad_state, decay, shared.a, grad_final_state, entering, reverse=True)

    contiguous = torch.contiguous_format
    grad_u = torch.empty_like(u, memory_format=contiguous)
    grad_delta = torch.empty_like(delta, memory_format=contiguous)
    if grad_z is None and z is not None:
        grad_z = torch.empty_like(z, memory_format=contiguous)
    grad_z_row, grad_z_step = strides(grad_z)
    grad_B = torch.empty_like(inputs.B, memory_format=contiguous)
    grad_C = torch.empty_like(inputs.C, memory_format=contiguous)
    grad_A_parts = new(batch * segments, states + 2, channels)
    grad_initial_state = u.new_empty(batch, *inputs.A.shape, dtype=torch.float32)
    scratch = new(batch, segments, plan.interval // tile - 1, states, channels)
    length, segment_length = work.sizes["L"], work.sizes["segment_length"]
    groups = work.sizes["G"]
    rounds = cut_rounds(u, 2 * states * groups * work.parts, segments, segment_length)
    room = round_positions(rounds[0].segments, segment_length, length)
    grad_BC_parts = new(work.parts, rounds[0].rows, groups, room // tile, states, 2, tile)
    for part in rounds:
        launch(
            backward_kernel,
            part.rows * part.segments * groups * work.parts,
            work.options,
            u_ptr=u,
            D_ptr=inputs.D,
            B_ptr=shared.B,
            saved_ptr=saved,
            scratch_ptr=scratch,
            entering_ptr=entering,
            grad_state_ptr=grad_state,
            grad_initial_ptr=grad_initial_state,
            grad_u_ptr=grad_u,
            grad_delta_ptr=grad_delta,
            grad_z_ptr=grad_z,
            grad_A_ptr=grad_A_parts,
            grad_BC_ptr=grad_BC_parts,
            u_row=u_row,
            U_STEP=u_step,
            grad_z_row=grad_z_row,
            GRAD_Z_STEP=grad_z_step,
            first_row=part.first_row,
            R=rounds[0].rows,
            first_segment=part.first_segment,
            R_S=part.segments,
            R_L=room,
            TRUE_N=inputs.A.shape[1],
            K=plan.interval,
            SWEEP=plan.interval > tile,
            **common,
        )
        rows = range(part.first_row, part.first_row + part.rows)
        first = part.first_segment * segment_length
        stop = min(first + part.segments * segment_length, length)
        collect(grad_BC_parts, grad_B, grad_C, rows, range(first, stop))
    grad_A, grad_bias, grad_D = add_segments(grad_A_parts, inputs.A, inputs.delta_bias, inputs.D)
    if grad_before is not None:
        grad_initial_state = grad_before
    return Gradients(
        grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_initial_state
    )

# pyright: reportArgumentType=false, reportCallIssue=false
"""Selective scan, backend "triton": launches. Letters as in triton_forward.py."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_layout import Shared
from genomamba_kernels.selective_scan.triton_plan import Plan
from genomamba_kernels.selective_scan.triton_work import (
    Backward,
    backward_work,
    forward_work,
)
from genomamba_kernels.selective_scan.triton_work import Forward as Work
from genomamba_kernels.sharing import Share, gradients_between, states_between


class Forward(NamedTuple):
    """What the scan gives: y is B L D numbers, the rest little beside it but for `saved`."""

    y: Tensor  # (B, L, D)
    final_state: Tensor  # (B, D, N) float32
    saved: Tensor | None  # B padded L / K + more of (even N, D), states before every K-th step
    entering: Tensor | None  # B S of (even N, D), the state that enters each segment


def scan_forward(
    inputs: ScanInputs,
    shared: Shared,
    initial_state: Tensor | None,
    plan: Plan,
    save: bool,
    y: Tensor | None = None,
    entering: Tensor | None = None,
    share: Share | None = None,
    in_parts: bool = False,
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
        in_parts: rows may be parts of longer ones, cut at multiples of the plan's grid, and no bit
            of the result is to depend on the cut.
    """
    u, delta, A, bias = inputs.u, inputs.delta, inputs.A, inputs.delta_bias
    continues = initial_state is not None if in_parts else None
    work = forward_work(inputs, plan, save, share is not None, continues)
    state = u.new_empty(work.states, dtype=torch.float32)
    after = None
    first_pass = work.segments > 1 or share is not None or work.chained
    if entering is None and (first_pass or initial_state is not None):
        working = u.new_empty(sum(work.entering), dtype=torch.float32)
        entering, decay = working.split_with_sizes(work.entering)
        leaving = state[work.leaving :]  # lent until it is written to for good
        if first_pass:
            work.ends(
                work.programs,
                u_ptr=u,
                delta_ptr=delta,
                bias_ptr=bias,
                a_ptr=shared.a,
                B_ptr=shared.B,
                starts_ptr=shared.starts,
                state_ptr=leaving,
                decay_ptr=decay,
            )
        if share is not None:
            ends = row_ends(work, leaving, decay, shared.a, A, entering)
            initial_state, after = states_between(*ends, initial_state, share)
        end = None
        if work.chained:
            after = end = u.new_empty((len(u), *A.shape), dtype=torch.float32)
        pass_states(work, leaving, decay, shared.a, initial_state, entering, end)
    if y is None:
        y = torch.empty_like(u, memory_format=torch.contiguous_format)
    final_state = u.new_empty((len(u), *A.shape), dtype=torch.float32)
    work.scan(
        work.programs,
        u_ptr=u,
        delta_ptr=delta,
        z_ptr=inputs.z,
        y_ptr=y,
        bias_ptr=bias,
        D_ptr=inputs.D,
        a_ptr=shared.a,
        B_ptr=shared.B,
        C_ptr=shared.C,
        starts_ptr=shared.starts,
        entering_ptr=entering,
        state_ptr=state,
        final_ptr=final_state,
    )
    return Forward(y, final_state if after is None else after, state if save else None, entering)


def pass_states(
    work: Work | Backward,
    leaving: Tensor,
    decay: Tensor,
    a: Tensor,
    given: Tensor | None,
    entering: Tensor,
    end: Tensor | None = None,
) -> None:
    """Writes what enters each segment (B, S, N, D), and to `end` (B, D, N) what leaves the chain's
    last; `given` (B, D, N) enters its first."""
    work.passing(
        work.passing_programs,
        leaving_ptr=leaving,
        decay_ptr=decay,
        a_ptr=a,
        given_ptr=None if given is None else given.contiguous(),  # a gradient may be transposed
        entering_ptr=entering,
        end_ptr=end,
    )


def row_ends(
    work: Work | Backward, leaving: Tensor, decay: Tensor, a: Tensor, A: Tensor, entering: Tensor
) -> tuple[Tensor, Tensor]:
    """(decay, leaving), each (B, D, N): of the segments of a row together. Overwrites entering."""
    batch, segments, _, channels = work.shape
    end = leaving.new_empty(batch, *A.shape)
    pass_states(work, leaving, decay, a, None, entering, end)
    decay = decay[: batch * segments * channels].view(batch, segments, channels)
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
    grad_BC: tuple[Tensor, Tensor] | None = None,
    share: Share | None = None,
) -> Gradients:
    """Gradients of all inputs.

    Args:
        saved: of scan_forward, with the same plan.
        grad_y: (B, L, D), channels contiguous.
        grad_final_state: (B, D, N) float32.
        grad_z: where to write z's gradient, channels contiguous.
        grad_BC: where to write those of B and C (B, L, G, N); rows and steps may lie apart.
        share: as for scan_forward. The gradient of the state before the whole rows is the sum of
            the ranks'.
    """
    u, delta, z, A = inputs.u, inputs.delta, inputs.z, inputs.A
    contiguous = torch.contiguous_format
    if grad_z is None and z is not None:
        grad_z = torch.empty_like(z, memory_format=contiguous)
    if grad_BC is None:
        grad_BC = (
            torch.empty_like(inputs.B, memory_format=contiguous),
            torch.empty_like(inputs.C, memory_format=contiguous),
        )
    grad_B, grad_C = grad_BC
    work = backward_work(inputs, plan, share is not None, grad_y, grad_z, grad_B)
    working = u.new_empty(sum(work.working), dtype=torch.float32)
    grad_state, grad_A_parts, scratch, grad_BC_parts, room, decay = working.split_with_sizes(
        work.working
    )
    common = {
        "delta_ptr": delta,
        "z_ptr": z,
        "grad_y_ptr": grad_y,
        "bias_ptr": inputs.delta_bias,
        "a_ptr": shared.a,
        "C_ptr": shared.C,
        "starts_ptr": shared.starts,
        "grad_state_ptr": grad_state,
    }
    entering = grad_before = None
    first_pass = work.segments > 1 or share is not None
    if first_pass or grad_final_state is not None:
        entering = room
        if first_pass:
            work.ends(work.programs, decay_ptr=decay, **common)
        if share is not None:
            ends = row_ends(work, grad_state, decay, shared.a, A, entering)
            grad_final_state, grad_before = gradients_between(*ends, grad_final_state, share)
        pass_states(work, grad_state, decay, shared.a, grad_final_state, entering)

    grad_u = torch.empty_like(u, memory_format=contiguous)
    grad_delta = torch.empty_like(delta, memory_format=contiguous)
    grad_initial_state = u.new_empty((len(u), *A.shape), dtype=torch.float32)
    for part in work.rounds:
        part.backward(
            part.programs,
            u_ptr=u,
            D_ptr=inputs.D,
            B_ptr=shared.B,
            saved_ptr=saved,
            scratch_ptr=scratch,
            entering_ptr=entering,
            grad_initial_ptr=grad_initial_state,
            grad_u_ptr=grad_u,
            grad_delta_ptr=grad_delta,
            grad_z_ptr=grad_z,
            grad_A_ptr=grad_A_parts,
            grad_BC_ptr=grad_BC_parts,
            **common,
        )
        part.collecting(
            part.collecting_programs, parts_ptr=grad_BC_parts, B_ptr=grad_B, C_ptr=grad_C
        )
    grad_A, grad_bias, grad_D = work.summing(grad_A_parts, A, inputs.delta_bias, inputs.D)
    if grad_before is not None:
        grad_initial_state = grad_before
    return Gradients(
        grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias, grad_initial_state
    )

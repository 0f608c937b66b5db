# pyright: reportArgumentType=false, reportCallIssue=false
"""How the scan's work is divided, and what its kernels are told beside their tensors.

Both depend on shapes and strides only, so they are settled once for each: short sequences wait for
the host, and this takes it longer than the launches. Letters as in triton_forward.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from genomamba_kernels.ahead import real_device
from genomamba_kernels.launching import Launch, remember
from genomamba_kernels.selective_scan import triton_plan, triton_rounds
from genomamba_kernels.selective_scan.inputs import ScanInputs
from genomamba_kernels.selective_scan.triton_backward import backward_kernel
from genomamba_kernels.selective_scan.triton_forward import scan_kernel
from genomamba_kernels.selective_scan.triton_layout import (
    STEPS,
    Summing,
    collecting,
    rooms,
    summing,
)
from genomamba_kernels.selective_scan.triton_plan import (
    WARP_CHANNELS,
    Blocks,
    Plan,
    ceil_div,
    channel_blocks,
    cut_forward,
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


class Division(NamedTuple):
    """How a direction's work is divided, and what all its kernels are told."""

    segments: int  # S
    states: int  # even N
    parts: int  # P, programs that share one group's B and C
    programs: int
    sizes: dict[str, Any]
    options: dict[str, Any]  # the compiler's


class Forward(NamedTuple):
    """Of the forward direction."""

    segments: int
    programs: int
    ends: Launch
    passing: Launch
    passing_programs: int
    scan: Launch
    states: int  # numbers of the states, with room to spare
    leaving: int  # where those that the segments leave begin
    entering: tuple[int, ...]  # numbers of entering and decay
    shape: tuple[int, ...]  # (B, S, even N, D)
    chained: bool  # whether the state after the rows is the chain's: a row may be cut there


class Round(NamedTuple):
    """One of backward's rounds (triton_rounds.py)."""

    programs: int
    backward: Launch
    collecting_programs: int
    collecting: Launch


class Backward(NamedTuple):
    """Of the backward direction."""

    segments: int
    programs: int
    ends: Launch
    passing: Launch
    passing_programs: int
    rounds: list[Round]
    summing: Summing
    # Numbers of grad_state, grad_A_parts, scratch, grad_BC_parts, and of entering and decay.
    working: tuple[int, ...]
    shape: tuple[int, ...]  # (B, S, even N, D)


_forward: dict[Any, Forward] = {}
_backward: dict[Any, Backward] = {}


def forward_work(
    inputs: ScanInputs, plan: Plan, save: bool, is_share: bool, continues: bool | None
) -> Forward:
    """`continues`: whether a state enters the rows; None if they are not to be read in parts."""
    key = (*_signature(inputs, plan), save, is_share, continues)
    return remember(_forward, key, lambda: _plan_forward(inputs, plan, save, is_share, continues))


def backward_work(
    inputs: ScanInputs,
    plan: Plan,
    is_share: bool,
    grad_y: Tensor,
    grad_z: Tensor | None,
    grad_B: Tensor,
) -> Backward:
    key = (
        *_signature(inputs, plan),
        is_share,
        grad_y.stride(),
        None if grad_z is None else grad_z.stride(),
        grad_B.stride(),
        triton_rounds.most_numbers(inputs.u),
    )
    return remember(
        _backward, key, lambda: _plan_backward(inputs, plan, is_share, grad_y, grad_z, grad_B)
    )


def _signature(inputs: ScanInputs, plan: Plan) -> tuple[Any, ...]:
    """All that the work depends on in both directions."""
    u, z = inputs.u, inputs.z
    return (
        u.shape,
        inputs.B.shape,
        inputs.A.shape[1],
        u.stride(),
        inputs.delta.stride(),
        None if z is None else z.stride(),
        inputs.delta_softplus,
        plan,
        triton_plan._multiprocessors(real_device(u)),
    )


def _strides(x: Tensor | None) -> tuple[int, int]:
    return (0, 0) if x is None else (x.stride(0), x.stride(1))


def _divide(
    inputs: ScanInputs, plan: Plan, blocks: Blocks, segments: int, segment_length: int
) -> Division:
    batch, length, channels = inputs.u.shape
    groups, states = inputs.B.shape[2:]
    states += states % 2
    width, tile = blocks.width, plan.tile
    parts = channel_blocks(channels, groups, width)
    sizes = {
        "L": length,
        "padded_L": ceil_div(length, STEPS) * STEPS,
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
    programs = batch * segments * groups * parts
    return Division(segments, states, parts, programs, sizes, options)


CHAINED = 64  # segments whose loads are on their way together: a warp waits for little else


def _passing(shape: tuple[int, ...], true_states: int, reverse: bool) -> tuple[Launch, int]:
    """pass_states for (B, S, even N, D), and its number of programs."""
    batch, segments, states, channels = shape
    width = 32  # one a lane: the chain is serial, and waits for loads
    launch = Launch(
        pass_states_kernel,
        {"num_warps": 1},
        S=segments,
        TRUE_N=true_states,
        D=channels,
        N=states,
        W=width,
        REVERSE=reverse,
        MANY=CHAINED,
        FEW=8,
    )
    return launch, batch * states * ceil_div(channels, width)


def _plan_forward(
    inputs: ScanInputs, plan: Plan, save: bool, is_share: bool, continues: bool | None
) -> Forward:
    u, A = inputs.u, inputs.A
    batch, length, channels = u.shape
    groups = inputs.B.shape[2]
    if continues is None:
        cut, on_grid = cut_length(u, groups, plan.interval, plan.forward), False
    else:
        *cut, on_grid = cut_forward(u, groups, plan, continues)
    chained = on_grid and length % plan.grid == 0 and not is_share
    work = _divide(inputs, plan, plan.forward, *cut)
    segments, states, sizes = work.segments, work.states, work.sizes
    u_row, u_step = _strides(u)
    delta_row, delta_step = _strides(inputs.delta)
    z_row, z_step = _strides(inputs.z)
    of_rows = {
        "u_row": u_row,
        "U_STEP": u_step,
        "delta_row": delta_row,
        "DELTA_STEP": delta_step,
    }
    to_the_end = is_share or chained
    ends = Launch(
        segment_ends_kernel, work.options, ENDS=0 if to_the_end else 1, **of_rows, **sizes
    )
    scan = Launch(
        scan_kernel,
        work.options,
        z_row=z_row,
        Z_STEP=z_step,
        R=batch,
        TRUE_N=A.shape[1],
        K=plan.interval,
        SAVE=save,
        **of_rows,
        **sizes,
    )
    shape = (batch, segments, states, channels)
    passing, passing_programs = _passing(shape, A.shape[1], reverse=False)
    of_segments = batch * segments * states * channels
    saved = batch * (sizes["padded_L"] // plan.interval) * states * channels if save else 0
    return Forward(
        segments,
        work.programs,
        ends,
        passing,
        passing_programs,
        scan,
        saved + of_segments + channels,
        saved,
        rooms(channels, of_segments, batch * segments * channels),
        shape,
        chained,
    )


def _plan_backward(
    inputs: ScanInputs,
    plan: Plan,
    is_share: bool,
    grad_y: Tensor,
    grad_z: Tensor | None,
    grad_B: Tensor,
) -> Backward:
    u, A = inputs.u, inputs.A
    batch, length, channels = u.shape
    tile, groups = plan.tile, inputs.B.shape[2]
    states = A.shape[1] + A.shape[1] % 2
    numbers = 2 * states * groups * channel_blocks(channels, groups, plan.backward.width)
    longest = longest_segment(u, numbers)
    segments, segment_length = cut_length(u, groups, plan.interval, plan.backward, longest)
    work = _divide(inputs, plan, plan.backward, segments, segment_length)
    sizes = work.sizes
    u_row, u_step = _strides(u)
    delta_row, delta_step = _strides(inputs.delta)
    z_row, z_step = _strides(inputs.z)
    grad_row, grad_step = _strides(grad_y)
    grad_z_row, grad_z_step = _strides(grad_z)
    common = {
        "delta_row": delta_row,
        "DELTA_STEP": delta_step,
        "z_row": z_row,
        "Z_STEP": z_step,
        "grad_row": grad_row,
        "GRAD_STEP": grad_step,
        **sizes,
    }
    ends = Launch(segment_gradients_kernel, work.options, ENDS=0 if is_share else 1, **common)
    shape = (batch, segments, states, channels)
    passing, passing_programs = _passing(shape, A.shape[1], reverse=True)
    cut = cut_rounds(u, numbers, segments, segment_length)
    rows, room = cut[0].rows, round_positions(cut[0].segments, segment_length, length)
    rounds = []
    for part in cut:
        backward = Launch(
            backward_kernel,
            work.options,
            u_row=u_row,
            U_STEP=u_step,
            grad_z_row=grad_z_row,
            GRAD_Z_STEP=grad_z_step,
            first_row=part.first_row,
            R=rows,
            first_segment=part.first_segment,
            R_S=part.segments,
            R_L=room,
            TRUE_N=A.shape[1],
            K=plan.interval,
            SWEEP=plan.interval > tile,
            **common,
        )
        first = part.first_segment * segment_length
        collecting_launch, collecting_programs = collecting(
            (work.parts, rows, groups, room // tile, states, 2, tile),
            grad_B,
            range(part.first_row, part.first_row + part.rows),
            range(first, min(first + part.segments * segment_length, length)),
        )
        programs = part.rows * part.segments * groups * work.parts
        rounds.append(Round(programs, backward, collecting_programs, collecting_launch))
    of_segments = batch * segments * states * channels
    working = rooms(
        channels,
        of_segments,
        batch * segments * (states + 2) * channels,
        of_segments * (plan.interval // tile - 1),
        rows * room * numbers,
        of_segments,
        batch * segments * channels,
    )
    return Backward(
        segments,
        work.programs,
        ends,
        passing,
        passing_programs,
        rounds,
        summing(batch * segments, states, A),
        working,
        shape,
    )

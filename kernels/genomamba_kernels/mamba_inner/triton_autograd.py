"""The inside of a Mamba layer, backend "triton": what autograd saves and restores.

Saved are the arguments, the states that enter each piece, and the scan's states at intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.ahead import real_device
from genomamba_kernels.applying import apply
from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.mamba_inner.triton_pieces import Piece, cross, cut, join, rows_of
from genomamba_kernels.mamba_inner.triton_steps import (
    INNER,
    Sums,
    backward,
    pass_conv_state,
    prepare,
    run_scan,
)
from genomamba_kernels.selective_scan.plan_choice import choose_plan

COUNT = InnerInputs._fields.index("projection_dtype")  # of the tensors, which are saved


def of_piece(
    inputs: InnerInputs, piece: Piece, xz: Tensor, states: tuple[Tensor | None, ...]
) -> InnerInputs:
    """The arguments for a piece, of which xz and the states before it are given."""
    conv_state, scan_state = states
    return inputs._replace(
        xz=xz,
        conv_state=conv_state,
        scan_state=scan_state,
        seq_idx=piece.of_optional(inputs.seq_idx),
    )


class TritonInner(torch.autograd.Function):
    """(y, conv_state, scan_state) of the fields of InnerInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        inputs = InnerInputs(*arguments)
        batch, length = inputs.xz.shape[:2]
        channels = inputs.A.shape[0]
        y = inputs.xz.new_empty(batch, length, channels)
        ctx.plan = plan = choose_plan(inputs.xz, inputs.A.shape[1])
        save = any(ctx.needs_input_grad)
        final, kept = [], []
        for row in cut(batch, length, channels, in_one=inputs.share is not None):
            states = rows_of((inputs.conv_state, inputs.scan_state), row[0].rows)
            for piece in row:
                states = cross(states, inputs.seq_idx, piece)
                part = of_piece(inputs, piece, piece.of(inputs.xz), states)
                part, conv_after = pass_conv_state(part)
                result = run_scan(
                    prepare(part, plan),
                    part.scan_state,
                    save=save,
                    y=piece.of(y),
                    share=part.share,
                    in_parts=not save,
                )
                if save:
                    kept += [part.conv_state, part.scan_state, result.saved]
                states = (conv_after, result.final_state)
            final.append(states)
        ctx.set_materialize_grads(False)
        ctx.rest = inputs[COUNT:]
        if save:
            ctx.save_for_backward(*inputs[:COUNT], *kept)
        conv_states, scan_states = zip(*final, strict=True)
        return y, join(conv_states), join(scan_states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_y, *grad_final = grad_outputs
        saved_tensors = list(ctx.saved_tensors)  # once: recomputation allows no second look
        arguments, kept = saved_tensors[:COUNT], saved_tensors[COUNT:]
        inputs = InnerInputs(*arguments, *ctx.rest)
        batch, length = inputs.xz.shape[:2]
        channels = inputs.A.shape[0]
        if grad_y is None:
            grad_y = inputs.xz.new_zeros(batch, length, channels)
        if grad_y.stride(-1) != 1:
            grad_y = grad_y.contiguous()
        grad_xz = torch.empty_like(inputs.xz)
        sums, grad_initial = Sums(), []
        with NoAutocast(real_device(grad_y).type):
            for row in reversed(cut(batch, length, channels, in_one=inputs.share is not None)):
                grad_states = rows_of(contiguous(grad_final), row[0].rows)
                for piece in reversed(row):
                    *states, saved = kept[-3:]
                    del kept[-3:]
                    part = of_piece(inputs, piece, piece.of(inputs.xz), tuple(states))
                    grad_states = backward(
                        part,
                        prepare(part, ctx.plan),
                        saved,
                        piece.of(grad_y),
                        grad_states,
                        piece.of(grad_xz),
                        sums,
                    )
                    grad_states = cross(grad_states, inputs.seq_idx, piece)
                grad_initial.append(grad_states)
        return (
            grad_xz,
            *sums.like(inputs, INNER),
            *initial_gradients(inputs, grad_initial),
            None,  # seq_idx
            None,  # projection_dtype
            None,  # share
        )


def contiguous(grads: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if grad is None else grad.contiguous() for grad in grads)


def initial_gradients(
    inputs: InnerInputs, grads: Sequence[tuple[Tensor | None, ...]]
) -> tuple[Tensor | None, ...]:
    """Of the states given, from those of the groups of rows, last group first."""
    conv_grads, scan_grads = (
        [part for part in parts if part is not None] for parts in zip(*reversed(grads), strict=True)
    )
    conv_state, scan_state = inputs.conv_state, inputs.scan_state
    if conv_state is not None and conv_state.numel() == 0:
        conv_grads = [conv_state]
    return (
        None if conv_state is None else join(conv_grads),
        None if scan_state is None else join(scan_grads),
    )


def kernel_inputs(inputs: InnerInputs) -> InnerInputs:
    """The inputs with the strides that the kernels expect; copies only what has others."""
    xz, scan_state = inputs.xz, inputs.scan_state
    return inputs._replace(
        xz=xz if xz.stride(-1) == 1 else xz.contiguous(),
        conv_weight=inputs.conv_weight.contiguous(),
        conv_state=None if inputs.conv_state is None else inputs.conv_state.contiguous(),
        scan_state=None if scan_state is None else scan_state.contiguous(),
    )


def mamba_inner_triton(inputs: InnerInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (y, conv_state, scan_state)."""
    with torch.cuda.device_of(inputs.xz):  # Triton launches on the current device
        return apply(TritonInner, kernel_inputs(inputs))

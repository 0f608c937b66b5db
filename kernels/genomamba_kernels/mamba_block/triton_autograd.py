"""A residual block, backend "triton": what autograd saves and restores, and the walk over pieces.

Saved are the stream, the parameters, and the states that enter each piece and each segment of its
scan. Backward computes a piece's norm, projections and convolution again, and the second of the
scan's two passes, and frees them before the next piece.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.ahead import real_device
from genomamba_kernels.applying import apply
from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.mamba_block.inputs import OuterInputs
from genomamba_kernels.mamba_inner.inputs import InnerInputs
from genomamba_kernels.mamba_inner.triton_autograd import (
    COUNT,
    contiguous,
    initial_gradients,
    kernel_inputs,
    of_piece,
)
from genomamba_kernels.mamba_inner.triton_pieces import Piece, cross, cut, join, rows_of
from genomamba_kernels.mamba_inner.triton_steps import (
    INNER,
    Sums,
    backward,
    pass_conv_state,
    prepare,
    product,
    run_scan,
)
from genomamba_kernels.rms_norm import triton_norm
from genomamba_kernels.selective_scan.plan_choice import choose_plan, recomputed
from genomamba_kernels.selective_scan.triton_plan import Plan

OUTER = ("norm_weight", "in_proj_weight", "in_proj_bias", "out_proj_weight", "out_proj_bias")


def entrance(outer: OuterInputs, piece: Piece) -> tuple[Tensor, Tensor]:
    """The piece's norm (positions, M), and xz (rows, steps, 2 D)."""
    dtype = outer.projection_dtype
    stream = piece.of(outer.stream)
    normed, _ = triton_norm.forward(stream, None, outer.norm_weight, outer.eps, dtype)
    flat = normed.flatten(0, 1)
    bias = outer.in_proj_bias
    xz = torch.nn.functional.linear(
        flat, outer.in_proj_weight.to(dtype), None if bias is None else bias.to(dtype)
    )
    return flat, xz.view(*stream.shape[:2], -1)


def leave(outer: OuterInputs, piece: Piece, y: Tensor, out: Tensor) -> None:
    """Writes the stream with the branch added."""
    dtype, bias = outer.projection_dtype, outer.out_proj_bias
    branch = torch.nn.functional.linear(
        y, outer.out_proj_weight.to(dtype), None if bias is None else bias.to(dtype)
    )
    torch.add(piece.of(outer.stream), branch, out=piece.of(out))


class TritonBlock(torch.autograd.Function):
    """(stream, conv_state, scan_state) of the fields of OuterInputs and InnerInputs."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        count = len(OuterInputs._fields)
        outer, inner = OuterInputs(*arguments[:count]), InnerInputs(*arguments[count:])
        batch, length = outer.stream.shape[:2]
        channels = inner.A.shape[0]
        plan = recomputed(choose_plan(outer.stream, inner.A.shape[1], outer.projection_dtype))
        ctx.plan = plan
        out = torch.empty_like(outer.stream)
        save = any(ctx.needs_input_grad)
        final, kept = [], []
        for row in cut(batch, length, channels, in_one=inner.share is not None):
            states = rows_of((inner.conv_state, inner.scan_state), row[0].rows)
            for piece in row:
                states = cross(states, inner.seq_idx, piece)
                part = of_piece(inner, piece, entrance(outer, piece)[1], states)
                part, conv_after = pass_conv_state(part)
                result = run_scan(
                    prepare(part, plan),
                    part.scan_state,
                    save=False,
                    share=part.share,
                    in_parts=not save,
                )
                if save:
                    kept += [part.conv_state, part.scan_state, result.entering]
                states = (conv_after, result.final_state)
                leave(outer, piece, result.y, out)
            final.append(states)
        ctx.set_materialize_grads(False)
        ctx.eps, ctx.rest = outer.eps, inner[COUNT:]
        if save:
            ctx.save_for_backward(*outer[:-2], *inner[:COUNT], *kept)
        conv_states, scan_states = zip(*final, strict=True)
        return out, join(conv_states), join(scan_states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad_out, *grad_final = grad_outputs
        count, dtype = len(OuterInputs._fields) - 2, ctx.rest[0]
        end = count + COUNT
        saved_tensors = list(ctx.saved_tensors)  # once: recomputation allows no second look
        outer = OuterInputs(*saved_tensors[:count], eps=ctx.eps, projection_dtype=dtype)
        inner = InnerInputs(*saved_tensors[count:end], *ctx.rest)
        kept = saved_tensors[end:]
        if grad_out is None:
            grad_out = torch.zeros_like(outer.stream)
        grad_out = grad_out.contiguous()
        grad_stream = torch.empty_like(outer.stream)
        sums, grad_initial = Sums(), []
        batch, length = outer.stream.shape[:2]
        pieces = cut(batch, length, inner.A.shape[0], in_one=inner.share is not None)
        with NoAutocast(real_device(grad_out).type):
            for row in reversed(pieces):
                grad_states = rows_of(contiguous(grad_final), row[0].rows)
                for piece in reversed(row):
                    *states, entering = kept[-3:]
                    del kept[-3:]
                    grad_states = backward_piece(
                        outer,
                        inner,
                        piece,
                        tuple(states),
                        entering,
                        piece.of(grad_out),
                        grad_states,
                        piece.of(grad_stream),
                        sums,
                        ctx.plan,
                    )
                    grad_states = cross(grad_states, inner.seq_idx, piece)
                grad_initial.append(grad_states)
        return (
            grad_stream,
            *sums.like(outer, OUTER),
            None,  # eps
            None,  # projection_dtype
            None,  # xz
            *sums.like(inner, INNER),
            *initial_gradients(inner, grad_initial),
            None,  # seq_idx
            None,  # projection_dtype
            None,  # share
        )


def backward_piece(
    outer: OuterInputs,
    inner: InnerInputs,
    piece: Piece,
    states: tuple[Tensor | None, ...],
    entering: Tensor | None,
    grad_out: Tensor,
    grad_states: tuple[Tensor | None, ...],
    grad_stream: Tensor,
    sums: Sums,
    plan: Plan,
) -> tuple[Tensor | None, ...]:
    """Writes grad_stream and adds to the sums; returns the gradients of the states before."""
    dtype = outer.projection_dtype
    normed, xz = entrance(outer, piece)
    part = of_piece(inner, piece, xz, states)
    prepared = prepare(part, plan)
    result = run_scan(prepared, part.scan_state, save=True, entering=entering)
    assert result.saved is not None

    grad_branch = grad_out.flatten(0, 1).to(dtype)
    sums.add(
        out_proj_weight=product(grad_branch.T, result.y.flatten(0, 1).to(dtype)),
        out_proj_bias=bias_gradient(outer.out_proj_bias, grad_branch),
    )
    saved = result.saved
    del result  # its y is not needed any more
    grad_y = (grad_branch @ outer.out_proj_weight.to(dtype)).view(*xz.shape[:2], -1)

    grad_xz = torch.empty_like(xz)
    grad_states = backward(part, prepared, saved, grad_y, grad_states, grad_xz, sums)
    del prepared, saved, part, xz, grad_y
    grad_xz = grad_xz.flatten(0, 1)
    sums.add(
        in_proj_weight=product(grad_xz.T, normed),
        in_proj_bias=bias_gradient(outer.in_proj_bias, grad_xz),
    )
    grad_normed = grad_xz @ outer.in_proj_weight.to(dtype)
    stream = piece.of(outer.stream)
    _, grad, grad_weight = triton_norm.backward(
        stream, outer.norm_weight, outer.eps, grad_normed.view_as(stream), grad_out, stream.dtype
    )
    grad_stream.copy_(grad)
    sums.add(norm_weight=grad_weight.float())
    return grad_states


def bias_gradient(bias: Tensor | None, grad: Tensor) -> Tensor | None:
    return None if bias is None else grad.sum(0, dtype=torch.float32)


def mamba_block_triton(outer: OuterInputs, inner: InnerInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (stream, conv_state, scan_state). `inner` lacks its xz."""
    outer = outer._replace(stream=outer.stream.contiguous())
    with torch.cuda.device_of(outer.stream):  # Triton launches on the current device
        arguments = (*outer, *kernel_inputs(inner))
        return apply(TritonBlock, arguments)

"""The next-token loss: what autograd saves and restores, and nothing else.

Saved are the inputs. With a vocabulary as small as DNA's the logits cost less to compute again
than the gradient of hidden costs to keep.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from genomamba_kernels.autocasting import NoAutocast
from genomamba_kernels.next_token_loss import chunked
from genomamba_kernels.next_token_loss.inputs import LossInputs


class FusedLoss(torch.autograd.Function):
    """(total, loss) of the fields of LossInputs, and the module that computes them."""

    @staticmethod
    def forward(ctx: Any, steps: ModuleType, *arguments: Any) -> tuple[Tensor, Tensor]:
        ctx.steps = steps
        ctx.save_for_backward(*arguments)
        total, loss = steps.forward(LossInputs(*arguments))
        ctx.mark_non_differentiable(loss)
        return total, loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs = LossInputs(*ctx.saved_tensors)
        with NoAutocast(inputs.hidden.device.type):
            grad_hidden, grad_weight = ctx.steps.backward(inputs, grad_outputs[0])
        return None, grad_hidden, grad_weight, None, None


def next_token_loss_fused(inputs: LossInputs, backend: str) -> tuple[Tensor, Tensor]:
    """Returns (total, loss); the backend is "torch" or "triton"."""
    steps = chunked
    if backend == "triton":
        # Not at the top: importing this package must not import Triton, which may be absent.
        from genomamba_kernels.next_token_loss import triton_loss as steps
    return FusedLoss.apply(steps, *inputs)

"""One token at a time: the recurrent form of the model (Gu & Dao 2023, section 3.5.2).

Letters: B rows, D d_inner, N d_state, K d_conv, R rank of the step size, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from genomamba.models.block import MambaBlock
from genomamba.models.mixer import MambaMixer
from genomamba.models.state import LayerState, MambaState
from genomamba.models.wholes import MambaForPretraining
from genomamba_kernels.mamba_step import conv_step, scan_step


class Step(Protocol):
    """A step of a model with a state of its own, which it changes in place."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the tokens that follow ``tokens``, integers of shape (B,)."""
        ...

    def tensors(self) -> list[Tensor]:
        """What a step changes."""
        ...


class Stepper:
    """Reads a token a row and gives the logits of the next; time and memory do not grow.

    The state is the stepper's own, at one address, and changed in place. A step asks nothing of
    the device and its shapes are constant, so that a CUDA graph can record it. Without gradients.

    Args:
        model: its weights are read at every step, except ``A_log``, of which A is kept.
        state: after what precedes the first token, of as many rows as there are sequences; it is
            copied. ``MambaState.zeros`` begins a sequence.
    """

    @torch.no_grad()
    def __init__(self, model: MambaForPretraining, state: MambaState) -> None:
        blocks = [cast(MambaBlock, layer) for layer in model.backbone.layers]
        if len(state.layers) != len(blocks):
            raise ValueError(f"state: expected {len(blocks)} layers, got {len(state.layers)}")
        self.model, self.blocks = model, blocks
        self.state = MambaState(
            tuple(LayerState(_copy(conv), _copy(_wide(scan))) for conv, scan in state.layers)
        )
        self._decays = [-torch.exp(_wide(block.mixer.A_log)) for block in blocks]

    def tensors(self) -> list[Tensor]:
        """What a step changes: the state."""
        return [tensor for layer in self.state.layers for tensor in layer]

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the tokens that follow ``tokens``, integers of shape (B,)."""
        backbone = self.model.backbone
        embedded = backbone.embedding(tokens)
        wide = backbone.config.residual_in_fp32
        branch, residual = _wide(embedded) if wide else embedded, None
        for block, state, decay in zip(self.blocks, self.state.layers, self._decays, strict=True):
            normed, residual = block.norm(branch, residual)
            branch = mixer_step(block.mixer, normed, state, decay)
        hidden, _ = backbone.norm_f(branch, residual)
        return self.model.head(hidden)


def mixer_step(mixer: MambaMixer, x: Tensor, state: LayerState, decay: Tensor) -> Tensor:
    """``MambaMixer.forward`` at one position; ``state`` moves on in place.

        h = exp(q A) h + q u B,  y = (C h + D u) silu(z)

    where u is the convolution's output and q = softplus(delta + bias) the step size.

    Args:
        mixer: the layer.
        x: (B, d_model).
        state: conv (B, K - 1, D) and scan (B, D, N).
        decay: A (D, N), negative, in at least float32.

    Returns:
        (B, d_model).
    """
    x, z = mixer.in_proj(x).chunk(2, dim=-1)
    weight, backend = mixer.conv1d.weight.squeeze(1), mixer.backend
    u = conv_step(x, state.conv, weight, mixer.conv1d.bias, backend=backend)
    rank, states = mixer.dt_proj.in_features, decay.shape[1]
    dt, B, C = mixer.x_proj(u).split((rank, states, states), dim=-1)
    delta = F.linear(dt, mixer.dt_proj.weight)
    y = scan_step(
        u, delta, decay, B, C, mixer.D, z, mixer.dt_proj.bias, state.scan, backend=backend
    )
    return mixer.out_proj(y)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _copy(x: Tensor) -> Tensor:
    return x.clone(memory_format=torch.contiguous_format)

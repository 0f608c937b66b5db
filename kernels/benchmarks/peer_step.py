"""The peer's recurrent step: what mamba-ssm's `Block` and `Mamba.step` run, with our weights.

Of its kernels and causal-conv1d's alone: `Mamba` itself needs its compiled selective scan, which a
step does not. As there, both states have the weights' type and A is computed at every step.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from genomamba.models import MambaForPretraining
from genomamba.models.block import MambaBlock
from genomamba.models.mixer import MambaMixer

try:
    from causal_conv1d import causal_conv1d_update
    from mamba_ssm.ops.triton.selective_state_update import selective_state_update
except ImportError:
    causal_conv1d_update = selective_state_update = None
try:
    from mamba_ssm.ops.triton.layer_norm import layer_norm_fn
except ImportError:
    layer_norm_fn = None  # ours, one kernel as well, stands in for it


class PeerStep:
    """Logits (B, V) of the tokens after ``tokens`` (B,); the state changes in place."""

    is_there = selective_state_update is not None
    own_norm = layer_norm_fn is not None

    def __init__(self, model: MambaForPretraining, batch: int) -> None:
        self.model = model
        self.blocks = [cast(MambaBlock, layer) for layer in model.backbone.layers]
        config, weight = model.config, self.blocks[0].mixer.dt_proj.weight
        self.states = [
            (
                weight.new_zeros(batch, config.d_inner, config.d_conv),
                weight.new_zeros(batch, config.d_inner, config.d_state),
            )
            for _ in self.blocks
        ]

    def tensors(self) -> list[Tensor]:
        """What a step changes."""
        return [tensor for state in self.states for tensor in state]

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        backbone = self.model.backbone
        hidden, residual = backbone.embedding(tokens), None
        for block, (conv, scan) in zip(self.blocks, self.states, strict=True):
            hidden, residual = self._norm(block.norm, hidden, residual)
            hidden = self._mixer(block.mixer, hidden, conv, scan)
        hidden, _ = self._norm(backbone.norm_f, hidden, residual)
        return self.model.head(hidden)

    def _norm(self, norm: Any, hidden: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        if layer_norm_fn is None:
            return norm(hidden if residual is not None else hidden.float(), residual)
        return layer_norm_fn(
            hidden,
            norm.weight,
            None,
            residual=residual,
            eps=norm.eps,
            prenorm=True,
            residual_in_fp32=True,
            is_rms_norm=True,
        )

    def _mixer(self, mixer: MambaMixer, hidden: Tensor, conv: Tensor, scan: Tensor) -> Tensor:
        assert causal_conv1d_update is not None
        assert selective_state_update is not None
        x, z = mixer.in_proj(hidden).chunk(2, dim=-1)
        weight = mixer.conv1d.weight.squeeze(1)
        x = causal_conv1d_update(x, conv, weight, mixer.conv1d.bias, "silu")
        rank, states = mixer.dt_proj.in_features, scan.shape[2]
        dt, B, C = mixer.x_proj(x).split((rank, states, states), dim=-1)
        dt = functional.linear(dt, mixer.dt_proj.weight)
        A, bias = -torch.exp(mixer.A_log.float()), mixer.dt_proj.bias
        y = selective_state_update(
            scan, x, dt, A, B, C, mixer.D, z=z, dt_bias=bias, dt_softplus=True
        )
        return mixer.out_proj(y)

"""The second half of a Transformer's block: two linear layers with GELU between them."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from genomamba.models.config import MambaConfig


class MLP(nn.Module):
    """d_model -> mlp_ratio d_model -> d_model, position by position.

    Shapes: x (B, L, d_model) -> (B, L, d_model).
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        width = config.mlp_ratio * config.d_model
        self.in_proj = nn.Linear(config.d_model, width, bias=config.bias)
        self.out_proj = nn.Linear(width, config.d_model, bias=config.bias)
        self.out_proj.weight.data.div_(math.sqrt(2 * config.n_layer))  # as the mixer's

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(functional.gelu(self.in_proj(x)))

"""A residual block: ``x + mixer(norm(x))``."""

from __future__ import annotations

from torch import Tensor, nn

from genomamba.models.config import MambaConfig
from genomamba.models.mixer import MambaMixer
from genomamba.models.norm import RMSNorm
from genomamba.models.state import LayerState


class MambaBlock(nn.Module):
    """Pre-norm residual block. The sum keeps the residual stream's wider type."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_epsilon)
        self.mixer = MambaMixer(config)

    def forward(
        self, residual: Tensor, state: LayerState | None = None, seq_idx: Tensor | None = None
    ) -> tuple[Tensor, LayerState]:
        """Shapes and arguments as ``MambaMixer.forward``."""
        mixed, after = self.mixer(self.norm(residual), state, seq_idx)
        return residual + mixed, after

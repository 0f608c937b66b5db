"""A residual block: ``s + mixer(norm(s))``."""

from __future__ import annotations

from torch import Tensor, nn

from genomamba.models.config import MambaConfig
from genomamba.models.mixer import MambaMixer
from genomamba.models.norm import RMSNorm
from genomamba.models.state import LayerState
from genomamba_kernels import Share


class MambaBlock(nn.Module):
    """Pre-norm residual block.

    The branch's output and the stream leave it apart, so that the next norm adds them: the sum
    then costs no pass of its own over memory.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_epsilon, config.backend)
        self.mixer = MambaMixer(config)

    def forward(
        self,
        branch: Tensor,
        residual: Tensor | None = None,
        state: LayerState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, Tensor, LayerState]:
        """One block.

        Args:
            branch: (B, L, d_model) the previous block's branch; without a residual, the stream.
            residual: (B, L, d_model) the stream before that branch joins it.
            state: as in ``MambaMixer.forward``.
            seq_idx: likewise.
            share: likewise.

        Returns:
            this block's branch, the stream that it is still to join, and the state.
        """
        normed, stream = self.norm(branch, residual)
        mixed, after = self.mixer(normed, state, seq_idx, share)
        return mixed, stream, after

    def recomputed(
        self,
        stream: Tensor,
        state: LayerState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, LayerState]:
        """The block from stream to stream, of which the backward pass keeps nothing else."""
        return self.mixer.recomputed_block(stream, self.norm, state, seq_idx, share)

"""A residual block: ``s + mixer(norm(s))``, and of a Transformer or Hyena an MLP likewise."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from genomamba.models.attention import AttentionMixer
from genomamba.models.config import MambaConfig
from genomamba.models.hyena import HyenaMixer
from genomamba.models.mixer import MambaMixer, S4DMixer
from genomamba.models.mlp import MLP
from genomamba.models.norm import RMSNorm
from genomamba.models.recompute import recomputed
from genomamba.models.state import AnyState, LayerState
from genomamba_kernels import Share

MIXERS = {"mamba": MambaMixer, "s4d": S4DMixer, "attention": AttentionMixer, "hyena": HyenaMixer}
WITH_MLP = ("attention", "hyena")


class MambaBlock(nn.Module):
    """Pre-norm residual block around the mixer that ``config.mixer`` names.

    The branch's output and the stream leave it apart, so that the next norm adds them: the sum
    then costs no pass of its own over memory.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_epsilon, config.backend)
        self.mixer: Any = MIXERS[config.mixer](config)
        self.mlp: MLP | None = None
        if config.mixer in WITH_MLP:
            self.mlp_norm = RMSNorm(config.d_model, config.norm_epsilon, config.backend)
            self.mlp = MLP(config)

    def forward(
        self,
        branch: Tensor,
        residual: Tensor | None = None,
        state: AnyState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, Tensor, AnyState]:
        """One block.

        Args:
            branch: (B, L, d_model) the previous block's branch; without a residual, the stream.
            residual: (B, L, d_model) the stream before that branch joins it.
            state: as in the mixer's ``forward``.
            seq_idx: likewise.
            share: likewise.

        Returns:
            this block's branch, the stream that it is still to join, and the state.
        """
        normed, stream = self.norm(branch, residual)
        mixed, after = self.mixer(normed, state, seq_idx, share)
        return *self.after_mixer(mixed, stream), after

    def after_mixer(self, mixed: Tensor, stream: Tensor) -> tuple[Tensor, Tensor]:
        """The block's branch and the stream from the mixer's output and the stream before it."""
        if self.mlp is None:
            return mixed, stream
        normed, stream = self.mlp_norm(mixed, stream)
        return self.mlp(normed), stream

    def recomputed(
        self,
        stream: Tensor,
        state: AnyState | None = None,
        seq_idx: Tensor | None = None,
        share: Share | None = None,
    ) -> tuple[Tensor, AnyState]:
        """The block from stream to stream, of which the backward pass keeps nothing else."""
        if isinstance(self.mixer, MambaMixer):
            assert state is None or isinstance(state, LayerState)
            return self.mixer.recomputed_block(stream, self.norm, state, seq_idx, share)
        assert share is None
        return recomputed(self._whole, stream, state, seq_idx)

    def _whole(
        self, stream: Tensor, state: AnyState | None, seq_idx: Tensor | None
    ) -> tuple[Tensor, AnyState]:
        branch, stream, after = self(stream, None, state, seq_idx)
        return (stream + branch).to(stream.dtype), after

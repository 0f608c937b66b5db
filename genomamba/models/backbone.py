"""The backbone: tokens in, hidden vectors out, state in and out."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn

from genomamba.models.block import MambaBlock
from genomamba.models.config import MambaConfig
from genomamba.models.norm import RMSNorm
from genomamba.models.state import MambaState

EMBEDDING_STD = 0.02  # mamba-ssm's and GPT-2's


class MambaBackbone(nn.Module):
    """Embedding, ``n_layer`` Mamba blocks, final norm.

    Causal: position t depends on tokens 0..t. Forward in pieces, each started with the state that
    the previous one returned, equals the pass over the whole.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.layers = nn.ModuleList(MambaBlock(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.d_model, config.norm_epsilon)

    @overload
    def forward(
        self,
        tokens: Tensor,
        *,
        state: MambaState | None = None,
        return_state: Literal[False] = False,
        seq_idx: Tensor | None = None,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        tokens: Tensor,
        *,
        state: MambaState | None = None,
        return_state: Literal[True],
        seq_idx: Tensor | None = None,
    ) -> tuple[Tensor, MambaState]: ...

    def forward(
        self,
        tokens: Tensor,
        *,
        state: MambaState | None = None,
        return_state: bool = False,
        seq_idx: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, MambaState]:
        """Hidden vectors of tokens.

        Args:
            tokens: (B, L) of any integer type, values in [0, vocab_size).
            state: with which to start; None is the state before the first position.
            return_state: also return the state after the last position.
            seq_idx: (B, L) int32, non-decreasing: marks sequences packed into one row. Each starts
                from zero; ``state`` belongs to the first and the returned one to the last.

        Returns:
            hidden (B, L, d_model), after the final norm; with ``return_state`` also the state.

        Raises:
            ValueError: tokens is not (B, L) integers, or the state has another number of layers.
        """
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(
                f"tokens: expected integers of shape (B, L), "
                f"got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        if state is not None and len(state.layers) != len(self.layers):
            raise ValueError(f"state: expected {len(self.layers)} layers, got {len(state.layers)}")
        residual = self.embedding(tokens.int())
        if self.config.residual_in_fp32:
            residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
        states = []
        for i, layer in enumerate(self.layers):
            residual, layer_state = layer(residual, state.layers[i] if state else None, seq_idx)
            states.append(layer_state)
        hidden = self.norm_f(residual)
        return (hidden, MambaState(tuple(states))) if return_state else hidden

"""The backbone: tokens in, hidden vectors out, state in and out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Literal, overload

import torch
from torch import Tensor, nn

from genomamba.models.block import MambaBlock
from genomamba.models.config import MambaConfig
from genomamba.models.norm import RMSNorm, autocast_dtype
from genomamba.models.recompute import recomputed
from genomamba.models.state import LayerState, MambaState

EMBEDDING_STD = 0.02  # mamba-ssm's and GPT-2's


class MambaBackbone(nn.Module):
    """Embedding, ``n_layer`` Mamba blocks, final norm.

    Causal: position t depends on tokens 0..t. Forward in pieces, each started with the state that
    the previous one returned, equals the pass over the whole.

    ``config.recompute`` bounds what is kept for the backward pass, in units of B L d_model elements
    of the residual stream (4 bytes each with ``residual_in_fp32``, else the type's):

    - "none": everything that the operators save, in every block;
    - "block": the stream before every block, n_layer units, and one block's "none" while its
      gradients are computed;
    - "group:n": the stream before every n-th block, n_layer / n units, and n blocks' "none".

    The gradients are the same. What it costs is a second forward pass.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        self.layers = nn.ModuleList(MambaBlock(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.d_model, config.norm_epsilon, config.backend)

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
        hidden, after = self._run(tokens, state, seq_idx)
        return (hidden, after) if return_state else hidden

    def _run(
        self, tokens: Tensor, state: MambaState | None, seq_idx: Tensor | None
    ) -> tuple[Tensor, MambaState]:
        branch, residual = self.embedding(tokens.int()).to(self._stream_dtype()), None
        group = self.config.recompute_group
        after: list[LayerState] = []
        for first in range(0, len(self.layers), group or len(self.layers)):
            if residual is not None:  # only the sum is kept between groups
                branch, residual = (branch + residual).to(residual.dtype), None
            before = None if state is None else state.layers[first:]
            if group is None:
                branch, residual, states = self._group(first, branch, before, seq_idx)
            else:
                branch, residual, states = recomputed(self._group, first, branch, before, seq_idx)
            after += states
        hidden, _ = self.norm_f(branch, residual)
        return hidden, MambaState(tuple(after))

    def _group(
        self,
        first: int,
        stream: Tensor,
        before: Sequence[LayerState] | None,
        seq_idx: Tensor | None,
    ) -> tuple[Tensor, Tensor, list[LayerState]]:
        """The blocks of one group: the last one's branch, the stream it is to join, the states."""
        branch, residual, after = stream, None, []
        end = first + (self.config.recompute_group or len(self.layers))
        for i, layer in enumerate(islice(self.layers, first, end)):
            state = None if before is None else before[i]
            branch, residual, state = layer(branch, residual, state, seq_idx)
            after.append(state)
        assert residual is not None
        return branch, residual, after

    def _stream_dtype(self) -> torch.dtype:
        dtype = autocast_dtype(self.embedding.weight)
        return torch.promote_types(dtype, torch.float32) if self.config.residual_in_fp32 else dtype

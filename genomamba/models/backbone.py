"""The backbone: tokens in, hidden vectors out, state in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Literal, TypeVar, overload

import torch
from torch import Tensor, nn

from genomamba.models.block import MambaBlock
from genomamba.models.config import MambaConfig
from genomamba.models.norm import RMSNorm, autocast_dtype
from genomamba.models.recompute import casting_weights_anew, recomputed
from genomamba.models.state import LayerState, MambaState

T = TypeVar("T")
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

    With ``config.segment_length`` = S the model works on S positions at a time. Between the forward
    and the backward pass it keeps the tokens (a byte a position if they are uint8, on the CPU if
    they are given there) and, for each of the L / S segments, the state at its border: n_layer
    d_inner (4 d_state + e (d_conv - 1)) bytes a row, e the type's. The backward pass computes one
    segment again at a time, last first, and carries the state's gradient back: the gradients are
    exact, and activations take what a sequence of length S would, whatever L (``recompute`` then
    counts within a segment). What ``forward`` returns is B L d_model all the same:
    ``map_segments`` reduces each segment's hidden vectors where they are made.
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
        parts = []
        for part, after in self.map_segments(tokens, _hidden, state=state, seq_idx=seq_idx):
            parts.append(part)
            state = after
        assert state is not None
        hidden = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return (hidden, state) if return_state else hidden

    def map_segments(
        self,
        tokens: Tensor,
        function: Callable[[Tensor, slice], T],
        *,
        state: MambaState | None = None,
        seq_idx: Tensor | None = None,
    ) -> Iterator[tuple[T, MambaState]]:
        """Applies a function to the hidden vectors of one segment after another.

        Args:
            tokens: (B, L) as in ``forward``; like seq_idx on any device.
            function: of hidden (B, l, d_model) and the positions it stands for. Where gradients
                are recorded it is called again in the backward pass: what it returns must depend on
                nothing that changes in between, and only that outlives the segment.
            state: as in ``forward``.
            seq_idx: as in ``forward``.

        Yields:
            for each segment, in order, what the function returned, and the state after it.

        Raises:
            ValueError: as ``forward``.
        """
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(
                f"tokens: expected integers of shape (B, L), "
                f"got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        if state is not None and len(state.layers) != len(self.layers):
            raise ValueError(f"state: expected {len(self.layers)} layers, got {len(state.layers)}")
        length = tokens.shape[1]
        step = self.config.segment_length or length
        for start in range(0, max(length, 1), max(step, 1)):
            at = slice(start, min(start + step, length))
            arguments = (tokens, at, state, seq_idx, function)
            if step < length:
                result, state = recomputed(self._segment, *arguments)
            else:
                result, state = self._segment(*arguments)
            yield result, state

    def _segment(
        self,
        tokens: Tensor,
        at: slice,
        state: MambaState | None,
        seq_idx: Tensor | None,
        function: Callable[[Tensor, slice], T],
    ) -> tuple[T, MambaState]:
        device = self.embedding.weight.device
        with casting_weights_anew(device.type) if self.config.segment_length else nullcontext():
            if seq_idx is not None:
                if state is not None and at.start > 0:  # a sequence may end with a segment
                    goes_on = seq_idx[:, at.start - 1] == seq_idx[:, at.start]
                    state = state.keep(goes_on.to(device))
                seq_idx = seq_idx[:, at].to(device, non_blocking=True).contiguous()
            piece = tokens[:, at].to(device, non_blocking=True)
            hidden, after = self._run(piece, state, seq_idx)
            return function(hidden, at), after

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


def _hidden(hidden: Tensor, _: slice) -> Tensor:
    return hidden

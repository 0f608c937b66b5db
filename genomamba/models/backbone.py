"""The backbone: tokens in, hidden vectors out, state in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from genomamba.models.block import MambaBlock
from genomamba.models.config import MambaConfig
from genomamba.models.norm import RMSNorm, autocast_dtype
from genomamba.models.recompute import casting_weights_anew, recomputed
from genomamba.models.sequence_parallel import share_of
from genomamba.models.state import AnyState, MambaState
from genomamba_kernels import STATE_GRID, Share

T = TypeVar("T")
PIECE = 2**25  # numbers of the residual stream: 2^18 positions of 128
EMBEDDING_STD = 0.02  # mamba-ssm's and GPT-2's


def grid_segment(positions: int) -> int:
    """The segments that a model works in if it may hold so many positions: multiples of
    `STATE_GRID` unless they are shorter, so that the result does not depend on them."""
    return positions // STATE_GRID * STATE_GRID or positions


class MambaBackbone(nn.Module):
    """Embedding, ``n_layer`` Mamba blocks, final norm.

    Causal: position t depends on tokens 0..t. Forward in pieces, each started with the state that
    the previous one returned, equals the pass over the whole.

    ``config.recompute`` bounds what is kept for the backward pass, in units of the residual stream:
    B L d_model numbers of 4 bytes with ``residual_in_fp32``, else of the type's.

    - "none": everything that the operators save, in every block;
    - "block": the stream before and after every block, n_layer + 1 units;
    - "group:n", n > 1: the stream before every n-th block but the first, n_layer / n - 1 units.

    Each group of blocks is worked on in equal pieces of at most ``PIECE`` numbers of the stream (or
    one position), with the state carried from one to the next. In the backward pass a piece's
    group is computed again, and what "none" would keep for these n blocks and this piece is held
    until their gradients are done; likewise the final norm and the head. So the blocks run
    forward twice, whatever n; n balances what is kept against what is held for a moment. A single
    block is ``genomamba_kernels.mamba_block``, which computes less again: the fastest of them.

    With ``config.segment_length`` = S all the blocks work on S positions at a time, on as many
    whole `STATE_GRID` as S holds: without gradients the hidden vectors of a long sequence on a GPU
    are then the same for all S, bit for bit, as far as the matrix products are. Between the
    forward and the backward pass the model keeps the tokens (a byte a position if they are uint8,
    on the CPU if they are given there) and, for each of the L / S segments, the state at its
    border: n_layer d_inner (4 d_state + e (d_conv - 1)) bytes a row, e the type's. The backward
    pass computes one segment again at a time, last first, and carries the state's gradient back:
    the gradients are exact, and activations take what a sequence of length S would, whatever L
    (``recompute`` then counts within a segment, and its blocks run forward three times). What
    ``forward`` returns is B L d_model all the same: ``map_segments`` reduces the hidden vectors
    where they are made.

    With ``sequence_group`` set, a group of P processes with the same weights shares every sequence
    out: see ``genomamba.models.sequence_parallel``. All are given all tokens and the same state;
    hidden vectors are of a rank's own positions, and states those after the last rank's. S then
    bounds the positions of a rank: the group works on at most P S at a time. Without S a rank's
    positions are contiguous, and recomputed in one piece.

    With another ``config.mixer`` not all of this is there, see ``ABILITIES`` in its module: what is
    not, is refused.
    """

    sequence_group: ProcessGroup | None = None

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
            With a ``sequence_group``, of this rank's positions.

        Raises:
            ValueError: tokens is not (B, L) integers, the state has another number of layers, the
                mixer cannot do what is asked for, or there are too few tokens for the
                ``sequence_group``.
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
        """Applies a function to the hidden vectors of one stretch of positions after another.

        A stretch is a segment, a piece that is recomputed, or all positions: see the class.

        Args:
            tokens: (B, L) as in ``forward``; like seq_idx on any device.
            function: of hidden (B, l, d_model) and the positions it stands for. Where gradients
                are recorded it may be called again in the backward pass: what it returns must
                depend on nothing that changes in between, and only that outlives the stretch.
            state: as in ``forward``.
            seq_idx: as in ``forward``.

        Yields:
            for each stretch, in order, what the function returned, and the state after it.

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
        self._check_able(state, seq_idx)
        length = tokens.shape[1]
        limit = self.config.segment_length
        segment = length if limit is None else grid_segment(limit)
        if self.sequence_group is not None:  # equal ones, so that the last is not too short
            count = math.ceil(length / (segment * self.sequence_group.size()))
            segment = math.ceil(length / count)
        if segment >= length:
            yield from self._run(tokens, self._pieces(tokens), state, seq_idx, function)
            return
        if state is None and not torch.is_grad_enabled():
            state = self.initial_state(len(tokens))
        for start in range(0, length, segment):
            at = self._own(slice(start, min(start + segment, length)))
            [(result, state)] = recomputed(self._run, tokens, [at], state, seq_idx, function)
            yield result, state

    def initial_state(self, batch: int) -> MambaState:
        """The state before the first position. A pass that starts with it, instead of with none, is
        cut like the later parts of a longer row (``genomamba_kernels.STATE_GRID``)."""
        weight = self.embedding.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return MambaState.zeros(self.config, batch, weight.device, dtype)

    def _check_able(self, state: MambaState | None, seq_idx: Tensor | None) -> None:
        """That the mixer can do what it is asked for."""
        config = self.config
        resumable = config.can("state") or config.can("steps")
        for asked, able, what in (
            (state is not None, resumable, "state: expected none"),
            (seq_idx is not None, config.can("packing"), "seq_idx: expected one sequence a row"),
            (
                self.sequence_group is not None,
                config.can("shares"),
                "sequence_group: expected none",
            ),
        ):
            if asked and not able:
                raise ValueError(f"{what} with mixer {config.mixer!r}, got one")

    def _pieces(self, tokens: Tensor) -> list[slice]:
        """The positions that are computed again together: equal parts of the length."""
        batch, length = tokens.shape
        if self.config.recompute_group is None or not torch.is_grad_enabled():
            return [self._own(slice(0, length))]
        if self.sequence_group is not None:
            return [self._own(slice(0, length))]
        if not self.config.can("state"):
            return [slice(0, length)]
        longest = max(1, PIECE // (batch * self.config.d_model))
        step = math.ceil(length / math.ceil(length / longest))
        return [slice(start, min(start + step, length)) for start in range(0, length, step)]

    def _own(self, stretch: slice) -> slice:
        """The positions of a stretch that this process works on."""
        if self.sequence_group is None:
            return stretch
        return share_of(stretch, self.sequence_group, least=max(1, self.config.d_conv - 1))

    def _run(
        self,
        tokens: Tensor,
        pieces: list[slice],
        state: MambaState | None,
        seq_idx: Tensor | None,
        function: Callable[[Tensor, slice], T],
    ) -> list[tuple[T, MambaState]]:
        """Group after group of the blocks, each piece after piece along the length.

        The state is that before the first piece. Returns each piece's result and state after it.
        """
        whole = len(pieces) == 1 and pieces[0] == slice(0, tokens.shape[1])
        device = self.embedding.weight.device
        results: list[Any] = [_part(tokens, at, device) for at in pieces]
        owners = [_part(seq_idx, at, device) for at in pieces]
        after: list[list[AnyState]] = [[] for _ in pieces]
        group = self.config.recompute_group
        with nullcontext() if whole else casting_weights_anew(device.type):
            for first in range(0, len(self.layers), group or len(self.layers)):
                last = first + (group or len(self.layers))
                blocks = slice(first, last)
                before = None if state is None else MambaState(state.layers[blocks])
                for i, at in enumerate(pieces):
                    goes_on, share = None, None
                    if seq_idx is not None and at.start > 0:
                        # A sequence may end where a piece does.
                        goes_on = (seq_idx[:, at.start - 1] == seq_idx[:, at.start]).to(device)
                    if self.sequence_group is not None:
                        share = Share(self.sequence_group, goes_on)
                    elif before is not None and goes_on is not None:
                        before = before.keep(goes_on)
                    arguments = (blocks, results[i], before, owners[i], share, function, at)
                    if group is None:
                        results[i], before = self._cell(*arguments)
                    elif group == 1:
                        results[i], before = self._recomputed_block(*arguments)
                    else:
                        results[i], before = recomputed(self._cell, *arguments)
                    after[i] += before.layers
        return [(r, MambaState(tuple(a))) for r, a in zip(results, after, strict=True)]

    def _cell(
        self,
        blocks: slice,
        source: Tensor,
        before: MambaState | None,
        seq_idx: Tensor | None,
        share: Share | None,
        function: Callable[[Tensor, slice], T],
        at: slice,
    ) -> tuple[Tensor | T, MambaState]:
        """Some blocks over some positions: from the tokens if these are the first blocks, else from
        the stream; to the function's result if they are the last, else to the stream."""
        branch, residual = self._entrance(blocks, source), None
        after = []
        for i, layer in enumerate(islice(self.layers, blocks.start, blocks.stop)):
            state = None if before is None else before.layers[i]
            branch, residual, state = layer(branch, residual, state, seq_idx, share)
            after.append(state)
        assert residual is not None
        if blocks.stop >= len(self.layers):
            return self._exit(branch, residual, function, at), MambaState(tuple(after))
        return (branch + residual).to(residual.dtype), MambaState(tuple(after))

    def _recomputed_block(
        self,
        blocks: slice,
        source: Tensor,
        before: MambaState | None,
        seq_idx: Tensor | None,
        share: Share | None,
        function: Callable[[Tensor, slice], T],
        at: slice,
    ) -> tuple[Tensor | T, MambaState]:
        """``_cell`` of a single block, by the operator that recomputes one."""
        stream, layer = self._entrance(blocks, source), self.layers[blocks.start]
        assert isinstance(layer, MambaBlock)
        stream, after = layer.recomputed(stream, before and before.layers[0], seq_idx, share)
        if blocks.stop < len(self.layers):
            return stream, MambaState((after,))
        return recomputed(self._exit, stream, None, function, at), MambaState((after,))

    def _entrance(self, blocks: slice, source: Tensor) -> Tensor:
        if blocks.start > 0:
            return source
        return self.embedding(source.int()).to(self._stream_dtype())

    def _exit(
        self,
        branch: Tensor,
        residual: Tensor | None,
        function: Callable[[Tensor, slice], T],
        at: slice,
    ) -> T:
        hidden, _ = self.norm_f(branch, residual)
        return function(hidden, at)

    def _stream_dtype(self) -> torch.dtype:
        dtype = autocast_dtype(self.embedding.weight)
        return torch.promote_types(dtype, torch.float32) if self.config.residual_in_fp32 else dtype


def _hidden(hidden: Tensor, _: slice) -> Tensor:
    return hidden


@overload
def _part(x: Tensor, at: slice, device: torch.device) -> Tensor: ...


@overload
def _part(x: Tensor | None, at: slice, device: torch.device) -> Tensor | None: ...


def _part(x: Tensor | None, at: slice, device: torch.device) -> Tensor | None:
    """The positions `at` of tokens or seq_idx (B, L), where the model is."""
    return None if x is None else x[:, at].to(device, non_blocking=True).contiguous()

"""Whole models: a backbone and a head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn

from genomamba.models.backbone import MambaBackbone
from genomamba.models.config import MambaConfig
from genomamba.models.heads import EXPANSION, ClassificationHead, NextTokenHead, Pooling
from genomamba.models.prediction_errors import ErrorSums
from genomamba.models.sequence_parallel import sum_over_ranks
from genomamba.models.state import MambaState
from genomamba_kernels import next_token_loss

Adding = Callable[..., Tensor]  # (hidden, tokens, seq_idx=None) -> (P, features)


class MambaForPretraining(nn.Module):
    """Next-token prediction."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = MambaBackbone(config)
        self.head = NextTokenHead(config, self.backbone.embedding)

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
        """Logits (B, L, vocab_size); those at position t predict token t + 1.

        Of all positions, or of this rank's where a ``sequence_group`` shares them out. Arguments
        as ``MambaBackbone.forward``; with ``return_state`` also the state.
        """
        hidden, final_state = self.backbone(tokens, state=state, return_state=True, seq_idx=seq_idx)
        logits = self.head(hidden)
        return (logits, final_state) if return_state else logits

    def loss(
        self,
        tokens: Tensor,
        importance: Tensor | None = None,
        *,
        seq_idx: Tensor | None = None,
        observe: Callable[[slice, Tensor], None] | None = None,
    ) -> Tensor:
        """Weighted mean cross-entropy, in nats, of each token given those before it.

        A sequence's first token has nothing before it and is no target. No logits are held, and
        with ``config.segment_length`` no hidden vectors of more than a segment either.

        Args:
            tokens: (B, L) integers in [0, vocab_size) of any type, on any device.
            importance: (B, L) of any type, bool included, of each token as a target; 1 if absent.
            seq_idx: (B, L) int32, non-decreasing, where rows hold several packed sequences.
            observe: called for stretch after stretch with the positions of its targets and their
                unweighted losses (B, l), for metrics; without gradient. Of this rank's positions
                where a ``sequence_group`` shares them out.

        Returns:
            A scalar; 0, with zero gradients, if no target has weight. The same on all ranks of a
            ``sequence_group``; the gradient is then the mean of theirs.

        Raises:
            ValueError: as ``MambaBackbone.forward``, or importance has another shape than tokens.
        """
        if importance is not None and importance.shape != tokens.shape:
            raise ValueError(
                f"importance: expected the tokens' shape {tuple(tokens.shape)}, "
                f"got {tuple(importance.shape)}"
            )

        def part(hidden: Tensor, at: slice) -> tuple[Tensor, Tensor, slice, Tensor]:
            ahead = slice(at.start + 1, at.stop + 1)  # ends with the row, one earlier than hidden
            targets = tokens[:, ahead].to(hidden.device, non_blocking=True)
            if importance is None:
                weight = torch.ones_like(targets, dtype=torch.bool)
            else:
                weight = importance[:, ahead].to(hidden.device, non_blocking=True)
            if seq_idx is not None:
                here = seq_idx[:, at.start : at.start + targets.shape[1]]
                weight = weight * (seq_idx[:, ahead] == here).to(hidden.device)
            total, losses = next_token_loss(
                hidden, self.head.rows(), targets, weight, backend=self.config.backend
            )
            ahead = slice(ahead.start, ahead.start + targets.shape[1])
            return total, weight.sum(dtype=total.dtype), ahead, losses

        totals, weights = [], []
        for (total, weight, ahead, losses), _ in self.backbone.map_segments(
            tokens, part, seq_idx=seq_idx
        ):
            totals.append(total)
            weights.append(weight)
            if observe is not None:
                observe(ahead, losses)
        sums = torch.stack([torch.stack(totals).sum(), torch.stack(weights).sum()])
        total, weight = sum_over_ranks(sums, self.backbone.sequence_group)
        return total / torch.where(weight > 0, weight, 1.0)


class MambaForClassification(nn.Module):
    """Sequence classification; arguments as ``ClassificationHead``'s."""

    def __init__(
        self,
        config: MambaConfig,
        n_classes: int,
        pooling: Pooling = "mean",
        lengths: Sequence[int] = (),
        expansion: int = EXPANSION,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = MambaBackbone(config)
        self.head = ClassificationHead(config, n_classes, pooling, lengths, expansion)

    def forward(self, tokens: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """Logits of each sequence.

        Args:
            tokens: (B, L) integers in [0, vocab_size).
            seq_idx: (B, L) int32, non-decreasing, where rows hold several packed sequences.

        Returns:
            (number of sequences, n_classes), row after row and in order along each row. All of them
            on all ranks of a ``sequence_group``.
        """
        parts = self.parts(tokens, seq_idx)
        return self.head.classify(parts, tokens.shape, seq_idx, self.backbone.sequence_group)

    def parts(self, tokens: Tensor, seq_idx: Tensor | None = None) -> list[tuple[slice, Tensor]]:
        """Positions of each stretch and what it adds to the sequences' vectors, for ``join``.

        Arguments as ``forward``.

        Raises:
            ValueError: pooling "errors" with a ``sequence_group``, whose ranks do not know what
                comes before their positions.
        """
        part = self.adding()

        def at_positions(hidden: Tensor, at: slice) -> tuple[slice, Tensor]:
            owners = None if seq_idx is None else seq_idx[:, at]
            return at, part(hidden, tokens[:, at], owners)

        stretches = self.backbone.map_segments(tokens, at_positions, seq_idx=seq_idx)
        return [found for found, _ in stretches]

    def adding(self, before: Adding | None = None) -> Adding:
        """What turns a stretch's hidden vectors, tokens and seq_idx into what it adds to ``join``.

        Args:
            before: what this returned for the stretches before, where rows go on in another call;
                it is not changed.

        Raises:
            ValueError: as ``parts``.
        """
        if self.head.pooling != "errors":
            return self._gated
        if self.backbone.sequence_group is not None:
            raise ValueError('sequence_group: expected none with pooling "errors", got one')
        rows = self.backbone.embedding.weight[: self.config.vocab_size]
        last = before.last if isinstance(before, ErrorSums) else None
        return ErrorSums(rows, self.head.features, last)

    def _gated(self, hidden: Tensor, _: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        return self.head.part(hidden, seq_idx)

    def readouts(self, tokens: Tensor, restart: int) -> dict[int, Tensor]:
        """Logits of all pieces of the rungs' lengths that divide L, from ``restart``, in one pass.

        The model restarts at every ``restart`` bases, and a longer piece is judged by the mean over
        its restarted parts. So a batch of long windows teaches the judgement of short ones too,
        each from its own beginning, at no more work.

        Args:
            tokens: (B, L) integers in [0, vocab_size).
            restart: one of the head's ``lengths``; divides L.

        Returns:
            For each length l: (B L / l, n_classes), window after window and in order along each.
        """
        length = tokens.shape[1]
        rows = tokens.reshape(-1, restart)
        stretches = self.backbone.map_segments(rows, lambda hidden, _: self.head.part(hidden))
        parts = [found for found, _ in stretches]
        means = torch.stack(parts).sum(0) / restart
        found = {}
        for rung, at in enumerate(self.head.lengths):
            if at >= restart and length % at == 0:
                pooled = means.unflatten(0, (-1, at // restart)).mean(1)
                found[at] = self.head.readout(pooled, rung)
        return found

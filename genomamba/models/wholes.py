"""Whole models: a backbone and a head."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor, nn

from genomamba.models.backbone import MambaBackbone
from genomamba.models.config import MambaConfig
from genomamba.models.heads import ClassificationHead, NextTokenHead, Pooling
from genomamba.models.state import MambaState


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

        Arguments as ``MambaBackbone.forward``; with ``return_state`` also the state.
        """
        hidden, final_state = self.backbone(tokens, state=state, return_state=True, seq_idx=seq_idx)
        logits = self.head(hidden)
        return (logits, final_state) if return_state else logits


class MambaForClassification(nn.Module):
    """Sequence classification."""

    def __init__(self, config: MambaConfig, n_classes: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.config = config
        self.backbone = MambaBackbone(config)
        self.head = ClassificationHead(config, n_classes, pooling)

    def forward(self, tokens: Tensor, seq_idx: Tensor | None = None) -> Tensor:
        """Logits of each sequence.

        Args:
            tokens: (B, L) integers in [0, vocab_size).
            seq_idx: (B, L) int32, non-decreasing, where rows hold several packed sequences.

        Returns:
            (number of sequences, n_classes), row after row and in order along each row.
        """
        return self.head(self.backbone(tokens, seq_idx=seq_idx), seq_idx)

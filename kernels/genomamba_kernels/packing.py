"""Packed rows: several sequences one after another in a row, numbered by seq_idx (B, L)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sequence_starts(seq_idx: Tensor) -> Tensor:
    """(B, L) bool: where a sequence begins inside a row; a row's first position is not marked,
    because the initial state belongs to its first sequence."""
    return F.pad(seq_idx[:, 1:] != seq_idx[:, :-1], (1, 0))


def window_owners(seq_idx: Tensor, past: int) -> Tensor:
    """(B, past + L): the sequence that each position of a row belongs to, with `past` positions of
    initial state before it, which belong to the row's first sequence."""
    return torch.cat([seq_idx[:, :1].expand(-1, past), seq_idx], dim=1)

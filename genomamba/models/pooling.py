"""One vector a sequence: pooling over the length, part by part where a sequence is cut.

Letters: B rows, L length, F features, S packed sequences in all, P parts: the stretches, row after
row, that lie in one sequence; of whole rows, P = S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "last"]


def sums(features: Tensor, seq_idx: Tensor | None) -> Tensor:
    """Each part's sum, in at least float32: (B, L, F) -> (P, F).

    Args:
        features: (B, L, F).
        seq_idx: (B, L), or None for one sequence a row.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    if seq_idx is None:
        return features.sum(1, dtype=dtype)
    parts = features.flatten(0, 1).split(sequence_lengths(seq_idx))
    return torch.stack([part.sum(0, dtype=dtype) for part in parts])


def last(hidden: Tensor, seq_idx: Tensor | None) -> Tensor:
    """Each part's last position: (B, L, F) -> (P, F)."""
    if seq_idx is None:
        return hidden[:, -1]
    ends = torch.tensor(sequence_lengths(seq_idx)).cumsum(0) - 1
    return hidden.flatten(0, 1)[ends.to(hidden.device)]


def join(
    parts: Sequence[tuple[slice, Tensor]],
    pooling: Pooling,
    shape: torch.Size,
    seq_idx: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The sequences' vectors from their parts'.

    Args:
        parts: positions of a segment and ``sums`` or ``last`` (P, F) of it; in order.
        pooling: "mean" of the sums, or the "last" part's.
        shape: (B, L) of all segments together.
        seq_idx: (B, L), or None for one sequence a row.

    Returns:
        pooled (S, F) and lengths (S,), of the same type, row after row.
    """
    batch, length = shape
    like = parts[0][1]
    if seq_idx is None:
        lengths = like.new_full((batch,), length)
        owners = [slice(None)] * len(parts)
    else:
        counts = torch.tensor(sequence_lengths(seq_idx))
        lengths = counts.to(like)
        numbers = torch.repeat_interleave(counts).view(batch, length)
        owners = [numbers[:, at].flatten().unique_consecutive().to(like.device) for at, _ in parts]
    pooled = like.new_zeros(len(lengths), like.shape[1])
    for owner, (_, part) in zip(owners, parts, strict=True):
        before = pooled[owner] if pooling == "mean" else 0
        pooled = pooled.clone()
        pooled[owner] = before + part
    return (pooled / lengths[:, None] if pooling == "mean" else pooled), lengths


def sequence_lengths(seq_idx: Tensor) -> list[int]:
    """Lengths of the packed sequences of ``seq_idx`` (B, L), row after row; they add up to B L."""
    starts = torch.ones_like(seq_idx, dtype=torch.bool)
    starts[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    first = starts.flatten().nonzero().flatten()
    end = first.new_full((1,), seq_idx.numel())
    return torch.diff(first, append=end).tolist()

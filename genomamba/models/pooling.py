"""One vector a sequence: pooling over the length, part by part where a sequence is cut.

Letters: B rows, L length, F features, S packed sequences in all, P parts: the stretches, row after
row, that lie in one sequence; of whole rows, P = S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from genomamba.models.sequence_parallel import sum_over_ranks

Pooling = Literal["mean", "last", "errors"]  # the last: prediction_errors.py


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
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences' vectors from their parts'.

    Args:
        parts: positions of a segment and ``sums`` or ``last`` (P, F) of it; in order.
        pooling: the "last" part's, or else the mean of the sums.
        shape: (B, L) of all segments together.
        seq_idx: (B, L), or None for one sequence a row.
        group: whose ranks have the parts, each its own.

    Returns:
        pooled (S, F) and lengths (S,), of the same type, row after row.
    """
    batch, length = shape
    like = parts[0][1]
    if seq_idx is None:
        counts = torch.full((batch,), length)
        owners = [torch.arange(batch)] * len(parts)
    else:
        counts = torch.tensor(sequence_lengths(seq_idx))
        numbers = torch.repeat_interleave(counts).view(batch, length)
        owners = [numbers[:, at].flatten().unique_consecutive() for at, _ in parts]
    lengths = counts.to(like)
    ends = (counts.cumsum(0) - 1) % length + 1  # in their rows
    pooled = like.new_zeros(len(lengths), like.shape[1])
    for owner, (at, part) in zip(owners, parts, strict=True):
        if pooling == "last" and at.stop is not None:
            ended = (ends[owner] <= at.stop).to(like.device)
            part = torch.where(ended[:, None], part, 0.0)
        rows = owner.to(like.device)
        before = pooled[rows]
        pooled = pooled.clone()
        pooled[rows] = before + part
    pooled = sum_over_ranks(pooled, group)
    return (pooled if pooling == "last" else pooled / lengths[:, None]), lengths


def sequence_lengths(seq_idx: Tensor) -> list[int]:
    """Lengths of the packed sequences of ``seq_idx`` (B, L), row after row; they add up to B L."""
    starts = torch.ones_like(seq_idx, dtype=torch.bool)
    starts[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    first = starts.flatten().nonzero().flatten()
    end = first.new_full((1,), seq_idx.numel())
    return torch.diff(first, append=end).tolist()

"""The mean loss at a distance from a sequence's start: does a longer context help?"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

BUCKETS = 40  # up to 2^40 positions


class LossByPosition(Metric):
    """The mean loss of targets at positions [2^k, 2^(k + 1)), for each k that has any.

    Position 0 is no target. The ranks' sums are added.
    """

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            zeros = torch.zeros(BUCKETS, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, start: int, losses: Tensor, counts: Tensor) -> None:
        """Add targets.

        Args:
            start: position of the first one.
            losses: (B, l), of l positions on from it.
            counts: bool (B, l), which of them to take.
        """
        losses = torch.where(counts, losses, 0.0)
        stop = start + losses.shape[1]
        for bucket in range(max(start, 1).bit_length() - 1, (stop - 1).bit_length()):
            first, last = max(1 << bucket, start), min(2 << bucket, stop)
            part = slice(first - start, last - start)
            self.total[bucket] += losses[:, part].sum(dtype=torch.float64)
            self.count[bucket] += counts[:, part].sum()

    def compute(self) -> dict[str, Tensor]:
        """Means by the bucket's first position, as a name that sorts by number."""
        means, found = self.total / self.count, self.count.tolist()
        return {f"{1 << k:010d}": means[k] for k in range(BUCKETS) if found[k]}

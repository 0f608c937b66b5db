"""How many answers are right, over batches and ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class AnswerCounts(Metric):
    """Right answers, and examples without a wrong one. The ranks' counts are added."""

    right: Tensor
    answers: Tensor
    whole: Tensor
    examples: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "answers", "whole", "examples"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, right: Tensor) -> None:
        """Add examples; right is bool (B, K), of each answer."""
        self.right += right.sum()
        self.answers += right.numel()
        self.whole += right.all(dim=1).sum()
        self.examples += len(right)

    def compute(self) -> dict[str, Any]:
        """Accuracy of answers, part of the examples with all right, and the number of examples."""
        right, answers = int(self.right), int(self.answers)
        whole, examples = int(self.whole), int(self.examples)
        return {
            "accuracy": right / max(1, answers),
            "all_right": whole / max(1, examples),
            "examples": examples,
        }
